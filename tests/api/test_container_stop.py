"""Whether the app ends its work when the entry point asks for it."""

import logging
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from generation.api.container_stop import MESSAGE, VARIABLE, on_container_stop

SOON_S = 30


@pytest.fixture
def entry_point() -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens like that of the entry point, and its name."""
    name = f"test-{os.urandom(8).hex()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        yield listener, name


def _ended(entry_point: tuple[socket.socket, str], message: bytes) -> bool:
    listener, name = entry_point
    called = threading.Event()
    thread = on_container_stop(called.set, {VARIABLE: name})
    assert thread is not None
    connection, _ = listener.accept()
    assert not called.is_set()
    with connection:
        connection.sendall(message)
    thread.join(SOON_S)
    assert not thread.is_alive()
    return called.is_set()


def test_work_is_ended_when_the_entry_point_asks_for_it(entry_point: tuple[socket.socket, str]) -> None:
    assert _ended(entry_point, MESSAGE)


def test_an_entry_point_that_ends_without_asking_ends_no_work(entry_point: tuple[socket.socket, str]) -> None:
    assert not _ended(entry_point, b"")


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_without_an_entry_point_nothing_waits(environment: dict[str, str]) -> None:
    assert on_container_stop(pytest.fail, environment) is None


def test_an_entry_point_that_is_gone_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        thread = on_container_stop(pytest.fail, {VARIABLE: f"missing-{os.urandom(8).hex()}"})
        assert thread is not None
        thread.join(SOON_S)
    assert "the entry point cannot be reached" in caplog.text
