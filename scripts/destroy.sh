#!/usr/bin/env bash
# Delete the resource group and everything in it, after a confirmation. Running it again is safe.
# Usage: RG=group scripts/destroy.sh     (YES=1 skips the confirmation)
set -euo pipefail
: "${RG:?is not set}"

command -v az > /dev/null || { echo "error: the Azure CLI (az) is not installed" >&2; exit 1; }
exists=$(az group exists -n "$RG") || { echo "error: could not look for the resource group $RG. Logged in? az login" >&2; exit 1; }
if [ "$exists" != true ]; then
    echo "there is no resource group $RG: nothing to delete"
    exit 0
fi
if [ "${YES:-}" != 1 ]; then
    az resource list -g "$RG" --query '[].id' -o tsv
    read -r -p "Delete all of this? Type the name of the group: " answer || answer=
    [ "$answer" = "$RG" ] || { echo "nothing was deleted" >&2; exit 1; }
fi
az group delete -n "$RG" --yes || { echo "error: $RG was not deleted, or not all of it: run this again" >&2; exit 1; }
echo "deleted $RG"
