#!/usr/bin/env bash
# Deploy the app. Needs az login. Running it again is safe: it updates existing resources to the templates in infra/.
# Omitted variables keep their values of the last deployment, and settings made by hand are kept.
# Usage: APP=name RG=group IMAGE=ghcr.io/OWNER/REPO:latest scripts/deploy.sh
#   IMAGE              default for an existing app: its current image
#   PLAN               premium (default), or container-apps, which scales to zero
#   LOCATION           region of a new resource group (westeurope)
#   MIN_INSTANCES      premium: 1                                 container-apps: 0
#   MAX_INSTANCES      premium: 3                                 container-apps: 10
#   SKU                premium: EP1, EP2 or EP3 (EP1)
#   CORES, CONCURRENCY container-apps: cores of an instance (2.0); its requests per second, 0 = the platform's own rule (0)
#   ALLOW_WEBHOOK      premium: allow the registry webhook (true)
#   STAGING_SLOT       premium: a slot in which new images start (false)
#   REGISTRY_USERNAME, REGISTRY_TOKEN, REGISTRY_SERVER            for a private package; the script asks for the token on a
#                      terminal; later deployments may omit it
#   CLOSED_NETWORK, INSIGHTS_BY_IDENTITY, ZONE_REDUNDANT          true enables them (false)
#   ALERT_EMAIL, MONTHLY_BUDGET                                   alerts by mail; a budget for the resource group
#   STOP_SECONDS       seconds that a container gets to stop, in which running requests continue (35)
#   SETTINGS, TAGS     JSON objects, such as SETTINGS='{"THREADS": "2"}'
#   WHAT_IF            1 shows the changes without making them
set -euo pipefail
cd "$(dirname "$0")/.."
: "${APP:?is not set}" "${RG:?is not set}"
plan=${PLAN:-premium}

# Called after az has printed the reason on standard error.
stop() {
    echo "error: $1" >&2
    exit 1
}
# Values go to the template through the environment, because every process of the machine can see arguments.
export APP IMAGE

if [ -n "${REGISTRY_USERNAME:-}" ] && [ -z "${REGISTRY_TOKEN:-}" ] && [ -t 0 ]; then
    read -rsp "Token of $REGISTRY_USERNAME that may read packages (Enter: the one that the app has): " REGISTRY_TOKEN
    echo
    export REGISTRY_TOKEN
fi

case "$plan" in
    premium | container-apps) ;;
    *) stop "PLAN=$plan is neither premium nor container-apps" ;;
esac
command -v az > /dev/null || stop "the Azure CLI (az) is not installed"
az account show --output none || stop "not logged in: az login"
# A resource group cannot be created again in another region, so it is created only if it does not exist.
exists=$(az group exists -n "$RG") || stop "could not look for the resource group $RG"

