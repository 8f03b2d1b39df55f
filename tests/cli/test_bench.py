"""The load tool, on the bundled model and on a server that misbehaves."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server import Served
from generation.cli.bench_report import Outcome, Progress, quantile, summarize
from generation.cli.main import main
from generation.config import ROOT
from tests.support.loopback import Asked, serve_answers


def _bench(served: Served, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["bench", "--url", served.url, "--json", "--max-new-tokens", "5", *arguments]) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    return summary


def test_a_closed_loop_sends_what_it_was_told_to(
    served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    summary = _bench(served, capsys, "--clients", "3", "--requests", "7", "--output", str(tmp_path / "out.json"))
    assert summary["requests"] == {"ended": 7, "succeeded": 7, "errors": {}}
    assert summary["tokens"] == 35
    assert summary["time_to_first_token_ms"]["p50"] > 0
    assert (summary["load"]["loop"], summary["load"]["clients"]) == ("closed", 3)
    assert json.loads((tmp_path / "out.json").read_text()) == summary


def test_an_open_loop_sends_at_its_rate(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    summary = _bench(served, capsys, "--rate", "200", "--requests", "6")
    assert summary["requests"]["succeeded"] == 6
    assert (summary["load"]["loop"], summary["load"]["rate"]) == ("open", 200)


def test_time_ends_it_too(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    summary = _bench(served, capsys, "--clients", "1", "--requests", "1000000", "--duration", "0.2")
    assert 1 <= summary["requests"]["ended"] < 1000000


def test_the_table_is_for_people(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--url", served.url, "--requests", "2", "--max-new-tokens", "3"]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 requests" in out
    assert "| time to first token |" in out


ODD: dict[int, tuple[int, bytes]] = {
    1: (429, b'{"error": {"code": "overloaded"}}'),
    2: (200, b'data: {"choices": []}\n\n'),
    3: (200, b'data: {"error": {"code": "not_ready"}}\n\ndata: [DONE]\n\n'),
    4: (502, b"<html>"),
    5: (200, b"data: {nothing of ours\n\n"),
}  # fmt: skip


def test_errors_are_counted_by_kind_and_nothing_but_errors_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = set()

    def answer(asked: Asked) -> tuple[int, bytes]:
        if asked.method == "GET":
            return 200, b'{"model": {"name": "odd", "precision": "int8"}}'
        keys.add(asked.headers["x-functions-key"])
        return ODD[json.loads(asked.body)["seed"]]

    monkeypatch.setenv("BENCH_KEY", "k1")
    with serve_answers(answer) as url:
        assert main(["bench", "--url", f"{url}/api", "--requests", "5", "--json"]) == 1
    errors = json.loads(capsys.readouterr().out)["requests"]["errors"]
    assert errors == {
        "HTTP 429 overloaded": 1, "stream broke off": 1, "stream not_ready": 1, "HTTP 502": 1,
        "the stream is not this app's": 1,
    }  # fmt: skip
    assert keys == {"k1"}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--url", "ftp://x"], 2, "is not an http:// or https:// address"),
        (["--url", "http://127.0.0.1/a b"], 2, "is not an http:// or https:// address"),
        (["--url", "http://x/api?code=k"], 2, "must end after the route prefix, such as /api; pass a key with --key"),
        (["--url", "http://me:secret@x/api"], 2, "error: --url: must not contain a name or a password; pass a key"),
        (["--url", "http://127.0.0.1:1/api"], 1, "/api cannot be reached: connection refused"),
        (["--url", "http://nowhere.invalid/api"], 1, "the host name cannot be resolved"),
        (["--output", "/nowhere/x"], 2, "--output: /nowhere/x cannot be written: No such file"),
    ],
)
def test_a_wrong_address_is_a_clear_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    assert main(["bench", *arguments]) == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", ["", "/"])
def test_a_missing_route_prefix_is_named(served: Served, capsys: pytest.CaptureFixture[str], path: str) -> None:
    root = served.url.removesuffix("/api")
    assert main(["bench", "--url", root + path]) == 2
    assert f"--url must end in the route prefix: try {root}/api\n" in capsys.readouterr().err


def test_another_server_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_answers(lambda _: (200, b'{"model": "none of ours"}')) as url:
        assert main(["bench", "--url", f"{url}/api"]) == 2
    assert "does not answer as this app does (HTTP status 200)\n" in capsys.readouterr().err


def test_tls_to_a_server_without_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_answers(lambda _: (200, b"")) as url:
        assert main(["bench", "--url", url.replace("http:", "https:") + "/api"]) == 1
    assert "does the server speak http:// instead of https://?" in capsys.readouterr().err


def test_a_key_that_is_missing_or_wrong_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> tuple[int, bytes]:
        if asked.path == "/api/health":
            return 200, b'{"model": {"name": "kept", "precision": "int8"}}'
        return 401, b""

    with serve_answers(answer) as url:
        assert main(["bench", "--url", f"{url}/api"]) == 2
        assert "requires a key (HTTP status 401): set BENCH_KEY" in capsys.readouterr().err
        monkeypatch.setenv("BENCH_KEY", "wrong")
        assert main(["bench", "--url", f"{url}/api"]) == 2
        assert "refuses the key of BENCH_KEY or --key (HTTP status 401)" in capsys.readouterr().err
        monkeypatch.setenv("BENCH_KEY", "two\nlines")
        assert main(["bench", "--url", f"{url}/api"]) == 2
    assert "BENCH_KEY: a key consists of printable ASCII" in (said := capsys.readouterr().err)
    assert "two" not in said


def test_ctrl_c_ends_the_load_and_prints_its_summary(served: Served) -> None:
    command = [sys.executable, "-m", "generation", "bench", "--url", served.url, "--requests", "1000000"]
    logged = len(served.log())
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        served.log(logged + 4)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "| time to first token |" in out
    assert "Traceback" not in said


@pytest.mark.parametrize("option", ["--clients", "--rate", "--requests", "--duration"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "nan", "1e99"])
def test_numbers_have_bounds(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", option, value]) == 2
    assert f"argument {option}: {value!r} is not a " in capsys.readouterr().err


def test_the_summary_counts_from_when_a_request_was_due() -> None:
    outcomes = [
        Outcome(10.0, events=[11.0, 11.1, 11.3], tokens=4, ended=11.5),
        Outcome(10.0, ended=10.5, error="timeout"),
    ]
    summary = summarize(outcomes, begun=9.5)
    assert summary["seconds"] == 2.0
    assert summary["tokens_per_s"] == 2.0
    assert summary["time_to_first_token_ms"] == {"p50": 1000.0, "p90": 1000.0, "p99": 1000.0, "max": 1000.0}
    assert summary["between_events_ms"]["max"] == 200.0
    assert summary["per_token_ms"]["p50"] == 100.0
    assert summary["whole_request_ms"]["p50"] == 1500.0
    assert summary["requests"]["errors"] == {"timeout": 1}


def test_quantiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [quantile(values, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert quantile([], 50) is None


def test_progress_is_shown_to_who_watches() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, expected in ((io.StringIO(), ""), (Terminal(), "\r[############------------] 1/2 requests")):
        progress = Progress(out, requests=2, duration_s=100.0)
        progress.show([Outcome(0.0)], 3.0)
        assert out.getvalue().startswith(expected)
        assert bool(out.getvalue()) == bool(expected)
