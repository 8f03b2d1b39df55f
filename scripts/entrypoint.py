"""Starts the Functions host and stops it gracefully: the entry point of the image. Only the standard library.

Usage: python3 entrypoint.py COMMAND [ARGUMENT...]
  STOP_GRACE_S   seconds between SIGTERM and the platform's SIGKILL (default: 10, as `docker stop` gives)

The host ignores SIGTERM, and on SIGINT it takes no new requests and lets running ones go on for `HOST_GRACE_S`. So on
SIGTERM or SIGINT the host gets a SIGINT. Shortly before the time is over, the app is told through a socket (the
environment variable `STOP_SOCKET` has its name, in Linux's abstract namespace) and ends what still runs with an answer.
Then the status is 0. A second signal ends everything at once. A host that ends by itself ends the container with its
status.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

DEFAULT_GRACE_S, LEAST_GRACE_S, MOST_GRACE_S = 10.0, 1.0, 3600.0
HOST_GRACE_S = 30.0  # then the host resets what still runs
ANSWER_S = 3.0  # for the app's last answers to reach their clients, and for the host to end
KILL_S = 0.5  # before the platform's own SIGKILL, for a status of 0
LOOK_S = 0.1  # between two looks for a host that the start script has not started yet
STOP = (signal.SIGTERM, signal.SIGINT)
WATCHED = (*STOP, signal.SIGCHLD)
SHELLS = {"bash", "dash", "sh", "busybox"}
MESSAGE = b"stop"
USAGE_ERROR, CANNOT_START, SIGNALLED = 2, 127, 128


def grace(given: str) -> float:
    """Return the seconds in the value of `STOP_GRACE_S`; empty is the default.

    Raises:
        ValueError: it is no number, or out of bounds.
    """
    if not given:
        return DEFAULT_GRACE_S
    with suppress(ValueError):
        if LEAST_GRACE_S <= float(given) <= MOST_GRACE_S:
            return float(given)
    bounds = f"{LEAST_GRACE_S:g} to {MOST_GRACE_S:g}"
    raise ValueError(f"STOP_GRACE_S={given!r} is not allowed: it must be a number of seconds from {bounds}")


def say(message: str) -> None:
    """Write a line to the container's log."""
    print(f"entrypoint: {message}", file=sys.stderr, flush=True)


def hosts(root: int) -> Iterator[int]:
    """Yield the first processes from `root` downwards that are no shells: the start script may be one, or several."""
    from pathlib import Path  # not at the start, which would take longer for it

    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has just ended
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    while found:
        process = found.pop()
        try:
            program = Path(f"/proc/{process}/exe").readlink().name
        except OSError:
            continue
        if program in SHELLS:
            found += children.get(process, [])
        else:
            yield process


class Supervisor:
    """Runs one command in a session of its own, and stops it."""

    def __init__(self, command: list[str], grace_s: float) -> None:
        self._grace_s = grace_s
        self._interrupted: set[int] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        name = f"generation-stop-{os.urandom(8).hex()}"
        self._listener.bind(f"\0{name}")
        self._listener.listen(128)
        self._listener.setblocking(False)
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        # A shell starts what runs in the background with SIGINT ignored, and the host would leave it so.
        self._child = os.posix_spawnp(
            command[0],
            command,
            os.environ | {"STOP_SOCKET": name},
            setsid=True,
            setsigmask=(),
            setsigdef=(*WATCHED, signal.SIGQUIT, signal.SIGPIPE),
        )

    def run(self) -> int:
        """Wait until the command ends or has to; return the status for the container."""
        while True:
            came = signal.sigwaitinfo(WATCHED).si_signo
            status = self._reap()
            if status is not None:
                self._kill()  # what it left behind
                return status
            if came in STOP:
                return self._stop(signal.Signals(came))

    def _stop(self, first: signal.Signals) -> int:
        tell_s = max(min(self._grace_s, HOST_GRACE_S) - ANSWER_S, 0.0)
        say(f"{first.name}: no new requests; running ones have {tell_s:g} s")
        began = time.monotonic()
        told = False
        while (passed_s := time.monotonic() - began) < self._grace_s - KILL_S:
            for process in set(hosts(self._child)) - self._interrupted:
                self._interrupted.add(process)
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGINT)
            if passed_s >= tell_s:
                if not told:
                    say("running requests are ended now")
                    told = True
                self._tell()  # each time: a process of the app may have started only now
            came = signal.sigtimedwait(WATCHED, LOOK_S)
            if self._reap() is not None:
                self._kill()
                return 0
            if came is not None and came.si_signo in STOP:
                say(f"{signal.Signals(came.si_signo).name} again: killed")
                self._kill()
                return SIGNALLED + came.si_signo
        say(f"the host has not ended within {self._grace_s - KILL_S:g} s: killed")
        self._kill()
        return 0

    def _tell(self) -> None:
        """Tell every process of the app that listens and has not been told."""
        with suppress(BlockingIOError):
            while True:
                listener, _ = self._listener.accept()
                with listener, suppress(OSError):  # an app that has ended since
                    listener.sendall(MESSAGE)

    def _reap(self) -> int | None:
        """Collect what has ended, orphans too; return the status of the command if it is among it."""
        status = None
        with suppress(ChildProcessError):
            while True:
                process, ended = os.waitpid(-1, os.WNOHANG)
                if process == 0:
                    break
                if process == self._child:
                    code = os.waitstatus_to_exitcode(ended)
                    status = code if code >= 0 else SIGNALLED - code
        return status

    def _kill(self) -> None:
        """Kill what is left of the command's session."""
        with suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGKILL)


def main(command: list[str]) -> int:
    """Run the command; return the status for the container."""
    if not command:
        say("usage: entrypoint.py COMMAND [ARGUMENT...]")
        return USAGE_ERROR
    try:
        grace_s = grace(os.environ.get("STOP_GRACE_S", "").strip())
    except ValueError as error:
        say(f"error: {error}")
        return USAGE_ERROR
    try:
        supervisor = Supervisor(command, grace_s)
    except OSError as error:
        say(f"error: cannot start {command[0]}: {error.strerror}")
        return CANNOT_START
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
