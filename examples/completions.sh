#!/usr/bin/env bash
# Text as it is generated, with curl. Needs: curl. The server is BASE_URL, its function key, if it asks for one, FUNCTION_KEY.
set -euo pipefail
base=${BASE_URL:-http://127.0.0.1:7071/api}

curl --fail-with-body --silent --show-error --no-buffer "$base/v1/completions" \
  -H "x-functions-key: ${FUNCTION_KEY:-}" \
  -H "Content-Type: application/json" \
  -d '{"prompt": "Once upon a time", "max_tokens": 20, "temperature": 0.8, "seed": 1, "stream": true}'
