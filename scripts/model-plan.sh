#!/bin/sh
# Says what `make model` is going to install and download, and about how long it takes: MODEL OUT INSTALLED DRAFT_TOKENS.
set -eu
model=$1 out=$2 installed=$3 tokens=${4:-}

echo "make model: exports $model to ${out:-models/$(basename "$model")}"
if [ ! -e "$installed" ]; then
	echo "  installs torch, transformers and other packages of the export into $(dirname "$installed"): some minutes, and a few GB on disk"
fi
if [ -d "$model" ]; then
	echo "  downloads nothing: $model is a folder"
else
	echo "  downloads $model from the Hugging Face hub, unless it is in the cache: about 350 MB for DistilGPT2, 550 MB for GPT-2"
fi
echo "  exports and verifies: one to a few minutes on two processors for DistilGPT2, longer for larger models and for int4"
if [ "$tokens" != 0 ]; then
	echo "  samples text and learns a draft table from it, some minutes more for DistilGPT2; DRAFT_TOKENS=0 leaves it out"
fi
