"""``scripts/attestation.sh`` against a `gh` that refuses what GitHub refuses: a private repository has no attestations.

https://github.com/actions/attest/issues/193; the answer to a private repository that asks all the same is
"Feature not available for user-owned private repositories".
"""

import os
import subprocess
from pathlib import Path

import pytest

from generation.config import ROOT

IMAGE = "ghcr.io/o/r@sha256:" + "1" * 64
GH = """#!/bin/sh
echo "$*" >> "$0.calls"
case "$*" in
    "api repos/o/r --jq .visibility") [ -n "$VISIBILITY" ] && echo "$VISIBILITY" || exit 1;;
    "api repos/o/r/attestations/"*)
        case "$COUNT" in
            404) echo "gh: Not Found (HTTP 404)" >&2; exit 1;;
            403) echo "gh: Feature not available for user-owned private repositories (HTTP 403)" >&2; exit 1;;
            *) echo "$COUNT";;
        esac;;
    "attestation verify"*) exit "${VERIFIED:-0}";;
    *) exit 9;;
esac
"""


@pytest.fixture
def gh(tmp_path: Path) -> Path:
    program = tmp_path / "gh"
    program.write_text(GH, encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def run(gh: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{gh}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [ROOT / "scripts" / "attestation.sh", *arguments],
        env={
            **os.environ,
            "PATH": path,
            "GITHUB_REPOSITORY": "o/r",
            "VISIBILITY": "public",
            "COUNT": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def verified(gh: Path) -> bool:
    return f"attestation verify oci://{IMAGE} --repo o/r" in (gh / "gh.calls").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({}, "true"),
        ({"VISIBILITY": "private"}, "false"),
        ({"VISIBILITY": "internal"}, "false"),
        ({"VISIBILITY": "private", "ATTEST": "true"}, "true"),
        ({"ATTEST": "false"}, "false"),
    ],
)
def test_images_are_attested_in_a_public_repository_or_where_it_is_asked_for(
    gh: Path, environment: dict[str, str], answer: str
) -> None:
    assert run(gh, "available", **environment).stdout == f"available={answer}\n"


@pytest.mark.parametrize("environment", [{"VISIBILITY": ""}, {"ATTEST": "perhaps"}])
def test_not_knowing_is_an_error(gh: Path, environment: dict[str, str]) -> None:
    done = run(gh, "available", **environment)
    assert (done.returncode, done.stdout) == (1, "")


def test_an_attestation_that_is_there_is_verified(gh: Path) -> None:
    done = run(gh, "verify", IMAGE)
    assert done.returncode == 0, done.stderr
    assert verified(gh)


def test_an_attestation_that_is_wrong_stops_the_deployment(gh: Path) -> None:
    done = run(gh, "verify", IMAGE, VERIFIED="1")
    assert done.returncode == 1
    assert "it is not deployed" in done.stderr


@pytest.mark.parametrize("count", ["0", "404"])
def test_an_image_from_before_is_deployed_without_one(gh: Path, count: str) -> None:
    done = run(gh, "verify", IMAGE, COUNT=count)
    assert done.returncode == 0, done.stderr
    assert "is not verified" in done.stdout


@pytest.mark.parametrize("count", ["0", "404"])
def test_an_image_that_was_just_attested_has_to_have_one(gh: Path, count: str) -> None:
    assert run(gh, "verify", IMAGE, COUNT=count, ATTESTED="true").returncode == 1


def test_a_private_repository_deploys_without_asking_for_one(gh: Path) -> None:
    done = run(gh, "verify", IMAGE, VISIBILITY="private", COUNT="403")
    assert done.returncode == 0, done.stderr
    assert not verified(gh)


def test_a_question_that_is_refused_stops_the_deployment(gh: Path) -> None:
    done = run(gh, "verify", IMAGE, COUNT="403")
    assert done.returncode == 1
    assert "could not ask for attestations" in done.stderr


@pytest.mark.parametrize("arguments", [["verify", "ghcr.io/o/r:latest"], ["something"]])
def test_what_cannot_be_meant_is_refused(gh: Path, arguments: list[str]) -> None:
    assert run(gh, *arguments).returncode == 2
