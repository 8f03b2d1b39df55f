"""The scripts that deploy, against a loopback stand-in for the SCM site and the app, and an `az` that notes calls."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from generation.config import ROOT
from tests.support.loopback import Asked, serve_answers

OLD, NEW = "a" * 40, "b" * 40
IMAGE = "ghcr.io/o/r@sha256:" + "1" * 64
RAN = "ghcr.io/o/r@sha256:" + "0" * 64


@dataclass
class Site:
    """What the stand-in answers, and what it was asked."""

    url: str = ""
    webhook: int = 202
    # One a look; the last one stays. None is a page of the platform's, in place of the app's answer.
    revisions: list[str | None] = field(default_factory=lambda: [OLD])
    uptime_s: float = 0
    health: int = 200
    ready: int = 200
    called: int = 0


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    def answer(asked: Asked) -> tuple[int, bytes]:
        if asked.method == "POST":
            state.called += asked.path == "/api/registry/webhook"
            return state.webhook, b""
        if asked.path == "/api/ready":
            return state.ready, b"{}"
        revision = state.revisions.pop(0) if len(state.revisions) > 1 else state.revisions[0]
        if revision is None:
            return state.health, b"<html>"
        return state.health, json.dumps({"revision": revision, "uptime_s": state.uptime_s}).encode()

    with serve_answers(answer) as state.url:
        yield state


def run(script: str, *arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "WAIT_S": "0", "POLL_S": "0", "RETRIES": "0", "NO_PROXY": "*", **environment}
    return subprocess.run(
        [ROOT / "scripts" / script, *arguments],
        env=variables,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_good_webhook_is_called_once(site: Site) -> None:
    done = run("call-webhook.sh", AZURE_FUNCTIONAPP_WEBHOOK_URL=f"{site.url}/api/registry/webhook")
    assert (done.returncode, site.called) == (0, 1)


def test_401_names_scm_basic_authentication_and_hides_the_address(site: Site) -> None:
    site.webhook = 401
    address = site.url.replace("://", "://user:secret@") + "/api/registry/webhook"
    done = run("call-webhook.sh", AZURE_FUNCTIONAPP_WEBHOOK_URL=address)
    assert done.returncode == 1
    assert "basic authentication of the SCM site is off" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_a_webhook_that_nothing_listens_at_is_an_error() -> None:
    done = run("call-webhook.sh", AZURE_FUNCTIONAPP_WEBHOOK_URL="http://127.0.0.1:9/api/registry/webhook")
    assert done.returncode == 1
    assert "did not answer" in done.stderr


def test_no_address_is_an_error() -> None:
    done = run("call-webhook.sh", AZURE_FUNCTIONAPP_WEBHOOK_URL="")
    assert done.returncode != 0
    assert "AZURE_FUNCTIONAPP_WEBHOOK_URL" in done.stderr


def test_the_wait_ends_when_the_new_revision_runs(site: Site) -> None:
    site.revisions = [OLD, OLD, NEW]
    done = run("await-revision.sh", f"{site.url}/api", NEW, WAIT_S="30")
    assert done.returncode == 0, done.stderr
    assert NEW in done.stdout


def test_a_revision_that_stays_old_is_an_error_that_names_continuous_deployment(site: Site) -> None:
    done = run("await-revision.sh", f"{site.url}/api", NEW)
    assert done.returncode == 1
    assert OLD in done.stderr
    assert "continuous deployment is off" in done.stderr


def test_a_new_image_of_the_same_commit_counts_once_its_process_has_started(site: Site) -> None:
    site.revisions, site.uptime_s = [NEW], 100
    hour_ago, minute_ago = (str(int(time.time()) - seconds) for seconds in (3600, 60))
    assert run("await-revision.sh", f"{site.url}/api", NEW, SINCE=hour_ago).returncode == 0
    done = run("await-revision.sh", f"{site.url}/api", NEW, SINCE=minute_ago)
    assert done.returncode == 1
    assert f"it still runs: an older process of {NEW}" in done.stderr


@pytest.mark.parametrize("health", [200, 503])
def test_an_app_that_never_answers_is_an_error_that_points_to_its_log(site: Site, health: int) -> None:
    site.health, site.revisions = health, [None]
    done = run("await-revision.sh", f"{site.url}/api", NEW)
    assert done.returncode == 1
    assert f"/health answered {health} and named no revision" in done.stderr
    assert "az webapp log tail" in done.stderr


@pytest.mark.parametrize("health", [200, 503])
def test_a_new_revision_that_cannot_serve_is_an_error(site: Site, health: int) -> None:
    site.revisions, site.health, site.ready = [NEW], health, 503
    done = run("await-revision.sh", f"{site.url}/api", NEW)
    assert done.returncode == 1
    assert "the last probe answered 503: the model does not load" in done.stderr


def test_a_restart_in_between_does_not_hide_the_revision_that_ran_before(site: Site) -> None:
    site.revisions = [OLD, None]
    done = run("await-revision.sh", f"{site.url}/api", NEW, WAIT_S="1")
    assert done.returncode == 1
    assert f"it still runs: {OLD}" in done.stderr


AZ = """#!/bin/sh
# Knows one image and at most one resource group; fails at what FAIL says.
echo "$*" >> "$0.calls"
case "$*" in "${FAIL:-nothing}"*) echo "az: no" >&2; exit 1;; esac
case "$*" in
    *"config show"*) echo "DOCKER|$CURRENT";;
    "group exists"*) if [ -e "$0.group" ]; then echo true; else echo false; fi;;
    "group delete"*) rm "$0.group";;
    "resource list"*) echo /subscriptions/s/app;;
