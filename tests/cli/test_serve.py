"""The command ``serve``: its options, its errors, and what it prints."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from generation.cli.main import main
from generation.config import ROOT
from scripts.smoke import wait_ready
from tests.support.command import failed, run


def test_a_taken_port_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed(run("serve", "--port", str(taken.getsockname()[1])), 2, "cannot listen on 127.0.0.1")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--key", "", "must not be empty"),
        ("--host", " ", "must not be empty"),
        ("--key", "two words", "printable ASCII"),
        ("--key", "schl\u00fcssel", "printable ASCII"),
        ("--host", "http://127.0.0.1", "is not an address or a host name"),
        ("--host", "127.0.0.1:80", "the port is --port"),
        ("--port", "99999", "'99999' is not a whole number from 0 to 65535"),
        ("--port", "-1", "is not a whole number from 0 to 65535"),
        ("--port", "1_0", "is not a whole number from 0 to 65535"),
    ],
)
def test_a_bad_option_is_a_clear_error(option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"{option}={value}"]) == 2
    assert f"argument {option}: " in (said := capsys.readouterr().err)
    assert says in said


def test_a_bad_setting_is_a_clear_error() -> None:
    failed(run("serve", "--port", "0", MAX_RUNNING="many"), 2, "MAX_RUNNING='many'")


def test_a_missing_model_is_a_clear_error() -> None:
    failed(run("serve", "--port", "0", MODEL_DIR="/nowhere"), 2, "error: no model in /nowhere")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "8.8.8.8", "fe80::zz"])
def test_a_host_that_is_not_of_this_machine_is_a_clear_error(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", host, "--port", "0"]) == 2
    shown = f"[{host}]" if ":" in host else host
    assert f"error: cannot listen on {shown}:0: " in capsys.readouterr().err


def test_a_server_runs_although_nothing_reads_its_output() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "generation", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        wait_ready(f"http://127.0.0.1:{port}/api")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert b"Traceback" not in said


def test_the_address_is_printed_when_it_can_be_called() -> None:
    """A server that begins to listen only later must not have printed its address."""
    slow = (
        "import sys, time, uvicorn\n"
        "startup = uvicorn.Server.startup\n"
        "async def late(self, sockets=None):\n"
        "    from function_app import service\n"
        "    service.wait()\n"
        "    time.sleep(0.5)\n"
        "    print('listens now', flush=True)\n"
        "    await startup(self, sockets)\n"
        "uvicorn.Server.startup = late\n"
        "from generation.cli.main import main\n"
        "sys.exit(main(['serve', '--port', '0']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", slow], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert lines[0] == "listens now\n"
    assert "ready after" in lines[1]
    assert process.returncode == 0