# Parameters of the last deployment, for variables that are not set now. Azure does not return secret ones.
remember() {
    local last lines
    last=$(az deployment group list -g "$RG" --query "[?name=='$APP'].properties.parameters | [0]" -o json) \
        || stop "could not look for an earlier deployment of $APP"
    lines=$(python3 -c '
import json, os, re, shlex, sys
last = json.loads(sys.stdin.read().strip() or "null") or {}
for line in open(sys.argv[1]):
    found = re.match(r"param (\w+) = .*readEnvironmentVariable\(.(\w+).", line)
    if found is None or found[1] in ("name", "image", "stagingImage", "keptVariables") or os.environ.get(found[2]):
        continue
    value = last.get(found[1], {}).get("value")
    if value is not None:
        text = value if isinstance(value, str) else json.dumps(value)
        print(f"export {found[2]}={shlex.quote(text)}")
' "$template" <<< "$last") || stop "could not understand what az says of the earlier deployment"
    eval "$lines"
}
# Properties of an existing app that a deployment would otherwise replace.
keep_premium() {
    local found
    found=$(az functionapp list -g "$RG" --query "[?name=='$APP'].name" -o tsv) || stop "could not look for the app $APP"
    [ -n "$found" ] || return 0
    if [ -z "${IMAGE:-}" ]; then
        IMAGE=$(az functionapp config show -g "$RG" -n "$APP" --query linuxFxVersion -o tsv) || stop "could not read the image of $APP"
        IMAGE=${IMAGE#DOCKER|}
    fi
    if [ "${STAGING_SLOT:-}" = true ] && [ -z "${STAGING_IMAGE:-}" ]; then
        found=$(az functionapp deployment slot list -g "$RG" -n "$APP" --query "[?name=='staging'].name" -o tsv) \
            || stop "could not look for the slot of $APP"
        [ -n "$found" ] || return 0
        STAGING_IMAGE=$(az functionapp config show -g "$RG" -n "$APP" --slot staging --query linuxFxVersion -o tsv) \
            || stop "could not read the image of the slot"
        export STAGING_IMAGE=${STAGING_IMAGE#DOCKER|}
    fi
}
keep_container_apps() {
    local found
    found=$(az containerapp list -g "$RG" --query "[?name=='$APP'].name" -o tsv) || stop "could not look for the app $APP"
    [ -n "$found" ] || return 0
    found=$(az containerapp show -g "$RG" -n "$APP" --query \
        "{image: properties.template.containers[0].image, variables: properties.template.containers[0].env, registry: properties.configuration.registries[0]}" \
        -o json) || stop "could not read the settings of $APP"
    KEPT_SECRETS=$(az containerapp secret list -g "$RG" -n "$APP" --show-values --query "[].{name: name, value: value}" -o json) \
        || stop "could not read the secrets of $APP"
    read_json() {
        python3 -c "import json, sys; said = json.load(sys.stdin); print($1)" || stop "could not understand what az says of $APP"
    }
    KEPT_SECRETS=$(read_json "json.dumps({one['name']: one['value'] for one in said or []})" <<< "$KEPT_SECRETS")
    KEPT_VARIABLES=$(read_json "json.dumps(said['variables'] or [])" <<< "$found")
    export KEPT_SECRETS KEPT_VARIABLES
    [ -n "${IMAGE:-}" ] || IMAGE=$(read_json "said['image']" <<< "$found")
    if [ -z "${REGISTRY_USERNAME:-}" ]; then
        REGISTRY_USERNAME=$(read_json "(said['registry'] or {}).get('username') or ''" <<< "$found")
        REGISTRY_SERVER=$(read_json "(said['registry'] or {}).get('server') or 'ghcr.io'" <<< "$found")
        export REGISTRY_USERNAME REGISTRY_SERVER
    fi
}
if [ "$exists" = true ] && [ -z "${PLAN:-}" ]; then
    types=$(az resource list -g "$RG" --name "$APP" --query "[].type" -o tsv) || stop "could not look for the app $APP"
    case "$types" in
        *Microsoft.Web/sites*) ;;
        *Microsoft.App/containerApps*) plan=container-apps ;;
    esac
fi
template=infra/main.bicepparam
[ "$plan" = premium ] || template=infra/container-apps.bicepparam
if [ "$exists" = true ]; then
    remember
    "keep_${plan//-/_}"
fi
[ -n "${IMAGE:-}" ] || stop "IMAGE is not set, and there is no app $APP whose image could be kept"

if [ "$exists" != true ]; then
    [ "${WHAT_IF:-}" != 1 ] || stop "there is no resource group $RG yet, and so nothing to compare with"
    az group create -n "$RG" -l "${LOCATION:-westeurope}" --output none || stop "could not make the resource group $RG"
fi
if [ "${WHAT_IF:-}" = 1 ]; then
    az deployment group what-if -g "$RG" -n "$APP" --parameters "$template" || stop "could not compare with what is deployed"
    exit 0
fi
url=$(az deployment group create -g "$RG" -n "$APP" --parameters "$template" --query properties.outputs.url.value -o tsv) \
    || stop "${template%param} was not deployed. Nothing is undone; run this again once the cause is gone, or scripts/destroy.sh"
echo "deployed: $url/health"
if [ "$plan" = container-apps ]; then
    echo "The key for calls, from the extension containerapp of the Azure CLI:"
    echo "  az containerapp function keys list -g $RG -n $APP --key-type hostKey"
    exit 0
fi
echo "The key for calls:"
echo "  az functionapp keys list -g $RG -n $APP --query functionKeys.default -o tsv"
echo "On GitHub, for the workflow to deploy each push:"
echo "  gh variable set AZURE_FUNCTIONAPP_URL --body $url"
if [ "${ALLOW_WEBHOOK:-true}" = true ]; then
    echo "  az functionapp deployment container show-cd-url -g $RG -n $APP --query CI_CD_URL -o tsv | gh secret set AZURE_FUNCTIONAPP_WEBHOOK_URL"
fi
