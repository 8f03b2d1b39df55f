"""The command line, as a script sees it: what is printed where, and the exit status."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from generation.cli.main import main
from generation.config import ROOT

GREEDY = ("--temperature", "0", "--max-new-tokens", "8")


def _run(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "generation", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def _failed(said: subprocess.CompletedProcess[bytes], status: int, words: str) -> None:
    assert said.returncode == status, said.stderr
    assert words in said.stderr.decode()
    assert b"Traceback" not in said.stderr
    assert not said.stdout


def test_text_is_what_the_server_answers(capsys: pytest.CaptureFixture[str], client: httpx.Client) -> None:
    body = {"prompt": "Once upon a time", "max_new_tokens": 8, "temperature": 0}
    assert main(["generate", "Once upon a time", *GREEDY]) == 0
    assert capsys.readouterr().out == client.post("/generate", json=body).json()["generated_sequences"][0] + "\n"


def test_json_is_what_the_server_answers(capsys: pytest.CaptureFixture[str], client: httpx.Client) -> None:
    body = {"prompt": "The dog", "max_new_tokens": 9, "seed": 3, "num_return_sequences": 2, "stop": ["."]}
    call = "--max-new-tokens 9 --seed 3 --num-return-sequences 2 --stop . --json"
    assert main(["generate", "The dog", *call.split()]) == 0
    assert capsys.readouterr().out == client.post("/generate", json=body).text + "\n"


def test_several_sequences_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "The dog", "--only-new", "--num-return-sequences", "3", "--seed", "1"]) == 0
    parts = capsys.readouterr().out.split("\n---\n")
    assert len(parts) == 3
    assert not any(part.startswith("The dog") for part in parts)


TEMPLATE = "{% for one in messages %}{{ one.role }}: {{ one.content }}{{ eos_token }}{% endfor %}"


def test_a_chat_is_what_the_server_answers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, client: httpx.Client
) -> None:
    monkeypatch.setenv("CHAT_TEMPLATE", TEMPLATE)
    rendered = "system: Be brief.<|endoftext|>user: Hello<|endoftext|>"
    body = {"prompt": rendered, "max_new_tokens": 8, "temperature": 0, "return_full_text": False}
    expected = client.post("/generate", json=body).json()["generated_sequences"][0]
    call = ["generate", "Hello", "--chat", "--system", "Be brief.", *GREEDY]
    assert main(call) == 0
    assert capsys.readouterr().out == expected + "\n"
    assert main([*call, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["object"], answer["choices"][0]["message"]["content"]) == ("chat.completion", expected)


def test_several_answers_are_told_apart(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_TEMPLATE", TEMPLATE)
    assert main(["generate", "Hello", "--chat", "--num-return-sequences", "2", "--seed", "1"]) == 0
    assert len(capsys.readouterr().out.split("\n---\n")) == 2


def test_text_comes_as_it_is_generated() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "generation", "generate", "The dog", "--max-new-tokens", "500", "--ignore-eos"],
        cwd=ROOT,
        env=os.environ | {"SPECULATE": "0", "THREADS": "1"},  # long enough to be stopped in its midst
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.read(len("The dog") + 1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == b""


def test_a_reader_that_has_enough_gets_no_traceback() -> None:
    command = f"{sys.executable} -m generation generate 'The dog' --max-new-tokens 300 --ignore-eos | head -c 9"
    said = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert (len(said.stdout), said.stderr) == (9, b"")


def test_a_text_may_come_from_stdin() -> None:
    said = _run("tokenize", "-", "--json", stdin="Grüße\n".encode())
    found = json.loads(said.stdout)
    assert "".join(found["pieces"]) != ""
    assert found == json.loads(_run("tokenize", "Grüße", "--json").stdout)
    _failed(_run("tokenize", "-", stdin=b"\xff"), 2, "stdin is not UTF-8")


def test_tokens_as_json_are_what_the_server_answers(capsys: pytest.CaptureFixture[str], client: httpx.Client) -> None:
    assert main(["tokenize", "Grüße", "--json"]) == 0
    assert capsys.readouterr().out == client.post("/tokenize", json={"prompt": "Grüße"}).text + "\n"


def test_tokens_are_listed_with_their_text(capsys: pytest.CaptureFixture[str], client: httpx.Client) -> None:
    assert main(["tokenize", "Once upon a time"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert "".join(json.loads(line.split(maxsplit=1)[1]) for line in lines) == "Once upon a time"
    ids = client.post("/tokenize", json={"prompt": "Once upon a time"}).json()["tokens"]
    assert [int(line.split()[0]) for line in lines] == ids
    assert total.startswith(f"{len(ids)} tokens")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "a", "--temperature", "-1"), "temperature: "),
        (("generate", "a", "--top-p", "nan"), "top_p: "),
        (("generate", "a", "--chat"), "not a chat model"),
        (("generate", "a", "--chat", "--temperature", "-1"), "temperature: "),
        (("generate", "a", "--system", "b"), "only with --chat"),
        (("generate", "a", "--max-new-tokens", "100000"), "context window"),
        (("generate", "a", "--colour", "red"), "unrecognized arguments"),
        (("tokenize", "a", "--model", "/nowhere"), "/nowhere"),
        (("nonsense",), "invalid choice"),
        ((), "required"),
    ],
    ids=str,
)
def test_a_wrong_call_is_status_2_and_says_what(arguments: tuple[str, ...], words: str) -> None:
    _failed(_run(*arguments), 2, words)


@pytest.mark.parametrize("command", ["generate", "tokenize", "serve", "batch"])
def test_a_python_without_the_packages_is_told_which_has_them(command: str) -> None:
    text = {"serve": [], "batch": ["a", "b"]}.get(command, ["a"])
    said = subprocess.run(
        [sys.executable, "-S", "-m", "generation", command, *text],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    _failed(said, 2, ".venv/bin/python")


def test_a_wrong_setting_is_status_2() -> None:
    _failed(_run("generate", "a", THREADS="many"), 2, "THREADS='many'")


def test_a_model_that_cannot_be_loaded_is_status_1_said_once() -> None:
    said = _run("generate", "a", "--model", "/nowhere")
    _failed(said, 1, "/nowhere")
    assert len(said.stderr.splitlines()) == 1


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: str) -> str:
        raise RuntimeError("odd")

    monkeypatch.setattr("generation.cli.tokenize.read_text", fail)
    assert main(["tokenize", "a"]) == 1
    assert capsys.readouterr().err.startswith("error: unexpected RuntimeError: odd")


@pytest.mark.parametrize("command", [(), ("generate",), ("batch",), ("export",)], ids=str)
def test_help_teaches(command: tuple[str, ...]) -> None:
    said = _run(*command, "--help")
    assert said.returncode == 0
    assert b"usage: python -m generation" in said.stdout
    assert len(said.stdout) > 1000


# In this process, where torch is imported already.
@pytest.mark.filterwarnings("ignore:.*found in sys.modules after import:RuntimeWarning")
def test_export_is_handed_over(checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert main(["export", str(checkpoint_folder), str(folder), "--precision", "fp32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "report.json").read_text())
    assert main(["tokenize", "a", "--model", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 1


@pytest.mark.filterwarnings("ignore:.*found in sys.modules after import:RuntimeWarning")
def test_export_fails_as_its_own_command_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "error: " in capsys.readouterr().err


def test_export_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main(["export"]) == 2
    assert "pip install --group export" in capsys.readouterr().err
