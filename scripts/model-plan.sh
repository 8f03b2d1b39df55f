#!/bin/sh
# Print what `make model` will install and download, and how long its own work takes. Arguments: MODEL OUT INSTALLED DRAFT_TOKENS.
# Sizes and times were measured; docs/models.md says on what. A download and an installation take as long as the network.
set -eu
model=$1 out=$2 installed=$3 tokens=${4:-}

echo "make model: exports $model to ${out:-models/$(basename "$model")}"
if [ ! -e "$installed" ]; then
	echo "  installs torch, transformers and other packages of the export into $(dirname "$installed"): 1.7 GB on disk with torch's CPU build, more with its CUDA build (TORCH_PIP_ARGS chooses)"
fi
if [ -f "$model/adapter_config.json" ]; then
	echo "  downloads the model that the adapter in $model was trained on, unless that is a folder or in the cache"
elif [ -d "$model" ]; then
	echo "  downloads nothing: $model is a folder"
else
	echo "  downloads $model from the Hugging Face hub, unless it is in the cache; it says how many MB as soon as the hub has answered (DistilGPT2: 353)"
fi
echo "  exports and verifies: a model of DistilGPT2's size took a minute on two processors, two in int4; larger ones take longer"
if [ "$tokens" != 0 ]; then
	echo "  samples text and learns a draft table from it, some minutes more for DistilGPT2; DRAFT_TOKENS=0 leaves it out"
fi
