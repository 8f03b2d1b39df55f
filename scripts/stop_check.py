"""Check how a container of the image stops under the stand-in host; exit with 1 if a case fails.

Usage: python3 stop_check.py [--without-entry-point] IMAGE PODMAN... run OPTION...
  The words after IMAGE are the command that runs a container, such as: podman run --rm --network host
  --without-entry-point   start the image without its entry point, to show that the check then fails
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

START_S = 120.0
REQUEST_S = 120.0
STEP_S = 0.1
GRACE_S, SHORT_GRACE_S = 60, 12
IDLE_S = 6.0
START_SCRIPT = "/opt/startup/start_nonappservice.sh"
# A start script that does not `exec` the host, so that shells remain above it.
UNDER_SHELLS = ("bash", "-c", f"sh -c '{START_SCRIPT}; exit $?'; exit $?")
AS_ANOTHER_USER = ("--user", "1000:1000", "--read-only-tmpfs=false")
BODY = {"prompt": [0], "temperature": 0, "ignore_eos": True}


class StopError(Exception):
    """A container does not stop as required."""


def expect(what: str, ok: bool, shown: object) -> None:  # noqa: FBT001
    """Check a condition.

    Raises:
        StopError: `ok` is false; the message says what was observed.
    """
    if not ok:
        raise StopError(f"{what}: {shown}")


@dataclass
class Container:
    """A running container that listens on a given port."""

    name: str
    podman: list[str]
    port: int
    process: subprocess.Popen[bytes]
    stopping: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def ask(self, path: str, body: dict[str, object] | None = None) -> http.client.HTTPResponse:
        """Send a request on a new connection; return the response, whose body has not been read.

        Raises:
            OSError: there is no response.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_S)
        method, content = ("GET", None) if body is None else ("POST", json.dumps(body))
        connection.request(method, f"/api{path}", content, {"Connection": "close"})
        return connection.getresponse()

    def wait_ready(self) -> None:
        """Wait until the app is ready.

        Raises:
            StopError: the app does not become ready in time.
        """
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.ask("/ready").status == http.HTTPStatus.OK:
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)
        raise StopError(f"it is not ready after {START_S:g} s, or has ended with status {self.process.poll()}")

    def stop(self, within_s: int) -> None:
        """Start to stop the container as an orchestrator does: SIGTERM, then SIGKILL after `within_s` seconds."""
        self.stopping.append(subprocess.Popen([*self.podman, "stop", "-t", str(within_s), self.name]))  # noqa: S603

    def wait_ended(self) -> int:
        """Wait until the container has ended; return its exit status."""
        return self.process.wait(REQUEST_S)

    def remove(self) -> None:
        """Remove the container, whether the check passed or failed."""
        if self.process.poll() is None:
            subprocess.run([*self.podman, "kill", self.name], check=False, capture_output=True)  # noqa: S603
            self.process.wait(REQUEST_S)
        for one in self.stopping:
            one.wait(REQUEST_S)


def events(response: http.client.HTTPResponse) -> list[str]:
    """Return the data of the remaining events."""
    lines = [line.decode().strip() for line in response]
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def a_stream_of_15_s(container: Container, within_s: int) -> str:
    """Check that a stream that ends within the grace period is complete."""
    began = time.monotonic()
    response = container.ask("/v1/completions", BODY | {"max_tokens": 150, "stream": True})
    response.readline()
    container.stop(within_s)
    rest = events(response)
    expect("the stream ends in [DONE]", rest[-1:] == ["[DONE]"], rest[-2:])
    expect("it has all tokens", len(rest) > 100 and not any('"error"' in one for one in rest), len(rest))  # noqa: PLR2004
    return f"a stream of {time.monotonic() - began:.1f} s ended in [DONE]"


