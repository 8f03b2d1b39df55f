"""The command as a script sees it: files, standard streams, signals, exit statuses."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import Served, serve
from generation.cli.batch.local import LEAST_MEMORY, ROWS
from generation.cli.main import main
from generation.config import ROOT
from generation.model.machine import memory_limit
from tests.support.batch import ids, read, request, write

BAD = [b"bad", request("colourful", colour=1)]
SLOW: dict[str, Any] = {"max_tokens": 400, "ignore_eos": True}  # long enough to be stopped in its midst
KILLS = 20


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "generation", "batch", *map(str, arguments)]


def _run(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        _command(*arguments), cwd=ROOT, env=os.environ | environment, input=stdin, capture_output=True,
        timeout=120, check=False,
    )  # fmt: skip


def _start(*arguments: str | Path, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _command(*arguments), cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def _wait_for_size(process: subprocess.Popen[bytes], path: Path, size: int) -> None:
    """Wait until the output is larger than this, or the run has ended."""
    while process.poll() is None and not (path.exists() and path.stat().st_size > size):
        time.sleep(0.002)


def _texts(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {line["custom_id"]: line["response"]["body"]["choices"][0]["text"] for line in lines}


def test_a_file_is_answered_as_the_server_answers(tmp_path: Path, client: httpx.Client) -> None:
    requests = [request(f"r{i}", prompt=f"Once {i}", max_tokens=4) for i in range(5)]
    source, out = write(tmp_path / "in", [*requests, *BAD]), tmp_path / "out"
    said = _run(source, out)
    assert said.returncode == 3, said.stderr
    assert b"7 of 7 lines are answered\n" in said.stderr
    assert b"2 of them failed: 1 x invalid_body, 1 x 400 unsupported_parameter" in said.stderr
    good = [line for line in read(out) if line["response"] and line["response"]["status_code"] == 200]
    for line, text in _texts(good).items():
        body = json.loads(requests[int(line.removeprefix("r"))])["body"]
        assert client.post("/v1/completions", json=body).json()["choices"][0]["text"] == text
    assert len(good) == 5


@pytest.mark.skipif(memory_limit() < LEAST_MEMORY, reason="the batch has more rows only with enough memory")
@pytest.mark.parametrize(("environment", "status"), [({}, 200), ({"MAX_RUNNING": "16"}, 400)], ids=str)
def test_more_sequences_run_at_a_time_than_in_a_server(
    tmp_path: Path, environment: dict[str, str], status: int
) -> None:
    """A request may have as many choices as there are rows."""
    source, out = write(tmp_path / "in", [request("many", n=ROWS, temperature=1, seed=1)]), tmp_path / "out"
    _run(source, out, stdin=b"", **environment)

    assert read(out)[0]["response"]["status_code"] == status


def test_a_deployment_answers_the_same_and_what_is_done_is_not_asked_again(tmp_path: Path, served: Served) -> None:
    requests = [request(f"r{i}", prompt=f"Once {i}", max_tokens=4) for i in range(6)]
    source, out = write(tmp_path / "in", requests[:4]), tmp_path / "out"
    assert _run(source, out, "--url", served.url, "--ordered").returncode == 0
    assert ids(out) == ["r0", "r1", "r2", "r3"]
    write(source, requests)
    said = _run(source, out, "--ordered")
    assert said.returncode == 0
    assert b"6 of 6 lines are answered, 4 of them by earlier runs" in said.stderr
    assert ids(out) == [f"r{i}" for i in range(6)]
    assert _run(source, tmp_path / "alone", "--url", served.url).returncode == 0
    assert _texts(read(out)) == _texts(read(tmp_path / "alone"))


def test_standard_streams(tmp_path: Path, served: Served) -> None:
    said = _run("-", "-", "--url", served.url, "--ordered", stdin=request("a") + b"\n" + request("b"))
    assert said.returncode == 0
    assert [json.loads(line)["custom_id"] for line in said.stdout.splitlines()] == ["a", "b"]


def test_a_reader_that_has_enough_gets_no_traceback(tmp_path: Path, served: Served) -> None:
    source = write(tmp_path / "in", [request(f"r{i}") for i in range(300)])
    words = " ".join(_command(source, "-", "--url", served.url))
    said = subprocess.run(["bash", "-c", f"{words} | head -c 9"], cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert (len(said.stdout), b"Traceback" in said.stderr) == (9, False)


def test_a_key_comes_from_the_environment(tmp_path: Path) -> None:
    source = write(tmp_path / "in", [request("a")])
    with serve("--key", "secret") as keyed:
        assert _run(source, tmp_path / "out", "--url", keyed.url, BATCH_KEY="secret").returncode == 0
        said = _run(source, tmp_path / "none", "--url", keyed.url, BATCH_KEY="wrong")
    assert said.returncode == 1
    assert b"refuses the key of BATCH_KEY or --key (HTTP status 401)\n" in said.stderr
    assert b"To continue: python -m generation batch" in said.stderr
    assert read(tmp_path / "none") == []


def test_ctrl_c_finishes_what_runs_and_says_how_to_go_on(tmp_path: Path) -> None:
    source = write(tmp_path / "in", [request("first")] + [request(f"r{i}", **SLOW) for i in range(40)])
    out = tmp_path / "out"
    with _start(source, out, "--concurrency", "2", SPECULATE="0") as process:
        _wait_for_size(process, out, 0)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "Finishing the running lines" in said
    assert f"To continue: python -m generation batch {source} {out} --concurrency 2\n" in said
    assert 1 < len(read(out)) < 41
    assert len(set(ids(out))) == len(ids(out))
    assert "Traceback" not in said


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait(tmp_path: Path, second: signal.Signals) -> None:
    source = write(tmp_path / "in", [request("first")] + [request(f"r{i}", n=16, **SLOW) for i in range(40)])
    out = tmp_path / "out"
    with _start(source, out, SPECULATE="0") as process:
        _wait_for_size(process, out, 0)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = b""
        while b"Finishing the running" not in said:
            said += process.stderr.read1(100)  # type: ignore[attr-defined]
        process.send_signal(second)
        said += process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert len(read(out)) < 33


def _kill_and_go_on(folder: Path, url: str, lines: int, moments: list[float | int]) -> None:
    """Kill runs, each after some time or some bytes of output; then every line must be there, once."""
    source = write(folder / "in", [request(f"r{i}", prompt=f"Once {i}", max_tokens=12) for i in range(lines)])
    out, alone = folder / "out", folder / "alone"
    for moment in moments:
        size = out.stat().st_size if out.exists() else 0
        with _start(source, out) as process:
            if isinstance(moment, float):
                time.sleep(moment)
            else:
                _wait_for_size(process, out, size + moment)
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL, "there must be work left to kill"
    said = _run(source, out)
    assert said.returncode == 0, said.stderr
    assert _run(source, alone, "--url", url).returncode == 0
    assert sorted(ids(out)) == sorted(f"r{i}" for i in range(lines))
    assert _texts(read(out)) == _texts(read(alone))


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, served: Served) -> None:
    _kill_and_go_on(tmp_path, served.url, 60, [100])


@pytest.mark.heavy
def test_kills_at_twenty_random_moments_lose_nothing_and_double_nothing(tmp_path: Path, served: Served) -> None:
    dice = random.Random(1)  # noqa: S311 - no secret
    moments: list[float | int] = [dice.uniform(0, 3) if i % 4 == 0 else dice.randrange(20_000) for i in range(KILLS)]
    _kill_and_go_on(tmp_path, served.url, 2000, moments)


def test_a_full_disk_is_an_error_that_says_how_to_go_on(tmp_path: Path, served: Served) -> None:
    source = write(tmp_path / "in", [request(f"r{i}") for i in range(9)])
    said = _run(source, "/dev/full", "--url", served.url)
    assert said.returncode == 1
    assert b"error: /dev/full cannot be written: No space left on device\n" in said.stderr
    assert b"0 of 9 lines are answered" in said.stderr
    assert b"Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["IN", "IN"], "INPUT and OUTPUT are the same file"),
        (["IN", "OUT", "--url", "ftp://x"], "is not an http:// or https:// address"),
        (["IN", "OUT", "--url", "http://x:port/api"], "is not an http:// or https:// address"),
        (["IN", "OUT", "--url", "http://x/api", "--model", "m"], "not together with --url"),
        (["IN", "OUT", "--ordered", "--retry-failed"], "not together with --ordered"),
        (["IN", "OUT", "--key", "k"], "only together with --url"),
        (["IN", "OUT", "--patience", "9"], "only together with --url"),
        (["IN", "OUT", "--model", ""], "argument --model: it must not be empty"),
        (["IN", "OUT.gz"], "without .gz"),
        (["NONE", "OUT"], "cannot be read: No such file"),
        (["TWICE", "OUT"], "every custom_id may be used once: 'a' is on the lines 1 and 2"),
    ],
)
def test_a_wrong_call_is_status_2_and_says_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    write(tmp_path / "IN", [request("a")])
    write(tmp_path / "TWICE", [request("a"), request("a", n=2)])
    paths = [str(tmp_path / one) if one.isupper() or one == "OUT.gz" else one for one in arguments]
    assert main(["batch", *paths]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize("option", ["--concurrency", "--patience"])
def test_bounds_are_above_zero(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "in", "out", option, "0"]) == 2
    assert "is not a whole number from 1 to 1000000" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    source = write(tmp_path / "in", [request("a")])
    said = _run(source, tmp_path / "out", "--model", "/nowhere")
    assert said.returncode == 2
    assert said.stderr.startswith(b"error: no model in /nowhere: ")
    assert len(said.stderr.splitlines()) == 1
    assert read(tmp_path / "out") == []


def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_KEY", "two words")
    source = write(tmp_path / "in", [request("a")])
    assert main(["batch", str(source), str(tmp_path / "out"), "--url", "http://127.0.0.1:1/api"]) == 2
    assert "BATCH_KEY: a key consists of printable ASCII" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in", [request("a")])
    assert main(["batch", str(source), str(tmp_path / "out"), "--url", "http://127.0.0.1:1/api"]) == 1
    assert "/api cannot be reached: connection refused: no server listens there\n" in capsys.readouterr().err


def test_a_missing_route_prefix_is_named(tmp_path: Path, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    source, root = write(tmp_path / "in", [request("a")]), served.url.removesuffix("/api")
    assert main(["batch", str(source), str(tmp_path / "out"), "--url", root]) == 2
    assert f"--url must end in the route prefix: try {root}/api\n" in capsys.readouterr().err


def test_an_empty_input_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in", [])
    assert main(["batch", str(source), str(tmp_path / "out")]) == 0
    assert "0 of 0 lines" in capsys.readouterr().err


def test_lines_that_failed_may_be_tried_again(tmp_path: Path, served: Served) -> None:
    source, out = write(tmp_path / "in", [request("a"), BAD[1]]), tmp_path / "out"
    assert _run(source, out, "--url", served.url).returncode == 3
    said = _run(source, out, "--url", served.url)
    assert said.returncode == 3
    assert b"1 of them failed: 1 in earlier runs (--retry-failed tries those again)" in said.stderr
    said = _run(source, out, "--url", served.url, "--retry-failed")
    assert b"1 of them failed: 1 x 400 unsupported_parameter" in said.stderr
    assert sorted(ids(out)) == ["a", "colourful"]
