"""Text as it is generated, with OpenAI's client. Needs: pip install openai."""

import os

from openai import OpenAI

base = os.environ.get("BASE_URL", "http://127.0.0.1:7071/api")
# One of the server's API_KEYS. A deployment with function keys instead wants the header.
key = os.environ.get("API_KEY", "unused")
headers = {"x-functions-key": os.environ.get("FUNCTION_KEY", "")}

with OpenAI(base_url=f"{base}/v1", api_key=key, default_headers=headers) as client:
    model = client.models.list().data[0].id
    stream = client.completions.create(
        model=model,
        prompt="Once upon a time",
        max_tokens=20,
        temperature=0.8,
        seed=1,
        stream=True,
        extra_body={"top_k": 50},  # what OpenAI does not know goes here
    )
    for event in stream:
        for choice in event.choices:
            print(choice.text, end="", flush=True)
    print()
