"""Whom the check of the image blames, with stand-ins for buildah and podman: 1 is the image, 2 the machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from generation.config import ROOT

TOOL = """#!/bin/sh
# Fails at what FAIL says; of an image it knows the layers.
case "$(basename "$0") $*" in
    *"${FAIL:-nothing}"*) exit "${FAIL_STATUS:-1}";;
    *history*) echo "$LAYERS";;
esac
"""

# Runs what it is given, but for the check of the stop, whose status it is told.
PYTHON = f"""#!/bin/sh
case "$*" in
    *"stop_check.py --without-entry-point"*) exit "${{WITHOUT_ENTRY_POINT:-1}}";;
    *stop_check.py*) exit "${{STOP:-0}}";;
esac
exec "{sys.executable}" "$@"
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with all that the script may call."""
    for name in ("buildah", "podman", "runc", "debootstrap"):
        (tmp_path / name).write_text(TOOL, encoding="utf-8")
    (tmp_path / "python3").write_text(PYTHON, encoding="utf-8")
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    for name in ("basename", "bash", "cat", "cksum", "cp", "cut", "dirname", "git", "mktemp", "rm", "sh", "timeout"):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"the script needs {name}, which is not here")
        (tmp_path / name).symlink_to(found)
    return tmp_path


def layers(mib: int) -> str:
    """Return an image's history: a layer of that size, our first step, and a base."""
    return json.dumps([{"size": mib * 2**20}, {"size": 0, "CreatedBy": "ENV PYTHONPATH=/a"}, {"size": 2**31}])


def check(tools: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("BASE_IMAGE", "LIMIT_MIB")}
    clean |= {"LAYERS": layers(9)}
    return subprocess.run(
        [ROOT / "scripts" / "image-check.sh"],
        env={**clean, "PATH": str(tools), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_image_that_builds_and_serves_within_its_size_is_good(tools: Path) -> None:
    done = check(tools)
    assert done.returncode == 0, done.stderr
    assert "9.00 MiB  without the model, of at most 114" in done.stdout


@pytest.mark.parametrize("missing", ["buildah", "podman", "runc"])
def test_a_missing_tool_is_the_machines_fault(tools: Path, missing: str) -> None:
    (tools / missing).unlink()
    done = check(tools)
    assert done.returncode == 2
    assert f"{missing} is not installed" in done.stderr


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("buildah inspect", "the stand-in for Azure's base could not be made"),
        ("buildah bud --network=host --force-rm --no-cache --quiet -f -", "buildah cannot build"),
        (" true", "podman cannot run"),
    ],
)
def test_what_fails_without_our_image_is_the_machines_fault(tools: Path, step: str, message: str) -> None:
    (tools / "debootstrap").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    done = check(tools, FAIL=step)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("step", "message"),
    [("--build-arg GIT_SHA", "the image does not build"), ("python3 /smoke.py", "the image does not serve")],
)
def test_what_fails_only_with_our_image_is_its_fault(tools: Path, step: str, message: str) -> None:
    done = check(tools, FAIL=step, FAIL_STATUS="2")
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        ({"STOP": "1"}, "do not stop as they should"),
        ({"WITHOUT_ENTRY_POINT": "0"}, "it passes without the entry point"),
    ],
)
def test_a_stop_that_fails_or_cannot_fail_is_the_images_fault(
    tools: Path, statuses: dict[str, str], message: str
) -> None:
    done = check(tools, **statuses)
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr


def test_an_image_that_has_grown_too_large_is_at_fault(tools: Path) -> None:
    assert check(tools, LAYERS=layers(115)).returncode == 1


def test_a_base_that_is_named_is_never_replaced_by_the_stand_in(tools: Path) -> None:
    (tools / "debootstrap").write_text("#!/bin/sh\necho made >&2\nexit 1\n", encoding="utf-8")
    done = check(tools, FAIL="buildah inspect", BASE_IMAGE="registry.example/base:1")
    assert (done.returncode, "made" in done.stderr) == (0, False), done.stderr
    assert "the stop is checked with the stand-in alone" in done.stdout
