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
from tests.support.command import failed, run

GREEDY = ("--temperature", "0", "--max-new-tokens", "8")


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
        out, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == b""
    assert out.endswith(b"\n"), "Ctrl-C must end the line"


def test_a_text_may_come_from_stdin() -> None:
    said = run("tokenize", "-", "--json", stdin="Grüße\n".encode())
    found = json.loads(said.stdout)
    assert "".join(found["pieces"]) != ""
    assert found == json.loads(run("tokenize", "Grüße", "--json").stdout)
    failed(run("tokenize", "-", stdin=b"\xff"), 2, "stdin is not UTF-8")


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
        (("generate", "a", "--top-p", "1.5"), "top_p: "),
        (("generate", "a", "--top-p", "nan"), "argument --top-p: 'nan' is not a number"),
        (("generate", "a", "--seed", "1_0"), "argument --seed: '1_0' is not a whole number"),
        (("generate", "a", "--seed"), "argument --seed: expected one argument"),
        (("generate", "a", "--stop", ""), "argument --stop: it must not be empty"),
        (("generate", "a", "--model", "/nowhere"), "no model in /nowhere"),
        (("generate", "a", "--model", "README.md"), "README.md/config.json cannot be read"),
        (("generate", "a", "--model", ""), "argument --model: it must not be empty"),
        (("generate", "a", "--chat"), "not a chat model"),
        (("generate", "a", "--chat", "--temperature", "-1"), "temperature: "),
        (("generate", "a", "--system", "b"), "only with --chat"),
        (("generate", os.fsdecode(b"\xff")), "TEXT is not UTF-8"),
        (("generate",), "required: TEXT"),
        (("generate", "a", "--max-new-tokens", "100000"), "context window"),
        (("generate", "a", "--colour", "red"), "unrecognized arguments"),
        (("tokenize", "a", "--model", "/nowhere"), "/nowhere"),
        (("nonsense",), "invalid choice"),
    ],
    ids=str,
)
def test_a_wrong_call_is_status_2_and_says_what(arguments: tuple[str, ...], words: str) -> None:
    failed(run(*arguments), 2, words)


@pytest.mark.parametrize("command", ["generate", "tokenize", "serve"])
def test_a_wrong_setting_is_status_2(command: str) -> None:
    text = [] if command == "serve" else ["a"]
    failed(run(command, *text, THREADS="many"), 2, "THREADS='many'")


def test_settings_that_leave_no_room_for_the_model_are_status_2() -> None:
    failed(run("generate", "a", CACHE_MB="1"), 2, "CACHE_MB=1 leaves no room")


def test_a_wrong_model_is_said_once() -> None:
    assert len(run("generate", "a", MODEL_DIR="/nowhere").stderr.splitlines()) == 1


def test_another_failure_to_load_is_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("generation.service.load", fail)
    assert main(["generate", "a"]) == 1
    assert "unexpected MemoryError while loading" in capsys.readouterr().err


def test_a_stop_string_may_be_a_line_break(capsys: pytest.CaptureFixture[str]) -> None:
    call = ["generate", "Once upon a time", "--temperature", "0", "--max-new-tokens", "200", "--only-new"]
    assert main(call) == 0
    whole = capsys.readouterr().out
    assert "\n" in whole[:-1], "there must be something to stop at"
    assert main([*call, "--stop", r"\n"]) == 0
    assert capsys.readouterr().out == whole[: whole.index("\n") + 1]


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
