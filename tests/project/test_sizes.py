"""One core and 1 GiB: it starts, serves all that fits, refuses what does not, and is not killed for memory."""

import concurrent.futures
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import serve

LIMIT = 1 << 30
# Of each kind a request that costs nearly as much as MAX_COST allows: reports on prompts, choices, tokens, texts.
LONG = [7] * 508
REPORT = {"echo": True, "logprobs": 5, "max_tokens": 0, "timeout_s": 200}
WORST: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": [LONG] * 128} | REPORT),
    ("/v1/completions", {"prompt": [LONG] * 9, "n": 16} | REPORT),
    ("/v1/completions", {"prompt": ["a"] * 272, "n": 16, "max_tokens": 50, "ignore_eos": True, "timeout_s": 20}),
    ("/v1/completions", {"prompt": ["a"] * 40, "n": 16, "max_tokens": 80, "logprobs": 5, "timeout_s": 20}),
    ("/tokenize", {"prompt": "a" * 262_000}),
    ("/detokenize", {"tokens": [7] * 131_000}),
]
GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with 1 GiB, of either version."""
    old = GROUPS / "memory" / f"sizes-{os.getpid()}"
    new = GROUPS / f"sizes-{os.getpid()}"
    folder, name = (old, "memory.limit_in_bytes") if old.parent.is_dir() else (new, "memory.max")
    try:
        folder.mkdir()
        (folder / name).write_text(str(LIMIT))
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no control group can be made here: {error.strerror}")
    yield folder
    folder.rmdir()


@pytest.mark.heavy
def test_one_core_and_a_gigabyte_are_enough(group: Path, tmp_path: Path) -> None:
    """This group is no root of a namespace, as a container has one: what the server reads there is told to it here."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec taskset -c 0 {sys.executable} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    with serve(python=str(wrapper), THREADS="1", CACHE_MB=str(LIMIT // 4 >> 20)) as served:
        assert str(served.process.pid) in (group / "cgroup.procs").read_text().split()
        body = {"prompt": "once " * 200, "max_new_tokens": 250, "ignore_eos": True, "num_return_sequences": 8}

        def ask(_: int) -> int:
            return httpx.post(f"{served.url}/generate", json=body, timeout=120).status_code

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(8))) <= {200, 429}
        large = httpx.post(f"{served.url}/tokenize", json={"prompt": "word " * 200_000}, timeout=120)
        assert large.json()["count"] > 200_000
        refused = httpx.post(f"{served.url}/generate", json=body | {"num_return_sequences": 17}, timeout=120)
        assert refused.json()["error"]["code"] == "request_too_large"
        for path, worst in WORST:
            answer = httpx.post(f"{served.url}{path}", json=worst, timeout=240)
            assert answer.status_code == 200, answer.text[:300]
        assert httpx.get(f"{served.url}/ready", timeout=120).status_code == 200
        status = Path(f"/proc/{served.process.pid}/status").read_text(encoding="ascii")
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        print(f"largest resident memory: {peak >> 10} MiB of {LIMIT >> 20}")
        assert peak << 10 < LIMIT
