"""Query the machine: processors and memory available to this container, and the exactness of int8 products."""

import ctypes
import os
import platform
import re
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError):
        return None


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """Return the number of processors that this process may keep busy.

    This is the size of its affinity mask, limited by the quota of its cgroup (version 1 or 2). A fractional quota is
    rounded down, but to at least one.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _first_line(cgroup / "cpu.max")  # version 2: "<quota> <period>" or "max <period>"
    if quota is None:
        old = (_first_line(cgroup / "cpu/cpu.cfs_quota_us"), _first_line(cgroup / "cpu/cpu.cfs_period_us"))
        quota = f"{old[0]} {old[1]}"
    limit, _, period = quota.partition(" ")
    if limit.isdecimal() and period.isdecimal() and int(period) > 0:
        available = min(available, int(limit) // int(period))
    return max(1, available)


def memory_limit(cgroup: Path = CGROUP) -> int:
    """Return the bytes of memory that this process may use: the limit of its cgroup, else the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        limit = _first_line(path)
        if limit is not None and limit.isdecimal() and int(limit) < _UNLIMITED:
            return min(machine, int(limit))
    return machine


def give_back_free_memory() -> None:
    """Return freed memory from the C library to the operating system; does nothing without glibc."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def has_exact_int8_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether u8 x s8 products are exact on this machine.

    Without VNNI, x86 adds pairs of products in 16 bits, which can saturate. Returns False for an x86 processor whose
    flags cannot be read.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return True
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and not {"avx512_vnni", "avx_vnni"}.isdisjoint(flags[1].split())
