"""An export that is killed, or whose disk is full: the output is as it was, and the next export works."""

import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from generation.config import ROOT
from generation.model.artifact import read_config, verify_files

pytestmark = pytest.mark.heavy


def _command(checkpoint: Path, output: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "generation.export",
        str(checkpoint),
        str(output),
        "--allow-loss",
        "--draft-tokens",
        "512",
    ]


def _limit_files() -> None:
    """Writing past 100 kB fails, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An artifact from before."""
    folder = tmp_path / "out"
    folder.mkdir()
    for path in (ROOT / "models" / "demo").glob("*.*"):
        shutil.copy(path, folder)
    return folder


def _is_whole(folder: Path) -> str:
    config = read_config(folder)
    verify_files(folder, config)
    return config.name


@pytest.mark.parametrize("stage", ["exporting the portable reference", "writing the serving", "verifying", "putting"])
def test_killed_at_any_stage_the_old_artifact_stays(checkpoint_folder: Path, output: Path, stage: str) -> None:
    with subprocess.Popen(
        _command(checkpoint_folder, output), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any(stage in line for line in process.stderr)
        process.kill()
        process.wait(60)
    assert process.returncode == -signal.SIGKILL
    # Of "putting" the rest may be done before the signal comes: whole it is either way, or refused by the run time.
    if (output / "config.json").exists():
        assert _is_whole(output) in {"tinystories-demo", "small"}
    else:
        assert stage == "putting"


def test_after_a_kill_the_next_export_works(checkpoint_folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    with subprocess.Popen(
        _command(checkpoint_folder, new), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any("verifying" in line for line in process.stderr)
        process.kill()
        process.wait(60)
    assert not new.exists()
    subprocess.run(_command(checkpoint_folder, new), cwd=ROOT, check=True, capture_output=True)
    assert _is_whole(new) == "small"


def test_a_full_disk_is_one_line_and_leaves_nothing(checkpoint_folder: Path, output: Path) -> None:
    before = sorted(path.name for path in output.parent.rglob("*"))
    result = subprocess.run(
        _command(checkpoint_folder, output),
        cwd=ROOT, preexec_fn=_limit_files, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "error: cannot write the artifact" in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in output.parent.rglob("*")) == before
    assert _is_whole(output) == "tinystories-demo"
