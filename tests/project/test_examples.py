"""The examples run, against a server that asks for a key and without one."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.server import Served, serve
from generation.config import ROOT

FOLDER = ROOT / "examples"
KEY = "secret-key"
BODY = {"prompt": "Once upon a time", "max_new_tokens": 20, "temperature": 0.8, "seed": 1}
PROGRAMS = {
    "completions.sh": "bash",
    "openai_client.py": sys.executable,
    "httpx_client.py": sys.executable,
    "stream.mjs": "node",
}


@pytest.fixture(scope="module")
def keyed() -> Iterator[Served]:
    with serve("--key", KEY) as running:
        yield running


@pytest.fixture(scope="module")
def with_api_keys() -> Iterator[Served]:
    with serve(API_KEYS=KEY) as running:
        yield running


def _run(name: str, url: str, **keys: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAMS[name]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: {name} is not run")
    environment = os.environ | {"BASE_URL": url} | keys
    command = [program, str(FOLDER / name)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_prints_what_the_server_says(keyed: Served, name: str) -> None:
    said = _run(name, keyed.url, FUNCTION_KEY=KEY)
    assert said.returncode == 0, said.stderr
    headers = {"x-functions-key": KEY}
    whole = httpx.post(f"{keyed.url}/generate", json=BODY, headers=headers, timeout=60).json()["generated_sequences"][0]
    if name == "completions.sh":
        assert said.stdout.startswith('data: {"id":"cmpl-')
        assert said.stdout.endswith("data: [DONE]\n\n")
    elif name == "openai_client.py":
        assert said.stdout == whole.removeprefix("Once upon a time") + "\n"
    else:
        assert said.stdout == whole + "\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_fails_when_the_server_refuses(keyed: Served, name: str) -> None:
    said = _run(name, keyed.url, FUNCTION_KEY="wrong")
    assert said.returncode != 0
    assert "401" in said.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_takes_an_api_key(with_api_keys: Served, name: str) -> None:
    assert _run(name, with_api_keys.url, API_KEY=KEY).returncode == 0
    said = _run(name, with_api_keys.url, API_KEY="wrong")
    assert said.returncode != 0
    assert "401" in said.stderr


def test_every_request_of_the_http_file_is_answered(client: httpx.Client) -> None:
    text = (FOLDER / "test.http").read_text(encoding="utf-8")
    requests = re.split(r"^### .*\n", text, flags=re.MULTILINE)[1:]
    assert len(requests) == text.count("### ")
    for one in requests:
        head, _, body = one.strip().partition("\n\n")
        method, address = head.splitlines()[0].split()
        response = client.request(method, address.replace("{{base}}", ""), content=body or None)
        assert response.status_code == 200, one


def test_perplexity_is_that_of_the_log_probabilities(client: httpx.Client, tmp_path: Path) -> None:
    script = [sys.executable, str(FOLDER / "perplexity.py")]
    corpus, scored = tmp_path / "corpus", tmp_path / "scored"
    corpus.write_text("Once upon a time there was a dog.\n\n{}[]#!\n" + "word " * 600, encoding="utf-8")
    requests = [json.loads(line) for line in subprocess.check_output([*script, "lines", str(corpus)]).splitlines()]
    perplexities = []
    with scored.open("w", encoding="utf-8") as file:
        for one in requests:
            response = client.post(one["url"], json=one["body"])
            answer = {"status_code": response.status_code, "body": response.json()}
            file.write(json.dumps({"custom_id": one["custom_id"], "response": answer, "error": None}) + "\n")
            if response.status_code == 200:
                (choice,) = response.json()["choices"]
                tokens = choice["logprobs"]["token_logprobs"][1:]
                perplexities.append(math.exp(-sum(tokens) / len(tokens)))
    assert [one["custom_id"] for one in requests] == ["1", "3", "4"]
    said = subprocess.run([*script, "scores", str(scored)], capture_output=True, text=True, check=True)
    assert "document 4 was not scored: the prompt has" in said.stderr
    assert said.stdout.startswith("2 documents, ")
    assert perplexities[0] < 20 < perplexities[1]
    kept = subprocess.check_output([*script, "filter", str(scored), str(corpus), "--most", str(perplexities[0] + 0.1)])
    assert kept == b"Once upon a time there was a dog.\n"


def test_every_example_is_listed_and_run() -> None:
    files = {path.name for path in FOLDER.iterdir()} - {"README.md"}
    assert files == {*PROGRAMS, "test.http", "perplexity.py"}
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in listed for name in files)
