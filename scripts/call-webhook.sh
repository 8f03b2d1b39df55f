#!/usr/bin/env bash
# Make the app pull its image again, through its registry webhook. await-revision.sh checks the result.
# Usage: AZURE_FUNCTIONAPP_WEBHOOK_URL=... scripts/call-webhook.sh
# The address contains a password: it is read from the environment and never printed.
set -euo pipefail

: "${AZURE_FUNCTIONAPP_WEBHOOK_URL:?is not set. docs/deploy.md has the line that prints and sets it}"

# Through standard input, because every process of the machine can see arguments.
status=$(printf 'url = "%s"\n' "$AZURE_FUNCTIONAPP_WEBHOOK_URL" | curl --config - -sS -o /dev/null -w '%{http_code}' \
    --retry "${RETRIES:-3}" --retry-connrefused --max-time 60 -X POST --data '' 2> /dev/null) || status=${status:-000}
case "$status" in
    2??) echo "the webhook answered $status" ;;
    401 | 403)
        echo "error: the webhook answered $status: basic authentication of the SCM site is off, or the password has changed." >&2
        echo "  The line az resource update ... in docs/deploy.md, under When it fails, lets it in." >&2
        exit 1
        ;;
    404) echo "error: the webhook answered 404: the address must end in /api/registry/webhook or /docker/hook" >&2; exit 1 ;;
    000) echo "error: the webhook did not answer: the app is stopped or deleted, or the address is wrong" >&2; exit 1 ;;
    *) echo "error: the webhook answered $status" >&2; exit 1 ;;
esac
