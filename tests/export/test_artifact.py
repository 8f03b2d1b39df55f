import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from generation.export.artifact import CONFIG, MODEL, REPORT, TOKENIZER, publish, staging
from generation.export.errors import ExportError
from generation.model.artifact import CHECKED_FILES

FILES = (*CHECKED_FILES, REPORT, CONFIG)


def fill(folder: Path, content: str) -> None:
    for name in FILES:
        (folder / name).write_text(json.dumps({"format": 2, "content": content}))


def contents(folder: Path) -> set[str]:
    return {json.loads((folder / name).read_text())["content"] for name in FILES}


def put(output: Path, content: str) -> None:
    with staging(output) as folder:
        fill(folder, content)
        publish(folder, output)


def fail(output: Path) -> None:
    with staging(output) as folder:
        fill(folder, "new")
        raise ZeroDivisionError


def test_a_new_artifact_appears_with_its_parents(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b", "new")

    assert contents(tmp_path / "a" / "b") == {"new"}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_an_artifact_is_replaced(tmp_path: Path) -> None:
    put(tmp_path / "out", "old")
    put(tmp_path / "out", "new")

    assert contents(tmp_path / "out") == {"new"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)


def test_what_else_is_in_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "out" / "checkpoint").mkdir(parents=True)
    (tmp_path / "out" / "README.md").write_text("card")
    put(tmp_path / "out", "old")
    put(tmp_path / "out", "new")

    assert contents(tmp_path / "out") == {"new"}
    assert (tmp_path / "out" / "README.md").read_text() == "card"
    assert (tmp_path / "out" / "checkpoint").is_dir()


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "out")

    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_artifact(tmp_path: Path) -> None:
    put(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path / "out")

    assert contents(tmp_path / "out") == {"old"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)


def test_what_a_killed_export_left_is_removed_and_what_runs_stays(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, runs = (tmp_path / f".out.partial-{process}" for process in (ended.pid, os.getppid()))
    for folder in (left, runs):
        folder.mkdir()
        (folder / "model.onnx").touch()
    put(tmp_path / "out", "new")

    assert not left.exists()
    assert runs.exists()
    assert contents(tmp_path / "out") == {"new"}


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").touch()

    with pytest.raises(ExportError, match="is a file"), staging(tmp_path / "out"):
        pass


@pytest.mark.parametrize("present", [[MODEL], [MODEL, TOKENIZER], [REPORT], [CONFIG], [MODEL, CONFIG]], ids=str)
def test_half_an_artifact_in_the_way(tmp_path: Path, present: list[str]) -> None:
    put(tmp_path / "out", "old")
    for name in set(FILES) - set(present):
        (tmp_path / "out" / name).unlink()

    with pytest.raises(ExportError, match="not a whole artifact"), staging(tmp_path / "out"):
        pass


def test_a_checkpoint_in_the_way(checkpoint_folder: Path) -> None:
    with pytest.raises(ExportError, match="another kind of folder"), staging(checkpoint_folder):
        pass


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ExportError, match=r"cannot write the artifact in .*file"), staging(tmp_path / "file" / "out"):
        pass


def test_a_full_disk_is_an_export_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="No space left"), staging(tmp_path / "out"):
        raise OSError(28, "No space left on device")

    assert not list(tmp_path.iterdir())


KILLED_IN_PUBLISH = """
import os, signal, sys
from pathlib import Path
from generation.export import artifact

left = int(sys.argv[2])

def step(event, arguments):
    global left
    if event in ("os.rename", "os.remove") and str(arguments[0]).startswith(sys.argv[1]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

output = Path(sys.argv[1], "out")
with artifact.staging(output) as folder:
    for name in (*artifact.CHECKED_FILES, artifact.REPORT, artifact.CONFIG):
        (folder / name).write_text('{"format": 1, "content": "new"}')
    sys.addaudithook(step)
    artifact.publish(folder, output)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("steps", range(7))
@pytest.mark.parametrize("replacing", [False, True])
def test_killed_while_publishing_the_output_is_whole_or_absent(tmp_path: Path, steps: int, *, replacing: bool) -> None:
    output = tmp_path / "out"
    if replacing:
        put(output, "old")
    ended = subprocess.run([sys.executable, "-c", KILLED_IN_PUBLISH, str(tmp_path), str(steps)], check=False)

    assert ended.returncode == -9
    # A folder is an artifact from the moment that it has a config.json.
    if (output / CONFIG).exists():
        assert contents(output) in ({"old"}, {"new"})
    else:
        assert not output.exists() or replacing
