#!/usr/bin/env bash
# Set the app's image by digest and wait until it is ready. If it fails, restore the old image, and exit with 1.
# Usage: scripts/deploy-digest.sh IMAGE@sha256:... SHA
#   RG, APP   resource group and name of the app     API_URL   its address, ending in /api
#   PREVIOUS, PREVIOUS_REVISION   digest and commit of the image to restore for an app that follows a tag, because the tag
#             has moved since. Used only if the app reports that commit.
# Needs az login; WAIT_S, POLL_S and HOLD_S as in await-revision.sh.
set -euo pipefail
here=$(dirname "$0")

image=${1:?usage: scripts/deploy-digest.sh IMAGE@sha256:... SHA}
sha=${2:?usage: scripts/deploy-digest.sh IMAGE@sha256:... SHA}
: "${RG:?is not set}" "${APP:?is not set}" "${API_URL:?is not set}"
case "$image" in
    *@sha256:*) ;;
    *) echo "error: $image is not a digest (name@sha256:...)" >&2; exit 2 ;;
esac

await() {
    "$here/await-revision.sh" "$API_URL" "$1"
}
old=$(az functionapp config show -g "$RG" -n "$APP" --query linuxFxVersion -o tsv)
old=${old#DOCKER|}
old_sha=$(curl -sS --max-time 20 "${API_URL%/}/health" 2> /dev/null \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["revision"] or "")' 2> /dev/null) || old_sha=
case "$old" in
    *@sha256:*) ;;
    *)
        echo "the app follows the tag ${old:-of no image}"
        if [ -n "${PREVIOUS:-}" ] && [ -n "$old_sha" ] && [ "$old_sha" = "${PREVIOUS_REVISION:-}" ]; then
            old=$PREVIOUS
        else
            echo "  what it runs is not known by digest: there would be nothing to put back"
            old=
        fi
        ;;
esac
# Setting the same image starts nothing. A different image may have the same commit.
if [ "$old" != "$image" ]; then
    SINCE=$(date +%s)
    export SINCE
fi
az functionapp config container set -g "$RG" -n "$APP" --image "$image" --output none
if await "$sha"; then
    exit 0
fi
if [ -z "$old" ] || [ "$old" = "$image" ]; then
    echo "error: there is no earlier image to go back to" >&2
    exit 1
fi
echo "putting back $old" >&2
SINCE=$(date +%s)
az functionapp config container set -g "$RG" -n "$APP" --image "$old" --output none
if [ -n "$old_sha" ]; then
    HOLD_S=0 await "$old_sha" >&2 || echo "error: the old image does not run either" >&2
fi
exit 1
