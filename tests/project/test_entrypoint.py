"""The entry point of the image, with a host of a few lines below start scripts of several kinds."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from generation.config import ROOT

ENTRY_POINT = ROOT / "scripts" / "entrypoint.py"
SOON_S = 60
# Deaf to SIGTERM, as the genuine host; it has a worker, and says what comes to either of them. What MODE says decides
# how it takes a SIGINT. It listens for the word of the entry point as the app does.
HOST = """
import os, signal, socket, subprocess, sys, time
if sys.argv[1:] == ["worker"]:
    def told(number, frame):
        print("worker got", signal.Signals(number).name, flush=True)
    signal.signal(signal.SIGINT, told)
    signal.signal(signal.SIGTERM, told)
    print("worker ready", flush=True)
    while True:
        signal.pause()
print("ignores SIGINT" if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else "takes SIGINT", flush=True)
signal.signal(signal.SIGTERM, lambda *_: print("host got SIGTERM", flush=True))
signal.signal(signal.SIGINT, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
worker = subprocess.Popen([sys.executable, __file__, "worker"], stdout=subprocess.PIPE, text=True)
print(worker.stdout.readline(), end="", flush=True)
print("host", os.getpid(), worker.pid, flush=True)
if os.environ["MODE"] == "dies":
    worker.kill()
    sys.exit(7)
if os.environ["MODE"] == "killed":
    worker.kill()
    os.kill(os.getpid(), signal.SIGKILL)
signal.sigwait([signal.SIGINT])
print("host got SIGINT", flush=True)
if os.environ["MODE"] != "ends":
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\\0" + os.environ["STOP_SOCKET"])
        print("told", connection.recv(100).decode(), flush=True)
if os.environ["MODE"] == "hangs":
    signal.pause()
worker.kill()
sys.exit(3)
"""
SHELL_SCRIPTS = {
    "in place of the script": 'exec "$PYTHON" "$HOST"',
    "below the script": '"$PYTHON" "$HOST"; exit $?',
    "below two shells": 'sh -c \'"$PYTHON" "$HOST"; exit $?\'; exit $?',
    "in the background": '"$PYTHON" "$HOST" & wait $!',
    "late": 'read -r _ < "$GATE"; exec "$PYTHON" "$HOST"',
}


class Run:
    """A running entry point, and what has been said by it and below it."""

    def __init__(self, folder: Path, kind: str, mode: str, *, grace_s: str = "60", before: str = "") -> None:
        host, script, self.gate = folder / "host.py", folder / "start.sh", folder / "gate"
        host.write_text(HOST, encoding="utf-8")
        script.write_text(f"#!/bin/bash\n{SHELL_SCRIPTS[kind]}\n", encoding="utf-8")
        script.chmod(0o755)
        os.mkfifo(self.gate)
        command = [sys.executable, "-I", "-S", str(ENTRY_POINT), str(script)]
        settings = {"HOST": str(host), "PYTHON": sys.executable, "MODE": mode, "GATE": str(self.gate)}
        self.process = subprocess.Popen(
            ["bash", "-c", f'{before} exec "$@"', "bash", *command],
            env=os.environ | settings | {"STOP_GRACE_S": grace_s},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._folder = str(folder)
        self.lasted_too_long = False

    def end(self) -> None:
        """Kill the entry point, and what has a file of this run's folder in its command line."""
        self.process.kill()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._folder in (folder / "cmdline").read_text() and int(folder.name) != self.process.pid:
                    os.kill(int(folder.name), signal.SIGKILL)

    def give_up(self) -> None:
        """End it, and have `status` say so."""
        self.lasted_too_long = True
        self.end()

    def until(self, text: str) -> str:
        """Read lines until one begins with `text`; return it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
            if line.startswith(text):
                return line
        raise AssertionError(f"{text!r} was never said: {self.said}")

    def started(self) -> list[int]:
        """Wait until the host serves; return the ids of its processes."""
        return [int(one) for one in self.until("host ").split()[1:]]

    def status(self) -> int:
        """Return the exit status, when everything that could say something has ended."""
        assert self.process.stdout is not None
        self.said += [line.strip() for line in self.process.stdout]
        assert not self.lasted_too_long, self.said
        return self.process.wait(SOON_S)


@contextlib.contextmanager
def running(run: Run) -> Iterator[Run]:
    """Leave nothing of a run behind, and let none last longer than `SOON_S`."""
    too_long = threading.Timer(SOON_S, run.give_up)
    too_long.start()
    try:
        yield run
    finally:
        too_long.cancel()
        run.end()
        run.process.wait()
        if run.process.stdout is not None:
            run.process.stdout.close()


def _alive(processes: list[int]) -> list[int]:
    """Return those of the processes that still run."""
    return [one for one in processes if Path(f"/proc/{one}").exists() and " Z " not in _stat(one)]


def _stat(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return " Z "


@pytest.mark.parametrize("kind", [kind for kind in SHELL_SCRIPTS if kind not in {"late", "in the background"}])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_a_signal_reaches_the_host_alone_as_sigint(tmp_path: Path, kind: str, sent: signal.Signals) -> None:
    with running(Run(tmp_path, kind, "ends")) as run:
        processes = run.started()
        run.process.send_signal(sent)
        assert run.status() == 0
    assert "host got SIGINT" in run.said
    assert not [line for line in run.said if line.startswith("worker got") or line == "host got SIGTERM"]
    assert _alive(processes) == []


def test_a_host_that_starts_after_the_signal_is_stopped_too(tmp_path: Path) -> None:
    """It may be so early that the signal ends it; what counts is that it is not left to be killed in the end."""
    with running(Run(tmp_path, "late", "ends")) as run:
        with run.gate.open("w") as gate:  # the script has come this far
            run.process.send_signal(signal.SIGTERM)
            run.until("entrypoint: SIGTERM")
            gate.write("on\n")
        assert run.status() == 0
    assert not [line for line in run.said if "killed" in line]


def test_the_host_takes_sigint_even_if_the_entry_point_was_started_without(tmp_path: Path) -> None:
    with running(Run(tmp_path, "in place of the script", "ends", before="trap '' INT;")) as run:
        run.started()
        run.process.send_signal(signal.SIGTERM)
        assert run.status() == 0
    assert "takes SIGINT" in run.said


def test_shortly_before_the_time_is_over_the_app_is_told(tmp_path: Path) -> None:
    with running(Run(tmp_path, "in place of the script", "until told", grace_s="4")) as run:
        run.started()
        run.process.send_signal(signal.SIGTERM)
        assert run.status() == 0
    order = [line for line in run.said if line.startswith(("entrypoint: ", "told"))]
    assert order == [
        "entrypoint: SIGTERM: no new requests; running ones have 1 s",
        "entrypoint: running requests are ended now",
        "told stop",
    ]


def test_a_host_that_does_not_end_is_killed_with_all_below_it(tmp_path: Path) -> None:
    with running(Run(tmp_path, "below the script", "hangs", grace_s="1")) as run:
        processes = run.started()
        run.process.send_signal(signal.SIGTERM)
        assert run.status() == 0
    assert "told stop" in run.said
    assert "entrypoint: the host has not ended within 0.5 s: killed" in run.said
    assert _alive(processes) == []


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_a_second_signal_ends_everything_at_once(tmp_path: Path, second: signal.Signals) -> None:
    with running(Run(tmp_path, "below two shells", "hangs")) as run:
        processes = run.started()
        run.process.send_signal(signal.SIGTERM)
        run.until("host got SIGINT")
        run.process.send_signal(second)
        assert run.status() == 128 + second
    assert _alive(processes) == []


@pytest.mark.parametrize("kind", ["in place of the script", "below the script", "in the background"])
@pytest.mark.parametrize(("mode", "status"), [("dies", 7), ("killed", 137)])
def test_a_host_that_ends_by_itself_ends_the_container_with_its_status(
    tmp_path: Path, kind: str, mode: str, status: int
) -> None:
    with running(Run(tmp_path, kind, mode)) as run:
        assert run.status() == status


@pytest.mark.parametrize("value", ["soon", "0.5", "3601", "nan", "-1"])
def test_a_wrong_grace_period_is_a_clear_error(value: str) -> None:
    done = _start("true", STOP_GRACE_S=value)
    assert done.returncode == 2
    assert f"STOP_GRACE_S='{value}' is not allowed: it must be a number of seconds from 1 to 3600" in done.stderr


def test_a_command_that_is_not_there_is_a_clear_error() -> None:
    done = _start("/nowhere/start.sh")
    assert (done.returncode, done.stderr) == (
        127,
        "entrypoint: error: cannot start /nowhere/start.sh: No such file or directory\n",
    )


def test_without_a_command_it_says_how_to_call_it() -> None:
    done = _start()
    assert done.returncode == 2
    assert done.stderr.startswith("entrypoint: usage:")


def test_a_command_of_ones_own_runs_below_it_with_its_arguments_and_output() -> None:
    done = _start("sh", "-c", 'echo "$1"; exit 5', "sh", "a b", STOP_GRACE_S="")
    assert (done.returncode, done.stdout) == (5, "a b\n")


def _start(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", ENTRY_POINT, *command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SOON_S,
        check=False,
    )


def test_its_socket_has_a_name_of_its_own() -> None:
    """Containers that share a network also share the names of such sockets."""
    names = {_start("sh", "-c", "echo $STOP_SOCKET").stdout.strip() for _ in range(2)}
    assert len(names) == 2
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect(f"\0{names.pop()}")
