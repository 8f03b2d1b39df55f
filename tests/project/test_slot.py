"""``scripts/deploy-slot.sh`` against an app with a staging slot: what production runs at the end, and in between."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from generation.config import ROOT
from tests.project.slots import Process, Slots, serve_slots

OLD, NEW = "a" * 40, "b" * 40
IMAGE = "ghcr.io/o/r@sha256:" + "1" * 64


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Slots]:
    before = Process("ghcr.io/o/r@sha256:" + "0" * 64, OLD)
    earlier = Process("ghcr.io/o/r@sha256:" + "9" * 64, "9" * 40)
    with serve_slots(Slots(before, earlier, {IMAGE: Process(IMAGE, NEW)}), tmp_path) as running:
        yield running


def deploy(slots: Slots, folder: Path, image: str = IMAGE, **environment: str) -> subprocess.CompletedProcess[str]:
    places = {"API_URL": f"{slots.url}/production/api", "STAGING_URL": f"{slots.url}/staging/api", "SITE": slots.url}
    times = {"WAIT_S": "0", "POLL_S": "0", "HOLD_S": "0"}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [ROOT / "scripts" / "deploy-slot.sh", image, NEW],
        env={**os.environ, **places, **times, "PATH": path, "RG": "g", "APP": "a", "NO_PROXY": "*", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_image_that_serves_in_the_slot_is_swapped_in(slots: Slots, tmp_path: Path) -> None:
    done = deploy(slots, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (slots.production.revision, slots.staging.revision, slots.swaps) == (NEW, OLD, 1)


def test_an_image_that_does_not_serve_never_reaches_production(slots: Slots, tmp_path: Path) -> None:
    slots.images[IMAGE].ready = False
    done = deploy(slots, tmp_path)
    assert done.returncode == 1
    assert (slots.production.revision, slots.swaps) == (OLD, 0)
    assert "Production was not touched" in done.stderr


def test_an_image_of_another_commit_never_reaches_production(slots: Slots, tmp_path: Path) -> None:
    slots.images[IMAGE].revision = "c" * 40
    assert deploy(slots, tmp_path).returncode == 1
    assert slots.swaps == 0


def test_an_image_that_does_not_hold_is_swapped_back(slots: Slots, tmp_path: Path) -> None:
    slots.images[IMAGE].looks = 4
    done = deploy(slots, tmp_path, HOLD_S="30")
    assert done.returncode == 1
    assert (slots.production.revision, slots.swaps) == (OLD, 2)
    assert "did not hold" in done.stderr
    assert f"runs {OLD}" in done.stderr


def test_the_image_that_the_slot_has_need_not_start_again(slots: Slots, tmp_path: Path) -> None:
    """So the image that was swapped out last is back at once."""
    slots.staging = Process(IMAGE, NEW)
    assert deploy(slots, tmp_path).returncode == 0
    assert slots.production.revision == NEW


def test_a_process_that_ran_before_the_deployment_does_not_count(slots: Slots, tmp_path: Path) -> None:
    slots.staging.revision = NEW
    slots.images[IMAGE] = Process(IMAGE, NEW, ready=False)
    assert deploy(slots, tmp_path).returncode == 1
    assert slots.swaps == 0


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("functionapp config show", "there is no slot staging"),
        ("functionapp deployment slot swap", "Production was not touched"),
    ],
)
def test_what_azure_refuses_leaves_production_alone(slots: Slots, tmp_path: Path, step: str, message: str) -> None:
    done = deploy(slots, tmp_path, FAIL=step)
    assert done.returncode == 1
    assert message in done.stderr
    assert slots.production.revision == OLD


def test_a_tag_is_refused(slots: Slots, tmp_path: Path) -> None:
    assert deploy(slots, tmp_path, "ghcr.io/o/r:latest").returncode == 2
    assert slots.staging.revision == "9" * 40
