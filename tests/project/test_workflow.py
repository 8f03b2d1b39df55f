"""The workflow that deploys: its steps about attestations run as in a public and in a private repository."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from generation.config import ROOT
from tests.project.test_attestation import GH

WORKFLOWS = ROOT / ".github" / "workflows"
DEPLOY: dict[str, Any] = yaml.safe_load((WORKFLOWS / "deploy.yml").read_text(encoding="utf-8"))
JOBS: dict[str, Any] = DEPLOY["jobs"]
DIGEST = "sha256:" + "1" * 64
ATTEST = "actions/attest@"


def steps(job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = JOBS[job]["steps"]
    return found


def position(job: str, what: str) -> int:
    """Return the place of the one step that has a text in what it runs or uses."""
    (found,) = [i for i, one in enumerate(steps(job)) if what in one.get("run", "") + one.get("uses", "")]
    return found


def run_attestation_steps(folder: Path, visibility: str) -> list[str]:
    """Run the steps of the build about attestations as a runner would; return what happened.

    `gh` and actions/attest are stand-ins that refuse a private repository what GitHub refuses it.

    Raises:
        AssertionError: a step failed, and with it the job.
    """
    program = folder / "gh"
    program.write_text(GH, encoding="utf-8")
    program.chmod(0o755)
    known = {
        "steps.name.outputs.image": "ghcr.io/o/r",
        "steps.push.outputs.digest": DIGEST,
        "github.token": "token",
        "vars.ATTEST": "",
    }
    happened = []
    for step in steps("build")[position("build", "attestation.sh available") :]:
        condition = step.get("if")
        if condition is not None:
            name, value = re.fullmatch(r"(\S+) == '(\w+)'", condition).groups()  # type: ignore[union-attr]
            if known[name] != value:
                continue
        if step.get("uses", "").startswith(ATTEST):
            assert visibility == "public", "Feature not available for user-owned private repositories"
            happened.append("attested")
            continue
        values = {
            name: re.sub(r"\$\{\{ (\S+) \}\}", lambda found: known[found[1]], text)
            for name, text in step["env"].items()
        }
        output = folder / "output"
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=ROOT,
            env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "GITHUB_OUTPUT": str(output)}
            | {"GITHUB_REPOSITORY": "o/r", "VISIBILITY": visibility, "COUNT": "1" if "attested" in happened else "403"}
            | values,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if "id" in step:
            for line in output.read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition("=")
                known[f"steps.{step['id']}.outputs.{name}"] = value
        if "verify" in step["run"]:
            happened.append(done.stdout.splitlines()[-1])
    return happened


def test_a_public_repository_attests_and_verifies(tmp_path: Path) -> None:
    happened = run_attestation_steps(tmp_path, "public")
    assert happened == ["attested", f"ok: {DIGEST} was built by this repository's workflow"]


def test_a_private_repository_deploys_without_attestations(tmp_path: Path) -> None:
    happened = run_attestation_steps(tmp_path, "private")
    assert happened == [f"GitHub attests no image of this repository: {DIGEST} is not verified"]


def test_what_the_tag_named_is_read_before_it_moves() -> None:
    assert position("build", "skopeo inspect") < position("build", "skopeo copy --quiet --all")


def test_an_earlier_image_is_verified_before_the_tag_moves_to_it() -> None:
    assert position("earlier", "attestation.sh verify") < position("earlier", "skopeo copy")


def test_nothing_is_deployed_that_was_not_built_or_verified() -> None:
    for name in ("webhook", "signed-in"):
        assert JOBS[name]["needs"] == ["build", "earlier"]
        assert "needs.build.result == 'success' || needs.earlier.result == 'success'" in JOBS[name]["if"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"previous_revision={'a' * 40} {DIGEST}", [f"previous_revision={'a' * 40}", f"previous=ghcr.io/o/r@{DIGEST}"]),
        ("", []),
    ],
)
def test_the_image_before_is_handed_on_by_digest(tmp_path: Path, said: str, expected: list[str]) -> None:
    skopeo = tmp_path / "skopeo"
    skopeo.write_text(f"#!/bin/sh\n[ -n '{said}' ] && echo '{said}'\n", encoding="utf-8")
    skopeo.chmod(0o755)
    output = tmp_path / "output"
    output.touch()
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-e", "-c", steps("build")[position("build", "skopeo inspect")]["run"]],
        env={**os.environ, "PATH": path, "GITHUB_OUTPUT": str(output), "IMAGE": "ghcr.io/o/r"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert output.read_text(encoding="utf-8").splitlines() == expected


def test_the_scan_fails_the_weekly_build_alone_and_holds_no_deployment_back() -> None:
    (scan,) = [one for one in steps("scan") if one["uses"].startswith("aquasecurity/trivy-action@")]
    assert scan["with"]["exit-code"] == "${{ github.event_name == 'schedule' && '1' || '0' }}"
    assert scan["with"]["ignore-unfixed"] is True
    assert [name for name, job in JOBS.items() if "scan" in job.get("needs", [])] == []


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*.yml")), ids=lambda file: file.name)
def test_actions_are_pinned_by_commit(file: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", file.read_text(encoding="utf-8"))
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one[0]) or "# v" not in one[1]] == []


def test_every_mode_that_the_workflow_has_is_in_the_guide() -> None:
    modes = set(
        re.findall(r"vars\.DEPLOY_MODE(?: \|\| 'webhook'\))? == '(\w+)'", (WORKFLOWS / "deploy.yml").read_text())
    )
    assert modes == {"webhook", "digest", "slot"}
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert [mode for mode in modes if f"| `{mode}`" not in guide] == []
