"""The deployment's waiting, checking and rolling back, against a loopback stand-in for the SCM site and the app."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from generation.config import ROOT

OLD, NEW = "a" * 40, "b" * 40
IMAGE = "ghcr.io/o/r@sha256:" + "1" * 64


@dataclass
class Site:
    """What the stand-in answers, and what it was asked."""

    url: str = ""
    webhook: int = 202
    revisions: list[str] = field(default_factory=lambda: [OLD])  # one a look; the last one stays
    health: int = 200
    ready: int = 200
    called: int = 0


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.called += self.path == "/api/registry/webhook"
            self._answer(state.webhook, b"")

        def do_GET(self) -> None:
            if self.path == "/api/ready":
                return self._answer(state.ready, b"{}")
            revision = state.revisions.pop(0) if len(state.revisions) > 1 else state.revisions[0]
            return self._answer(state.health, json.dumps({"health": "ok", "revision": revision}).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "WAIT_S": "0", "POLL_S": "0", "RETRIES": "0", "NO_PROXY": "*", **environment}
    return subprocess.run(
        [ROOT / "scripts" / script, *arguments], env=variables, capture_output=True, text=True, timeout=60, check=False
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


def test_an_app_that_never_answers_well_is_an_error_that_points_to_its_log(site: Site) -> None:
    site.health = 503
    done = run("await-revision.sh", f"{site.url}/api", NEW)
    assert done.returncode == 1
    assert "answered 503" in done.stderr


def test_a_new_revision_that_cannot_serve_is_an_error(site: Site) -> None:
    site.revisions, site.ready = [NEW], 503
    done = run("await-revision.sh", f"{site.url}/api", NEW)
    assert done.returncode == 1
    assert "the model does not load" in done.stderr


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    """Put an `az` on the path that knows one image and notes what it is told."""
    program = tmp_path / "az"
    program.write_text(
        '#!/bin/sh\necho "$*" >> "$0.calls"\ncase "$*" in *"config show"*) echo "DOCKER|ghcr.io/o/r:old";; esac\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    return tmp_path


def digest(site: Site, azure: Path, image: str = IMAGE) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    path = f"{azure}{os.pathsep}{os.environ['PATH']}"
    done = run("deploy-digest.sh", image, NEW, PATH=path, RG="g", APP="a", API_URL=f"{site.url}/api")
    calls = azure / "az.calls"
    lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
    return done, [line.split("--image ")[1].split()[0] for line in lines if "--image" in line]


def test_a_digest_that_runs_stays(site: Site, azure: Path) -> None:
    site.revisions = [NEW]
    done, images = digest(site, azure)
    assert (done.returncode, images) == (0, [IMAGE])


def test_a_digest_that_does_not_run_is_put_back(site: Site, azure: Path) -> None:
    done, images = digest(site, azure)
    assert (done.returncode, images) == (1, [IMAGE, "ghcr.io/o/r:old"])


def test_a_tag_is_refused_where_a_digest_is_wanted(site: Site, azure: Path) -> None:
    done, images = digest(site, azure, "ghcr.io/o/r:latest")
    assert (done.returncode, images) == (2, [])
