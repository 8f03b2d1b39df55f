"""Put load on a deployment with Locust, locally or in Azure Load Testing (azure-load-test.yaml).

    cd benchmarks/deployment
    locust --headless --users 8 --run-time 2m --host https://my-app.azurewebsites.net/api

Each user sends the next request as soon as it has a response. FUNCTION_KEY is the function key, API_KEY one of the
app's API_KEYS, and TOKENS the number of tokens to generate (default: 50).
"""

import os
from itertools import count
from time import monotonic
from typing import Any

from locust import HttpUser, events, task

TOKENS = int(os.environ.get("TOKENS", "50"))
HEADERS = {"x-functions-key": os.environ.get("FUNCTION_KEY", "")}
if key := os.environ.get("API_KEY"):
    HEADERS["authorization"] = f"Bearer {key}"
_numbers = count()
_generated = {"tokens": 0, "began": 0.0}


class Caller(HttpUser):  # type: ignore[misc]
    """One client."""

    @task  # type: ignore[untyped-decorator]
    def generate(self) -> None:
        """Generate after a new prompt each time, so that the prefix cache does not apply."""
        answer = self.client.post(
            "/generate",
            json={"prompt": f"Once upon a time, number {next(_numbers)}", "max_new_tokens": TOKENS, "ignore_eos": True},
            headers=HEADERS,
            timeout=240,
        )
        if answer.ok:
            _generated["tokens"] += answer.json()["usage"]["completion_tokens"]


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def begin(**_: Any) -> None:
    """Forget an earlier run."""
    _generated.update(tokens=0, began=monotonic())


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def end(**_: Any) -> None:
    """Print the figures that the sizing rule needs; with several engines, each prints its own share."""
    print(f"tokens/s: {_generated['tokens'] / (monotonic() - _generated['began']):.1f}")
