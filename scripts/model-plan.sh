#!/bin/sh
# Print what `make model` will install and download, and about how long it takes. Arguments: MODEL OUT INSTALLED.
set -eu
model=$1 out=$2 installed=$3

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
