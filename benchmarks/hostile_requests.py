"""Define hostile requests, which try to delay or stop others, and send them.

``python -m benchmarks.hostile_requests URL NAME`` sends one kind and prints the responses as JSON.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

Sending = Callable[[httpx.AsyncClient], Awaitable[Counter[str]]]

LONG_WAIT_S = 120.0
SENT: dict[str, Sending] = {}


def _one(method: str, path: str, body: Any = None) -> Sending:
    """Return a function that sends one request and reads the whole response."""

    async def send(client: httpx.AsyncClient) -> Counter[str]:
        content = None if body is None else json.dumps(body).encode()
        answers: Counter[str] = Counter()
        try:
            async with client.stream(method, path, content=content) as response:
                async for _ in response.aiter_raw():
                    pass
            answers[str(response.status_code)] += 1
        except httpx.HTTPError as error:
            answers[type(error).__name__] += 1
        return answers

    return send


def _raw(path: str) -> Sending:
    """Return a function that sends a GET with a URL too long for httpx."""

    async def send(client: httpx.AsyncClient) -> Counter[str]:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        target = client.base_url.raw_path.decode().rstrip("/") + path
        writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readline()
        await reader.read()
        writer.close()
        return Counter([head.split()[1].decode() if head else "closed"])

    return send


def _together(*sendings: Sending) -> Sending:
    async def send(client: httpx.AsyncClient) -> Counter[str]:
        return sum(await asyncio.gather(*(one(client) for one in sendings)), Counter[str]())

    return send


async def _pause(_: httpx.AsyncClient) -> Counter[str]:
    await asyncio.sleep(2)
    return Counter()


def _completions(**body: Any) -> Sending:
    return _one("POST", "/v1/completions", body)


PROMPT_508 = "the " * 508
REPORT = {"echo": True, "logprobs": 5, "max_tokens": 0}

SENT["nothing"] = _pause
SENT["a prompt of a million letters"] = _one("POST", "/generate", {"prompt": "a" * 1_040_000})
SENT["a million letters to tokenize"] = _one("POST", "/tokenize", {"prompt": "a" * 1_040_000})
SENT["200,000 words to tokenize"] = _one("POST", "/tokenize", {"prompt": "word " * 200_000})
SENT["50 prompts of 300,000 words"] = _together(*[_one("POST", "/generate", {"prompt": "a " * 300_000})] * 50)
SENT["a report of 130 prompts x 16"] = _completions(prompt=[PROMPT_508] * 130, n=16, **REPORT)
SENT["a report of 60 prompts"] = _completions(prompt=[PROMPT_508] * 60, **REPORT)
SENT["10,000 names in a query"] = _raw("/generate/x?" + "&".join(f"{i:x}" for i in range(10_000)))
SENT["131,000 wrong token ids"] = _one("POST", "/detokenize", {"tokens": ["a"] * 131_000})
SENT["131,000 token ids"] = _one("POST", "/detokenize", {"tokens": [7] * 131_000})
SENT["80,000 unknown fields"] = _one("POST", "/generate", {f"f{i}": 0 for i in range(80_000)})
SENT["60,000 wrong biases"] = _completions(prompt="a", logit_bias={str(i): "x" for i in range(60_000)})
SENT["500,000 ids in a prompt"] = _completions(prompt=[1] * 500_000)
SENT["2,048 prompts"] = _completions(prompt=["once upon a time"] * 2048, max_tokens=1, timeout_s=5)
SENT["a list of 272 prompts x 16"] = _completions(prompt=["once upon a time"] * 272, n=16, max_tokens=16, timeout_s=8)
SENT["a regular expression of 2,000 characters"] = _completions(prompt="a", guided_regex="(a|b)*c{1,9}" * 160)
SENT["regular expressions that explode"] = _together(
    *[_completions(prompt="a", guided_regex=f"(.*a){{{n}}}.*b.{{0,{n}}}", max_tokens=40) for n in range(8, 24)]
)
SENT["256 choices of 1,024 characters"] = _completions(
    prompt="a", guided_choice=[f"{i:04}" * 256 for i in range(256)], max_tokens=40
)
SENT["JSON of 500,000 brackets"] = _completions(prompt=[[0]] * 250_000)
SENT["16 stop strings, 16 sequences"] = _one(
    "POST",
    "/generate",
    {
        "prompt": "a", "max_new_tokens": 400, "ignore_eos": True, "num_return_sequences": 16,
        "stop": ["a" * 200 + str(i) for i in range(16)],
    },
)  # fmt: skip


async def _main(url: str, name: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=LONG_WAIT_S) as client:
        began = time.monotonic()
        answers = await SENT[name](client)
        print(json.dumps({"answers": answers, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2]))
