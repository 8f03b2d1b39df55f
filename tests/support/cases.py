"""Requests that must get the same response from the embedded host and from Azure's own runtime.

To cover a new route, add a `Case`. The tests send it to both hosts and compare the responses.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

PROMPT = "Once upon a time"
GREEDY = {"prompt": PROMPT, "max_new_tokens": 6, "do_sample": False}
HF = {"inputs": PROMPT, "parameters": {"max_new_tokens": 6}}
COMPLETION = {"prompt": PROMPT, "max_tokens": 6, "temperature": 0}

INDEX = re.compile(r'"index": ?(\d+)')
# Fields that differ in every response: times, and random ids.
VOLATILE = re.compile(r'"(uptime_s|load_s|created)": ?[0-9.]+|"id": ?"cmpl-[0-9a-f]+"|request [0-9a-f]{32}')
# Names and descriptions of metrics must be equal; values differ.
SAMPLES = re.compile(r"^generation_.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Case:
    """One request and the status that it must get; `path` is what follows ``/api``."""

    name: str
    path: str
    body: Any = None
    status: int = 200
    content_type: str = "application/json"
    method: str = ""
    keyed: bool = True

    @property
    def verb(self) -> str:
        """The method: POST if there is a body, unless the case says otherwise."""
        return self.method or ("GET" if self.body is None else "POST")

    @property
    def content(self) -> bytes | None:
        """The body as it is sent; bytes are sent as they are."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()


EVENTS = "text/event-stream"

CASES = [
    Case("health", "/health", keyed=False),
    Case("ready", "/ready", keyed=False),
    Case("health, asked for by HEAD", "/health", method="HEAD", keyed=False),
    Case("ready, asked for by HEAD", "/ready", method="HEAD", keyed=False),
    Case("openapi", "/openapi.json", keyed=False),
    Case("playground", "/playground", content_type="text/html", keyed=False),
    Case("chat page", "/playground/chat", content_type="text/html", keyed=False),
    Case("reference", "/reference", content_type="text/html", keyed=False),
    Case("version", "/version", keyed=False),
    Case("tokenizer", "/tokenizer_info"),
    Case("metrics", "/metrics", content_type="text/plain"),
    Case("a trailing slash", "/ready/", keyed=False),
    Case("another case of letters", "/READY", keyed=False),
    Case("generate", "/generate", GREEDY),
    Case("generate, seeded", "/generate", {"prompt": PROMPT, "seed": 7, "num_return_sequences": 3}),
    Case("generate, streamed", "/generate", GREEDY | {"stream": True, "num_return_sequences": 2}, content_type=EVENTS),
    Case("generate from nothing", "/generate", GREEDY | {"prompt": ""}),
    Case("generate, beyond ASCII", "/generate", GREEDY | {"prompt": "Grüße, 世界 🙂"}),
    Case("path", "/generate/Once%20upon%20a%20time?max_new_tokens=5&seed=1"),
    Case("path with slashes", "/generate/either/or?max_new_tokens=5&seed=1"),
    Case("path, escaped", "/generate/caf%C3%A9%20100%25%3F?max_new_tokens=5&seed=1"),
    Case("path, empty", "/generate?max_new_tokens=5&seed=1"),
    Case("path, streamed", "/generate/Once?max_new_tokens=5&seed=1&stream=true", content_type=EVENTS),
    Case("path, wrong value", "/generate/Once?max_new_tokens=none", status=400),
    Case("path, unknown parameter", "/generate/Once?max_tokens=5", status=400),
    Case("no JSON", "/generate", b"{", status=400),
    Case("no body", "/generate", b"", status=400),
    Case("no object", "/generate", [1], status=400),
    Case("unknown field", "/generate", GREEDY | {"colour": "red"}, status=400),
    Case("wrong type", "/generate", GREEDY | {"max_new_tokens": "6"}, status=400),
    Case("no prompt", "/generate", {"max_new_tokens": 6}, status=400),
    Case("more than the context", "/generate", GREEDY | {"max_new_tokens": 1 << 20}, status=400),
    Case("a body past the limit", "/generate", b" " * (1 << 21), status=413),
    Case("completions, a body past the limit", "/v1/completions", b" " * (1 << 21), status=413),
    Case("tokenize, a body past the limit", "/tokenize", b" " * (1 << 21), status=413),
    Case("detokenize, a body past the limit", "/detokenize", b" " * (1 << 21), status=413),
    Case("completions", "/v1/completions", COMPLETION),
    Case("completions, many", "/v1/completions", COMPLETION | {"prompt": ["a", "b"], "n": 2, "logprobs": 1}),
    Case("completions, streamed", "/v1/completions", COMPLETION | {"stream": True}, content_type=EVENTS),
    Case("completions, unknown model", "/v1/completions", COMPLETION | {"model": "gpt-9"}, status=404),
    Case("completions, beams", "/v1/completions", COMPLETION | {"n": 3, "use_beam_search": True}),
    Case("completions, JSON", "/v1/completions", COMPLETION | {"structured_outputs": {"json": {"type": "boolean"}}}),
    Case("hf", "/hf", HF),
    Case("hf, details", "/hf", {"inputs": PROMPT, "parameters": {"details": True, "seed": 1, "temperature": 0.9}}),
    Case("hf, streamed", "/hf", HF | {"stream": True}, content_type=EVENTS),
    Case("hf, wrong value", "/hf", HF | {"parameters": {"top_p": 2}}, status=422),
    Case("hf, a body past the limit", "/hf", b" " * (1 << 21), status=413),
    Case("models", "/v1/models"),
    Case("model, unknown", "/v1/models/gpt-9", status=404),
    Case("chat", "/v1/chat/completions", {"messages": []}, status=400),
    Case("tokenize", "/tokenize", {"prompt": "Grüße 🙂"}),
    Case("detokenize", "/detokenize", {"tokens": [0, 1, 2]}),
    Case("detokenize, unknown token", "/detokenize", {"tokens": [1 << 40]}, status=400),
]

# Requests that the host itself refuses, without calling a function; the body of the response is the host's.
REFUSED = [
    Case("no such path", "/nothing", status=404),
    Case("no such method", "/health", status=404, method="DELETE"),
    Case("GET is not HEAD", "/openapi.json", status=404, method="HEAD"),
    Case("no preflight", "/health", status=404, method="OPTIONS"),
    Case("a method of another route", "/tokenize", status=404, method="GET"),
    Case("a method that is not listed comes before the key", "/tokenize", status=404, method="GET", keyed=False),
    Case("a path longer than the route", "/ready/or/not", status=404),
]


def stable(body: str) -> str:
    """Return a body without the parts that differ in every response.

    The events of a stream are sorted by their choice: which choice comes first depends on the drafts of a step, and so
    on measured times.
    """
    events = sorted(body.split("\n\n"), key=lambda one: int(found[1]) if (found := INDEX.search(one)) else len(body))
    return SAMPLES.sub("", VOLATILE.sub("...", "\n\n".join(events)))
