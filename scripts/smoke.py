"""Import every module of the app and make real requests; exit with 1 on the first failure. Standard library only.

Usage: python3 smoke.py              in the app's folder: starts the embedded host, then asks it
       python3 smoke.py URL [SHA]    asks a running app at URL, which ends in /api; its revision must be SHA

The environment variable FUNCTION_KEY may have a function key, and API_KEY an API key.
"""

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

START_S = 180.0
REQUEST_S = 60.0


def import_everything() -> int:
    """Import all modules of the run time; return their number."""
    sys.path.insert(0, str(Path.cwd()))
    package = importlib.import_module("generation")
    skipped = ("generation.export", "generation.__main__")
    names = [one.name for one in pkgutil.walk_packages(package.__path__, "generation.")]
    names = [name for name in names if not name.startswith(skipped)]
    for name in names:
        importlib.import_module(name)
    return len(names)


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> str:
    """Send a GET, or a POST with `body` as JSON; return the text of the response.

    Raises:
        OSError: there is no response, or its status is 400 or above.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"})  # noqa: S310
    if os.environ.get("FUNCTION_KEY"):
        request.add_header("x-functions-key", os.environ["FUNCTION_KEY"])
    if os.environ.get("API_KEY"):
        request.add_header("authorization", f"Bearer {os.environ['API_KEY']}")
    with urllib.request.urlopen(request, timeout=REQUEST_S) as answer:  # noqa: S310
        return str(answer.read().decode())


def wait_ready(url: str) -> None:
    """Wait until the app is ready.

    Raises:
        TimeoutError: the app is not ready after `START_S` seconds.
    """
    end = time.monotonic() + START_S
    while True:
        try:
            ask(url, "/ready")
        except OSError as error:
            if time.monotonic() > end:
                raise TimeoutError(f"{url}/ready did not answer 200 within {START_S:.0f} s: {error}") from None
            time.sleep(0.5)
        else:
            return


def check(url: str, sha: str | None) -> None:
    """Make the requests, and check the responses.

    Raises:
        RuntimeError: a response is wrong.
        OSError: a request failed.
    """
    wait_ready(url)
    health = json.loads(ask(url, "/health"))
    _expect("health", health["health"] == "ok" and (sha is None or health["revision"] == sha), health)
    model = health["model"]["name"]

    path = json.loads(ask(url, "/generate/Once%20upon%20a%20time?max_new_tokens=8&num_return_sequences=2&seed=7"))
    ok = len(path["generated_sequences"]) == 2 and path["generated_sequences"][0].startswith("Once upon a time")  # noqa: PLR2004
    _expect("generate, prompt in the path", ok, path)
    prompt = {"prompt": "Tom had", "max_new_tokens": 6, "seed": 3}
    plain = json.loads(ask(url, "/generate", prompt))
    _expect("generate, JSON", plain["usage"]["completion_tokens"] >= 1, plain)
    stream = ask(url, "/generate", {**prompt, "stream": True})
    events = [json.loads(line[5:]) for line in stream.splitlines() if line.startswith("data: {")]
    text = "".join(event["text"] for event in events)
    whole = plain["generated_sequences"][0]
    _expect("generate, streamed", text == whole and stream.strip().endswith("data: [DONE]"), stream)

    guided = {"model": model, "prompt": "A cat is", "guided_choice": [" good", " bad"], "temperature": 0}
    answer = json.loads(ask(url, "/v1/completions", guided))
    _expect("completions, guided", answer["choices"][0]["text"] in guided["guided_choice"], answer)
    ids = json.loads(ask(url, "/tokenize", {"prompt": "Tom had a ball"}))
    _expect("tokenize", ids["count"] >= 1, ids)
    _expect("metrics", "# TYPE " in ask(url, "/metrics"), "no # TYPE line")
    contract = json.loads(ask(url, "/openapi.json"))
    _expect("openapi", contract["openapi"].startswith("3."), contract.keys())
    try:
        ask(url, "/generate", {"prompt": "a", "tokens": 3})
    except urllib.error.HTTPError as error:
        body = json.loads(error.read())
        _expect("an error names its field", error.code == 400 and "error" in body, body)  # noqa: PLR2004
    else:
        _expect("an unknown field is refused", ok=False, shown="200")


def check_here() -> None:
    """Start the embedded host of the current folder on a free port, check it, and stop it."""
    environment = {**os.environ, "AUTH_LEVEL": "anonymous"}
    command = [sys.executable, "-m", "generation", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:  # noqa: S603
        try:
            line = server.stdout.readline() if server.stdout else ""
            found = re.search(r"http://\S+/api", line)
            _expect("the app starts", found is not None, line or "no output; its log is above")
            print(line, end="")
            if found:
                check(found.group(), os.environ.get("GIT_SHA") or None)
        finally:
            server.terminate()


def _expect(what: str, ok: bool, shown: object) -> None:  # noqa: FBT001
    if not ok:
        raise RuntimeError(f"{what}: {shown}")
    print(f"ok  {what}", flush=True)


if __name__ == "__main__":
    try:
        if len(sys.argv) > 1:
            check(sys.argv[1].rstrip("/"), sys.argv[2] if len(sys.argv) > 2 else None)  # noqa: PLR2004
        else:
            print(f"ok  {import_everything()} modules import")
            check_here()
    except (RuntimeError, OSError, KeyError, ValueError, ImportError) as error:
        sys.exit(f"FAILED  {type(error).__name__}: {error}")
