"""Remove files that the server never imports from a folder of installed packages; print the saved size.

Usage: python3 prune.py FOLDER

Packages that are listed here but not installed are skipped. The build of the image then runs smoke.py, which imports
every module and makes requests, to check that nothing is missing.
"""

import shutil
import struct
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

# Dependencies of other packages that nothing imports at run time.
UNUSED = {
    "certifi": "requests, hub",
    "charset-normalizer": "requests",
    "colorama": "click, on Windows",
    "filelock": "hub",
    "flatbuffers": "onnxruntime's tools",
    "fsspec": "hub",
    "hf-xet": "hub",
    "huggingface-hub": "tokenizers, to download",
    "idna": "anyio, to connect to hosts whose names are not ASCII",
    "packaging": "onnxruntime's tools",
    "protobuf": "onnxruntime's tools; the worker has its own, which this would hide",
    "pyyaml": "hub",
    "requests": "hub",
    "tqdm": "hub",
    "urllib3": "requests",
}
FOLDERS = (
    "bin",
    "fastapi/.agents",
    "numpy/distutils",
    "numpy/fft",
    "numpy/ma",
    "numpy/polynomial",
    "numpy/_pyinstaller",
    "numpy/f2py",
    "numpy/testing",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/random/lib",
    "numpy/random/_examples",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "pydantic/experimental",
    "pydantic/v1",
    "samples",
    "tokenizers/tools",
    "werkzeug/debug",
    "werkzeug/middleware",
)
# For test suites and type checkers, and for servers that uvicorn would use if they were installed.
MODULES = (
    "anyio/_backends/_trio.py",
    "anyio/pytest_plugin.py",
    "click/testing.py",
    "fastapi/testclient.py",
    "numpy/conftest.py",
    "numpy/lib/recfunctions.py",
    "pydantic/mypy.py",
    "starlette/testclient.py",
    "uvicorn/protocols/http/auto_zttp_impl.py",
    "uvicorn/protocols/http/httptools_impl.py",
    "uvicorn/protocols/http/zttp_h2_impl.py",
    "uvicorn/protocols/http/zttp_impl.py",
    "uvicorn/protocols/websockets/websockets_impl.py",
    "uvicorn/protocols/websockets/websockets_sansio_impl.py",
    "uvicorn/protocols/websockets/wsproto_impl.py",
    "werkzeug/testapp.py",
)
# libonnxruntime.so is a second copy for programs in C; the Python module contains the library.
FILES = (
    "libonnxruntime.so*",
    "_simd.*.so",
    "_*_tests.*.so",
    "lapack_lite.*.so",
    "*.pyi",
    "*.pxd",
    "*.pyx",
    "*.a",
    "*.h",
    "*.c",
    "RECORD",
    "INSTALLER",
    "REQUESTED",
    "direct_url.json",
)


def prune(root: Path) -> None:
    """Remove unused packages, then folders and files by name, from `root`."""
    for one in list(distributions(path=[str(root)])):
        if one.metadata["Name"].lower().replace("_", "-") in UNUSED:
            _remove(one, root)
    for name in FOLDERS:
        shutil.rmtree(root / name, ignore_errors=True)
    for folder in [*root.rglob("tests"), *root.rglob("test"), *root.rglob("__pycache__")]:
        if folder.is_dir() and folder.parent != root:
            shutil.rmtree(folder)
    for name in MODULES:
        (root / name).unlink(missing_ok=True)
    for pattern in FILES:
        for path in root.rglob(pattern):
            path.unlink()


def trim(root: Path) -> None:
    """Shorten the remaining METADATA files to their fields, and shared libraries to their loaded segments."""
    for path in root.glob("*.dist-info/METADATA"):
        fields, _, _readme = path.read_text(encoding="utf-8").partition("\n\n")
        path.write_text(fields + "\n", encoding="utf-8")
    for path in root.rglob("*.so*"):
        if path.is_file():
            _trim_library(path)


def _trim_library(library: Path) -> None:
    """Truncate a shared library after its last segment, which removes debug symbols and the section table.

    A loader reads only the header, the segment table and the segments, which include the symbols for linking: elf(5).
    Files other than 64-bit little-endian ELF are left unchanged.
    """
    content = library.read_bytes()
    if content[:6] != b"\x7fELF\x02\x01":
        return
    table, _sections, _flags, header, entry, count = struct.unpack_from("<QQIHHH", content, 32)
    ends = [header, table + entry * count]
    for at in range(table, table + entry * count, entry):
        offset, _virtual, _physical, length = struct.unpack_from("<QQQQ", content, at + 8)
        ends.append(offset + length)
    kept = bytearray(content[: max(ends)])
    struct.pack_into("<Q", kept, 40, 0)  # e_shoff
    struct.pack_into("<HH", kept, 60, 0, 0)  # e_shnum, e_shstrndx
    library.write_bytes(kept)


def size(root: Path) -> float:
    """Return the total size of all files under `root` in MiB."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 2**20


def _remove(one: Distribution, root: Path) -> None:
    for path in one.files or ():
        absolute = Path(str(one.locate_file(path))).resolve()
        if absolute.is_relative_to(root.resolve()) and absolute.exists():
            absolute.unlink()
            for parent in absolute.parents:
                if parent == root.resolve() or any(parent.iterdir()):
                    break
                parent.rmdir()


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its argument
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    packages = Path(sys.argv[1])
    before = size(packages)
    prune(packages)
    trim(packages)
    print(f"pruned {packages}: {before:.0f} -> {size(packages):.0f} MiB")
