#!/usr/bin/env bash
# Stream text with curl. Needs: curl. BASE_URL is the server; FUNCTION_KEY or API_KEY its key, if it asks for one.
set -euo pipefail
base=${BASE_URL:-http://127.0.0.1:7071/api}

curl --fail-with-body --silent --show-error --no-buffer "$base/v1/completions" \
  -H "x-functions-key: ${FUNCTION_KEY:-}" \
  -H "Authorization: Bearer ${API_KEY:-}" \
  -H "Content-Type: application/json" \
  -d '{"prompt": "Once upon a time", "max_tokens": 20, "temperature": 0.8, "seed": 1, "stream": true}'
