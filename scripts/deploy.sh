#!/usr/bin/env bash
# The whole first deployment, from a shell that is logged in (az login). Safe to run again.
# Usage: APP=name RG=group IMAGE=ghcr.io/OWNER/REPO:latest scripts/deploy.sh
#   LOCATION (default westeurope)   SKU (EP1)   MAX_INSTANCES (3)   ALLOW_WEBHOOK (true)
set -euo pipefail
cd "$(dirname "$0")/.."
: "${APP:?is not set}" "${RG:?is not set}" "${IMAGE:?is not set}"

# az has said why on standard error when this is called.
stop() {
    echo "error: $1" >&2
    exit 1
}

command -v az > /dev/null || stop "the Azure CLI (az) is not installed"
az account show --output none || stop "not logged in: az login"
# A group cannot be made again in another region, so it is made only where there is none.
exists=$(az group exists -n "$RG") || stop "could not look for the resource group $RG"
if [ "$exists" != true ]; then
    az group create -n "$RG" -l "${LOCATION:-westeurope}" --output none || stop "could not make the resource group $RG"
fi
url=$(az deployment group create -g "$RG" -n "$APP" --template-file infra/main.bicep --query properties.outputs.url.value -o tsv \
    --parameters name="$APP" image="$IMAGE" sku="${SKU:-EP1}" maxInstances="${MAX_INSTANCES:-3}" \
    allowWebhook="${ALLOW_WEBHOOK:-true}") \
    || stop "infra/main.bicep was not deployed. Nothing is undone; run this again once the cause is gone, or scripts/destroy.sh"
echo "deployed: $url/health"
echo "On GitHub, set the variable AZURE_FUNCTIONAPP_URL to $url"
echo "and the secret AZURE_FUNCTIONAPP_WEBHOOK_URL to what this prints, with /api/registry/webhook at its end:"
echo "  az functionapp deployment list-publishing-credentials -g $RG -n $APP --query scmUri -o tsv"
echo "The key for calls:"
echo "  az functionapp keys list -g $RG -n $APP --query functionKeys.default -o tsv"
