#!/usr/bin/env bash
# Delete the resource group with all that is in it, after asking.
# Usage: RG=group scripts/destroy.sh     (YES=1 does not ask)
set -euo pipefail
: "${RG:?is not set}"

if [ "${YES:-}" != 1 ]; then
    az resource list -g "$RG" --query '[].id' -o tsv
    read -r -p "Delete all of this? Type the name of the group: " answer
    [ "$answer" = "$RG" ] || { echo "nothing was deleted" >&2; exit 1; }
fi
az group delete -n "$RG" --yes