esac
"""


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    """Put an `az` in a folder, which goes on the path of what is run."""
    program = tmp_path / "az"
    program.write_text(AZ, encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def calls(azure: Path) -> list[str]:
    """Return what `az` was called with, and forget it."""
    file = azure / "az.calls"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def with_azure(
    azure: Path, script: str, *arguments: str, typed: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    path = f"{azure}{os.pathsep}{os.environ['PATH']}"
    return run(script, *arguments, typed=typed, **{"PATH": path, "RG": "g", "APP": "a", **environment})


def digest(
    site: Site, azure: Path, image: str = IMAGE, current: str = RAN, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    done = with_azure(azure, "deploy-digest.sh", image, NEW, API_URL=f"{site.url}/api", CURRENT=current, **environment)
    return done, [line.split("--image ")[1].split()[0] for line in calls(azure) if "--image" in line]


def test_a_digest_that_runs_stays(site: Site, azure: Path) -> None:
    site.revisions = [NEW]
    done, images = digest(site, azure)
    assert (done.returncode, images) == (0, [IMAGE])


def test_a_digest_that_does_not_run_is_put_back_and_the_old_image_awaited(site: Site, azure: Path) -> None:
    done, images = digest(site, azure)
    assert (done.returncode, images) == (1, [IMAGE, RAN])
    assert f"runs {OLD}\n" in done.stderr


def test_of_a_tag_the_digest_that_ran_before_is_put_back_and_never_the_tag(site: Site, azure: Path) -> None:
    before = {"PREVIOUS": RAN, "PREVIOUS_REVISION": OLD}
    done, images = digest(site, azure, current="ghcr.io/o/r:latest", **before)
    assert (done.returncode, images) == (1, [IMAGE, RAN])


@pytest.mark.parametrize("before", [{}, {"PREVIOUS": RAN, "PREVIOUS_REVISION": "c" * 40}])
def test_of_a_tag_nothing_is_put_back_where_the_digest_is_not_known(
    site: Site, azure: Path, before: dict[str, str]
) -> None:
    done, images = digest(site, azure, current="ghcr.io/o/r:latest", **before)
    assert (done.returncode, images) == (1, [IMAGE])
    assert "there is no earlier image to go back to" in done.stderr


def test_an_image_that_stops_serving_soon_after_is_put_back(site: Site, azure: Path) -> None:
    site.revisions = [NEW, NEW, OLD]
    done, images = digest(site, azure, HOLD_S="30")
    assert (done.returncode, images) == (1, [IMAGE, RAN])
    assert "did not hold" in done.stderr


def test_a_digest_of_the_same_commit_does_not_count_before_its_process_has_started(site: Site, azure: Path) -> None:
    site.revisions, site.uptime_s = [NEW], 100
    done, images = digest(site, azure)
    assert (done.returncode, images) == (1, [IMAGE, RAN])
    assert "the old image does not run either" in done.stderr


def test_the_digest_that_is_set_already_need_not_start_again(site: Site, azure: Path) -> None:
    site.revisions, site.uptime_s = [NEW], 100
    done, images = digest(site, azure, current=IMAGE)
    assert (done.returncode, images) == (0, [IMAGE])


def test_a_tag_is_refused_where_a_digest_is_wanted(site: Site, azure: Path) -> None:
    done, images = digest(site, azure, "ghcr.io/o/r:latest")
    assert (done.returncode, images) == (2, [])


def test_the_group_is_deleted_when_its_name_is_typed(azure: Path) -> None:
    (azure / "az.group").touch()
    done = with_azure(azure, "destroy.sh", typed="g\n")
    assert done.returncode == 0, done.stderr
    assert "/subscriptions/s/app" in done.stdout
    assert calls(azure)[-1] == "group delete -n g --yes"


@pytest.mark.parametrize("typed", ["", "yes\n"])
def test_nothing_is_deleted_when_something_else_is_typed(azure: Path, typed: str) -> None:
    (azure / "az.group").touch()
    done = with_azure(azure, "destroy.sh", typed=typed)
    assert done.returncode == 1
    assert "nothing was deleted" in done.stderr
    assert (azure / "az.group").exists()


def test_a_second_deletion_finds_nothing_to_delete(azure: Path) -> None:
    (azure / "az.group").touch()
    with_azure(azure, "destroy.sh", YES="1")
    calls(azure)
    done = with_azure(azure, "destroy.sh", YES="1")
    assert (done.returncode, calls(azure)) == (0, ["group exists -n g"])
    assert "nothing to delete" in done.stdout


@pytest.mark.parametrize(("step", "message"), [("group exists", "az login"), ("group delete", "was not deleted")])
def test_a_deletion_that_fails_says_so(azure: Path, step: str, message: str) -> None:
    (azure / "az.group").touch()
    done = with_azure(azure, "destroy.sh", YES="1", FAIL=step)
    assert done.returncode == 1
    assert message in done.stderr
    assert "deleted g" not in done.stdout
