"""Start the Functions host and stop it gracefully: the entry point of the image. Uses only the standard library.

Usage: python3 entrypoint.py COMMAND [ARGUMENT...]
  STOP_GRACE_S   seconds between SIGTERM and the platform's SIGKILL (default: 10, as `docker stop` gives)

The host ignores SIGTERM. On SIGINT it refuses new requests and lets running ones continue for `HOST_GRACE_S`. On
SIGTERM or SIGINT, this program therefore sends the host a SIGINT. Shortly before the grace period ends, it notifies the
app through a socket, so that the app ends the running requests with a response; the exit status is then 0. The
environment variable `STOP_SOCKET` has the socket's name in Linux's abstract namespace. A second signal ends everything
at once. If the host ends by itself, the container ends with its exit status.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

DEFAULT_GRACE_S, LEAST_GRACE_S, MOST_GRACE_S = 10.0, 1.0, 3600.0
HOST_GRACE_S = 30.0  # after this time, the host resets running requests
ANSWER_S = 3.0  # time for the app's last responses to reach their clients, and for the host to end
KILL_S = 0.5  # time before the platform's SIGKILL at which this program ends, for an exit status of 0
LOOK_S = 0.1  # interval of looking for a host that the start script has not started yet
STOP = (signal.SIGTERM, signal.SIGINT)
WATCHED = (*STOP, signal.SIGCHLD)
SHELLS = {"bash", "dash", "sh", "busybox"}
MESSAGE = b"stop"
USAGE_ERROR, CANNOT_START, SIGNALLED = 2, 127, 128


def grace(given: str) -> float:
    """Return the grace period in seconds from the value of `STOP_GRACE_S`; the default if it is empty.

    Raises:
        ValueError: the value is not a number, or out of bounds.
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
    """Yield the topmost processes below `root` that are not shells; the start script may be several nested shells."""
    from pathlib import Path  # imported here, because it would delay the start

    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # the process has just ended
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
    """Runs one command in a new session, and stops it."""

    def __init__(self, command: list[str], grace_s: float) -> None:
        self._grace_s = grace_s
        self._interrupted: set[int] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        name = f"generation-stop-{os.urandom(8).hex()}"
        self._listener.bind(f"\0{name}")
        self._listener.listen(128)
        self._listener.setblocking(False)
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        # A shell starts background processes with SIGINT ignored, and the host would keep ignoring it.
        self._child = os.posix_spawnp(
            command[0],
            command,
            os.environ | {"STOP_SOCKET": name},
            setsid=True,
            setsigmask=(),
            setsigdef=(*WATCHED, signal.SIGQUIT, signal.SIGPIPE),
        )

    def run(self) -> int:
        """Wait until the command ends or must be killed; return the exit status of the container."""
        while True:
            came = signal.sigwaitinfo(WATCHED).si_signo
            status = self._reap()
            if status is not None:
                self._kill()  # processes that the command has left behind
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
                self._tell()  # every time, because a process of the app may have started only now
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
        """Notify every listening process of the app that has not been notified."""
        with suppress(BlockingIOError):
            while True:
                listener, _ = self._listener.accept()
                with listener, suppress(OSError):  # an app that has ended since
                    listener.sendall(MESSAGE)

    def _reap(self) -> int | None:
        """Reap ended processes, including orphans; return the exit status of the command if it is among them."""
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
        """Kill the remaining processes of the command's session."""
        with suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGKILL)


def main(command: list[str]) -> int:
    """Run the command; return the exit status of the container."""
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
