#!/usr/bin/env bash
# Start an image in the staging slot, swap the slots once it is ready, and swap back if it does not stay ready (exit 1).
# Production is unchanged until the new image is ready. The old instances stay in the slot, ready to be swapped back.
# Usage: scripts/deploy-slot.sh IMAGE@sha256:... SHA
#   RG, APP   resource group and name of the app     API_URL   its address, ending in /api
#   SLOT      name of the slot (staging)             STAGING_URL   its address, ending in /api (default: from Azure)
#   HOLD_S    seconds that it must stay ready after the swap (60)
# Needs az login; WAIT_S and POLL_S as in await-revision.sh.
set -euo pipefail
here=$(dirname "$0")

image=${1:?usage: scripts/deploy-slot.sh IMAGE@sha256:... SHA}
sha=${2:?usage: scripts/deploy-slot.sh IMAGE@sha256:... SHA}
: "${RG:?is not set}" "${APP:?is not set}" "${API_URL:?is not set}"
slot=${SLOT:-staging}
case "$image" in
    *@sha256:*) ;;
    *) echo "error: $image is not a digest (name@sha256:...)" >&2; exit 2 ;;
esac
stop() {
    echo "error: $1" >&2
    exit 1
}
swap() {
    az functionapp deployment slot swap -g "$RG" -n "$APP" --slot "$slot" --target-slot production --output none
}

staged=$(az functionapp config show -g "$RG" -n "$APP" --slot "$slot" --query linuxFxVersion -o tsv) \
    || stop "there is no slot $slot: run scripts/deploy.sh with STAGING_SLOT=true"
if [ -z "${STAGING_URL:-}" ]; then
    name=$(az functionapp show -g "$RG" -n "$APP" --slot "$slot" --query defaultHostName -o tsv)
    STAGING_URL=https://$name/api
fi
old_sha=$(curl -sS --max-time 20 "${API_URL%/}/health" 2> /dev/null \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["revision"] or "")' 2> /dev/null) || old_sha=

# Setting the same image starts nothing. A different image may have the same commit.
if [ "${staged#DOCKER|}" != "$image" ]; then
    SINCE=$(date +%s)
    export SINCE
fi
az functionapp config container set -g "$RG" -n "$APP" --slot "$slot" --image "$image" --output none
HOLD_S=0 "$here/await-revision.sh" "$STAGING_URL" "$sha" || stop "the new image does not serve in the slot $slot. Production was not touched"

swap || stop "the slots were not swapped. Production was not touched"
if HOLD_S=${HOLD_S:-60} "$here/await-revision.sh" "$API_URL" "$sha"; then
    exit 0
fi
echo "swapping back" >&2
swap || stop "the slots were not swapped back: production runs the new image, which did not hold"
unset SINCE
if [ -n "$old_sha" ]; then
    HOLD_S=0 "$here/await-revision.sh" "$API_URL" "$old_sha" >&2 || echo "error: the old image does not serve either" >&2
fi
exit 1
