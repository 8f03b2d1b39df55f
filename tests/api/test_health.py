import json
from typing import Any

import httpx
import pytest

from generation import __version__
from generation.api import health
from generation.config import Settings
from generation.errors import NotReadyError
from generation.service import Service, State


async def _health(service: Service) -> dict[str, Any]:
    response = await health.health(service)
    assert response.status_code == (503 if service.state is State.FAILED else 200)
    content: dict[str, Any] = json.loads(bytes(response.body))
    return content


async def test_while_it_loads_it_is_alive_and_not_ready() -> None:
    service = Service(Settings(git_sha="abc123"))
    content = await _health(service)
    assert (content["health"], content["state"], content["model"]) == ("ok", "loading", None)
    assert (content["version"], content["revision"]) == (__version__, "abc123")
    with pytest.raises(NotReadyError):
        await health.ready(service)


async def test_a_model_that_cannot_be_loaded_is_reported_with_the_reason(tmp_path: Any) -> None:
    service = Service(Settings(model_dir=tmp_path)).start()
    service.wait(60)
    content = await _health(service)
    assert (content["health"], content["state"]) == ("failed", "failed")
    assert "config.json is missing" in content["reason"]


async def test_warming_up_waits_for_the_model_and_computes_a_token() -> None:
    service = Service(Settings()).start()
    try:
        await health.warm_up(service)
        await health.ready(service)
        assert sum(service.telemetry.prefill_s.counts) == 1
    finally:
        service.stop()


async def test_warming_up_a_model_that_cannot_be_served_is_no_error(tmp_path: Any) -> None:
    service = Service(Settings(model_dir=tmp_path)).start()
    await health.warm_up(service)
    with pytest.raises(NotReadyError):
        await health.ready(service)


def test_a_served_model_is_described(client: httpx.Client) -> None:
    content = client.get("/health").json()
    assert (content["health"], content["state"]) == ("ok", "ready")
    assert set(content["model"]) == {"name", "precision", "context", "vocabulary", "source_revision", "chat"}
    assert content["model"]["chat"] is False
    assert content["uptime_s"] >= content["load_s"] > 0
    assert client.get("/ready").json() == {"ready": True}