def what_takes_longer(container: Container, within_s: int) -> str:
    """Check that requests that exceed the grace period end with a response that says so."""
    long = BODY | {"max_tokens": 480}
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(container.ask, "/v1/completions", long)
        several = pool.submit(container.ask, "/v1/completions", long | {"prompt": [[0], [1]]})
        response = container.ask("/v1/completions", long | {"stream": True})
        response.readline()
        began = time.monotonic()
        container.stop(within_s)
        rest = events(response)
        took_s = time.monotonic() - began
        expect("the stream ends in an error event", "shut down" in "".join(rest[-2:-1]), rest[-2:])
        expect("after it comes [DONE]", rest[-1] == "[DONE]", rest[-1])
        refused, kept = whole.result(), several.result()
    expect("a whole answer is 503", refused.status == http.HTTPStatus.SERVICE_UNAVAILABLE, refused.status)
    expect("it says when to try again", refused.headers["Retry-After"] == "1", refused.headers)
    answer = json.loads(kept.read())
    texts = [choice["text"] for choice in answer.get("choices", [])]
    expect("a list keeps its finished texts", len(texts) == 2 and all(texts), answer)  # noqa: PLR2004
    return f"after {took_s:.1f} s a stream ended in an error event, a whole answer in 503, a list with its texts"


def an_idle_one(container: Container, within_s: int) -> str:
    """Check that a container without work ends soon."""
    began = time.monotonic()
    container.stop(within_s)
    container.wait_ended()
    took_s = time.monotonic() - began
    expect(f"it is gone within {IDLE_S:g} s", took_s < IDLE_S, f"{took_s:.1f} s")
    return f"an idle container was gone after {took_s:.1f} s"


@dataclass(frozen=True)
class Case:
    """A case: how a container is started, and what is done to it."""

    check: Callable[[Container, int], str]
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


CASES = (Case(a_stream_of_15_s), Case(what_takes_longer, AS_ANOTHER_USER, UNDER_SHELLS), Case(an_idle_one))


def run(case: Case, image: str, command: list[str], grace_s: int, *, entry_point: bool) -> str:
    """Run a case; return what was observed.

    Raises:
        StopError: the container does not stop as required.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = f"stop-check-{case.check.__name__.replace('_', '-')}-{os.getpid()}"
    settings = {
        "ASPNETCORE_URLS": f"http://127.0.0.1:{port}",
        "AUTH_LEVEL": "anonymous",
        "SPECULATE": "0",  # several tokens per step would shorten the stream
        "STAND_IN_STEP_S": str(STEP_S),
        "STOP_GRACE_S": str(grace_s),
    }
    started = [*command, "--name", name, *case.options, *(f"--env={key}={value}" for key, value in settings.items())]
    if not entry_point:
        started += ["--entrypoint", "[]"]
    started += [image, *(case.command or (START_SCRIPT,))]
    process = subprocess.Popen(started)  # noqa: S603
    container = Container(name, command[: command.index("run")], port, process)
    try:
        container.wait_ready()
        seen = case.check(container, grace_s)
        status = container.wait_ended()
        expect("the exit status is 0", status == 0, status)
    except (OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
        raise StopError(f"{type(error).__name__}: {error}") from error
    finally:
        container.remove()
    return seen


def main(arguments: list[str]) -> int:
    """Run all cases concurrently, and print what was observed; return the exit status."""
    entry_point = arguments[0] != "--without-entry-point"
    image, *command = arguments if entry_point else arguments[1:]
    # Without an entry point, a container runs until it is killed, so a short grace period saves time.
    grace_s, cases = (GRACE_S, CASES) if entry_point else (SHORT_GRACE_S, CASES[1:])
    failed = 0
    with ThreadPoolExecutor() as pool:
        runs: list[Future[str]] = [
            pool.submit(run, case, image, command, grace_s, entry_point=entry_point) for case in cases
        ]
        for case, one in zip(cases, runs, strict=True):
            try:
                print(f"ok  {one.result()}", flush=True)
            except StopError as error:
                failed += 1
                print(f"FAILED  {case.check.__name__.replace('_', ' ')}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
