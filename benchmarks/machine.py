"""Describe the machine of a benchmark, and measure its memory bandwidth."""

import os
import platform
import re
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import numpy as np

import generation
from generation.config import ROOT


def describe() -> dict[str, str]:
    """Return the processor, the number of cores, the versions of Python and of the code, and the date.

    The commit is empty outside of a clone.
    """
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"model name\s*:\s*(.*)", cpuinfo)
    flags = [flag for flag in ("avx2", "avx512_vnni", "amx_int8") if flag in cpuinfo]
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "version": generation.__version__,
        "commit": commit.stdout.strip(),
        "processor": name[1] if name else platform.processor(),
        "instructions": ", ".join(flags),
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def bandwidth_gb_s(megabytes: int = 512, rounds: int = 7) -> float:
    """Return the bandwidth of all cores reading memory, in GB per second; the best of several rounds."""
    threads = len(os.sched_getaffinity(0))
    parts = [np.ones(megabytes * 1_000_000 // threads // 8, np.int64) for _ in range(threads)]
    seconds = []
    for _ in range(rounds):
        workers = [Thread(target=part.max) for part in parts]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds.append(time.perf_counter() - began)
    return sum(part.nbytes for part in parts) / 1e9 / min(seconds)
