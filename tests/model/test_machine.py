import mmap
import os
import platform
from pathlib import Path

import pytest

from generation.model.machine import cpu_limit, give_back_free_memory, has_exact_int8_products, memory_limit

AFFINITY = len(os.sched_getaffinity(0))


def _group(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", AFFINITY),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", 1),
        ("6400000 100000", AFFINITY),
        ("nonsense", AFFINITY),
    ],
)
def test_the_quota_of_version_2_bounds_the_processors(tmp_path: Path, quota: str, expected: int) -> None:
    assert cpu_limit(_group(tmp_path, cpu_dot_max=quota)) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", AFFINITY), ("100000", 1)])
def test_the_quota_of_version_1_bounds_the_processors(tmp_path: Path, quota: str, expected: int) -> None:
    group = _group(tmp_path, **{"cpu__cpu.cfs_quota_us": quota, "cpu__cpu.cfs_period_us": "100000"})
    assert cpu_limit(group) == expected


def test_without_a_group_all_processors_count(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path) == AFFINITY


@pytest.mark.parametrize("name", ["memory_dot_max", "memory__memory.limit_in_bytes"])
def test_a_memory_limit_is_found(tmp_path: Path, name: str) -> None:
    assert memory_limit(_group(tmp_path, **{name: "1048576"})) == 1 << 20


@pytest.mark.parametrize("text", ["max", str((1 << 63) - 4096)])
def test_no_limit_means_the_memory_of_the_machine(tmp_path: Path, text: str) -> None:
    machine = memory_limit(tmp_path)
    assert machine > 1 << 26
    assert memory_limit(_group(tmp_path, memory_dot_max=text)) == machine


@pytest.mark.skipif(platform.machine() != "x86_64", reason="looks at flags of x86 processors")
@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx2 avx512_vnni", True), ("fpu avx_vnni", True), ("fpu avx2 avx512f", False), (None, False)],
)
def test_exact_int8_products_need_vnni(tmp_path: Path, flags: str | None, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    assert has_exact_int8_products(cpuinfo) is expected


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have nothing for it")
def test_free_memory_is_given_back() -> None:
    def resident_mib() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE >> 20

    # Too small to be mapped each by itself. The last one keeps those below it from being given back at once.
    blocks = [bytes(64 << 10) for _ in range(640)]
    last = blocks.pop()
    blocks.clear()
    before = resident_mib()
    give_back_free_memory()
    assert resident_mib() <= before - 20
    assert len(last) == 64 << 10
