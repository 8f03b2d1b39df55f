from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from benchmarks.server import Served, serve
from generation.config import ROOT
from tests.runtime.launch import KEY, MISSING, Runtime, interpreter, serve_runtime

API_KEYS = "new-key-of-the-tests,old-key-of-the-tests"


class Host(Protocol):
    """A server of either kind."""

    @property
    def url(self) -> str: ...

    def log(self, at_least: int = 0) -> list[str]: ...


@pytest.fixture(scope="session")
def embedded() -> Iterator[Served]:
    """The app under the embedded host, with a key."""
    with serve("--key", KEY) as running:
        yield running


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The app under the official runtime."""
    with serve_runtime(ROOT / "function_app.py", tmp_path_factory.mktemp("runtime") / "log.txt") as running:
        yield running


@pytest.fixture(scope="session")
def embedded_with_api_keys() -> Iterator[Served]:
    """The app under the embedded host, with API keys of its own."""
    with serve(API_KEYS=API_KEYS) as running:
        yield running


@pytest.fixture(scope="session")
def runtime_with_api_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The app under the official runtime, with API keys of its own."""
    log_file = tmp_path_factory.mktemp("keys") / "log.txt"
    with serve_runtime(ROOT / "function_app.py", log_file, API_KEYS=API_KEYS) as running:
        yield running


@pytest.fixture(params=["embedded_with_api_keys", "runtime_with_api_keys"])
def bearer_host(request: pytest.FixtureRequest) -> Host:
    """Each of the two hosts, with an app that asks for API keys."""
    running: Host = request.getfixturevalue(request.param)
    return running


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Handlers that do everything wrong, under the official runtime."""
    log_file = tmp_path_factory.mktemp("faults") / "log.txt"
    with serve_runtime(Path(__file__).parent / "apps" / "faults.py", log_file) as running:
        yield running


@pytest.fixture(params=["embedded", "runtime"])
def host(request: pytest.FixtureRequest) -> Host:
    """Each of the two hosts."""
    running: Host = request.getfixturevalue(request.param)
    return running


def _client(running: Host) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=running.url, timeout=15, headers={"x-functions-key": KEY})


@pytest.fixture
async def host_client(host: Host) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of each of the two hosts."""
    async with _client(host) as one:
        yield one


@pytest.fixture
async def runtime_client(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of the official runtime."""
    async with _client(runtime) as one:
        yield one


@pytest.fixture
async def faults_client(faults: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the handlers that do everything wrong."""
    async with _client(faults) as one:
        yield one


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Say loudly, below everything else, that the better half of these tests did not run."""
    yield
    if interpreter() is None:
        terminalreporter.write_sep("!", red=True, bold=True)
        terminalreporter.write_line(MISSING, red=True, bold=True)
        terminalreporter.write_sep("!", red=True, bold=True)
