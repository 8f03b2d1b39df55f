"""Text as it is generated, with httpx: server-sent events by hand. Needs: pip install httpx."""

import json
import os
import sys

import httpx

base = os.environ.get("BASE_URL", "http://127.0.0.1:7071/api")
# A deployment asks for a function key in the first header, or for one of its API_KEYS in the second.
headers = {
    "x-functions-key": os.environ.get("FUNCTION_KEY", ""),
    "authorization": "Bearer " + os.environ.get("API_KEY", "none"),
}
body = {"prompt": "Once upon a time", "max_new_tokens": 20, "temperature": 0.8, "seed": 1, "stream": True}

# 240 s: the platform ends a request before that.
with httpx.stream("POST", f"{base}/generate", json=body, headers=headers, timeout=240) as response:
    if response.is_error:
        response.read()
        sys.exit(f"{response.status_code}: {response.text}")
    for line in response.iter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue  # an empty line between events, or a comment that keeps the connection alive
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            sys.exit(event["error"]["message"])
        print(event["text"], end="", flush=True)
print()
