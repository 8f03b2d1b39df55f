"""What each probe of a deployment reads from the app under the official runtime: traffic only where a model is served.

The paths and the answers that count are those of the snapshots, so of the templates. What Azure makes of an answer:

- warm-up: the container takes traffic once the path answers one of ``WEBSITE_WARMUP_STATUSES``, before a time limit
- health check: 2xx is healthy; https://learn.microsoft.com/azure/app-service/monitor-instances-health-check
- Container Apps' HTTP probes: 200 to 399 is success; https://learn.microsoft.com/azure/container-apps/health-probes
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from generation.config import ROOT
from tests.project.snapshots import ON_CONTAINER_APPS, ON_PREMIUM, only, settings
from tests.runtime.launch import Runtime, serve_runtime

APP = ROOT / "function_app.py"
DEMO = ROOT / "models" / "demo"


def _warm_up() -> tuple[str, Callable[[int], bool]]:
    own = settings("default")
    return own["WEBSITE_WARMUP_PATH"], lambda status: str(status) in own["WEBSITE_WARMUP_STATUSES"].split(",")


def _swap() -> tuple[str, Callable[[int], bool]]:
    own = settings("slot", "Microsoft.Web/sites/slots/config")
    return own[
        "WEBSITE_SWAP_WARMUP_PING_PATH"
    ], lambda status: str(status) in own["WEBSITE_SWAP_WARMUP_PING_STATUSES"].split(",")


def _health_check(case: str) -> tuple[str, Callable[[int], bool]]:
    path = only(case, "Microsoft.Web/sites")["properties"]["siteConfig"]["healthCheckPath"]
    return path, lambda status: 200 <= status < 300


def _probe(case: str, kind: str) -> tuple[str, Callable[[int], bool]]:
    (container,) = only(case, "Microsoft.App/containerApps")["properties"]["template"]["containers"]
    (probe,) = [one for one in container["probes"] if one["type"] == kind]
    return probe["httpGet"]["path"], lambda status: 200 <= status < 400


PROBES = {
    "warm-up": _warm_up(),
    "swap": _swap(),
    **{f"health check, {case}": _health_check(case) for case in ON_PREMIUM},
    **{f"{kind}, {case}": _probe(case, kind) for case in ON_CONTAINER_APPS for kind in ("Readiness", "Liveness")},
}


def _passed(runtime: Runtime) -> dict[str, bool]:
    """Ask as each probe does: without a key."""
    base = runtime.url.removesuffix("/api")
    return {name: passes(httpx.get(base + path, timeout=15).status_code) for name, (path, passes) in PROBES.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("probes")


@pytest.fixture(scope="module")
def good(folder: Path) -> Iterator[Runtime]:
    with serve_runtime(APP, folder / "good.txt") as running:
        yield running


@pytest.fixture(scope="module")
def damaged(folder: Path) -> Iterator[Runtime]:
    """The app with an artifact of which a byte has changed."""
    model = folder / "model"
    model.mkdir()
    for path in DEMO.glob("*.*"):
        shutil.copy(path, model)
    weights = max(model.iterdir(), key=lambda path: path.stat().st_size)
    with weights.open("r+b") as file:
        file.seek(weights.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    with serve_runtime(APP, folder / "damaged.txt", MODEL_DIR=str(model)) as running:
        yield running


@pytest.fixture(scope="module")
def failed(folder: Path) -> Iterator[Runtime]:
    with serve_runtime(Path(__file__).parent / "apps" / "failed_engine.py", folder / "failed.txt") as running:
        yield running


def test_an_instance_that_serves_its_model_gets_traffic(good: Runtime) -> None:
    assert _passed(good) == dict.fromkeys(PROBES, True)


def test_an_image_with_a_damaged_artifact_never_gets_traffic(damaged: Runtime) -> None:
    assert _passed(damaged) == dict.fromkeys(PROBES, False)
    assert "damaged" in httpx.get(f"{damaged.url}/health").json()["reason"]


def test_an_instance_whose_engine_has_failed_is_replaced(failed: Runtime) -> None:
    assert _passed(failed) == dict.fromkeys(PROBES, False)
    assert httpx.get(f"{failed.url}/health").json()["state"] == "failed"
