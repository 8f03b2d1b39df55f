#!/usr/bin/env bash
# Wait until a running app is ready and reports the given commit. On a timeout, print the likely cause and exit with 1.
# Usage: scripts/await-revision.sh API_URL SHA     (API_URL ends in /api)
#   WAIT_S   maximum seconds to wait (default 600)  POLL_S   seconds between two checks (default 5)
#   HOLD_S   seconds that it must stay ready afterwards (default 0): three failed checks in a row are an error
#   SINCE    only accept a process started since this Unix time (default: any), because a new image can have the same
#            commit
set -euo pipefail

url=${1:?usage: scripts/await-revision.sh API_URL SHA}
sha=${2:?usage: scripts/await-revision.sh API_URL SHA}
url=${url%/}
wait_s=${WAIT_S:-600}
poll_s=${POLL_S:-5}

body=$(mktemp)
trap 'rm -f "$body"' EXIT
# The result of the last check: an HTTP status, or 000 without a response.
look() {
    : > "$body"
    status=$(curl -sS --max-time 20 -o "$body" -w '%{http_code}' "$1" 2> /dev/null) || status=000
}

# Print the revision in the last response; "an older process of SHA" if it started before SINCE. Fails if the response is
# not the app's. The app itself answers 503, too, if its model has failed.
running() {
    python3 -c '
import json, sys, time
health, since = json.load(sys.stdin), float(sys.argv[1] or 0)
older = time.time() - health.get("uptime_s", 0) < since
print(("an older process of " if older else "") + (health.get("revision") or "none"))
' "${SINCE:-}" < "$body" 2> /dev/null
}

health=
revision=
# Check once for the commit and a loaded model. `revision` keeps the commit in the last response of the app.
serves() {
    local found
    look "$url/health"
    health=$status
    found=$(running) || return 1
    revision=$found
    [ "$status" = 200 ] && [ "$revision" = "$sha" ] || return 1
    look "$url/ready"
    [ "$status" = 200 ]
}
hold() {
    local end=$((SECONDS + ${HOLD_S:-0})) wrong=0
    while [ "$SECONDS" -lt "$end" ]; do
        sleep "$poll_s"
        if serves; then wrong=0; else wrong=$((wrong + 1)); fi
        [ "$wrong" -lt 3 ] || return 1
    done
}

end=$((SECONDS + wait_s))
while :; do
    if serves; then
        hold && { echo "ok: $url runs $sha"; exit 0; }
        echo "error: $url ran $sha, and then did not hold: the last probe answered $status" >&2
        exit 1
    fi
    [ "$SECONDS" -lt "$end" ] || break
    sleep "$poll_s"
done

echo "error: $url does not run $sha after $wait_s s" >&2
if [ -z "$revision" ]; then
    echo "  /health answered $health and named no revision: the container does not start. Look at its log (az webapp log tail)." >&2
    echo "  The usual causes: the image cannot be pulled, WEBSITES_PORT is not 80, the storage account cannot be reached." >&2
elif [ "$revision" != "$sha" ]; then
    echo "  it still runs: $revision. The usual causes: continuous deployment is off (the webhook answers 200 even so);" >&2
    echo "  the app follows another tag than the one that was pushed; the image cannot be pulled." >&2
else
    echo "  it runs the new image, and the last probe answered $status: the model does not load. /health gives the reason." >&2
fi
exit 1
