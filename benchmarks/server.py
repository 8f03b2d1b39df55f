"""Run the embedded host in a subprocess on a free port, for benchmarks and tests; it is always stopped."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from generation.config import ROOT

START_S = 60.0


@dataclass(slots=True)
class Served:
    """A running server.

    Attributes:
        process: its process.
        url: its address, ending in ``/api``.
        said: lines of its standard output.
        lines: lines of its log, which is standard error.
        news: notified on every new line.
    """

    process: subprocess.Popen[str]
    url: str = ""
    said: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def log(self, at_least: int = 0) -> list[str]:
        """Wait until the server has logged `at_least` lines; return all lines so far."""
        with self.news:
            self.news.wait_for(lambda: len(self.lines) >= at_least, START_S)
            return list(self.lines)

    def announcement(self, lines: int) -> str:
        """Wait until the server has printed `lines` lines; return its output so far."""
        with self.news:
            self.news.wait_for(lambda: len(self.said) >= lines, START_S)
            return "".join(self.said)

    def wait_for_log(self, text: str) -> None:
        """Wait until a line of the log contains `text`.

        Raises:
            TimeoutError: none does within `START_S` seconds.
        """
        with self.news:
            if not self.news.wait_for(lambda: any(text in line for line in self.lines), START_S):
                raise TimeoutError(f"the server never logged {text}")

    def stop(self, sig: int = signal.SIGINT) -> int:
        """Stop the server as Ctrl-C does; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(30)


@contextmanager
def serve(
    *arguments: str, python: str = sys.executable, folder: str | Path = ROOT, **environment: str
) -> Iterator[Served]:
    """Run ``python -m generation serve`` in `folder`, on a free port, until the block ends."""
    process = subprocess.Popen(
        [python, "-m", "generation", "serve", "--port", "0", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    served = Served(process)
    announced: queue.Queue[str] = queue.Queue()
    stdout, stderr = process.stdout, process.stderr
    if stdout is None or stderr is None:
        raise RuntimeError("the server has no pipes")

    def read(pipe: IO[str], keep: list[str]) -> None:
        for line in pipe:
            with served.news:
                keep.append(line)
                served.news.notify_all()
            announced.put(line)
        announced.put("")

    threads = [
        threading.Thread(target=read, args=(stdout, served.said)),
        threading.Thread(target=read, args=(stderr, served.lines)),
    ]
    for thread in threads:
        thread.start()
    try:
        while not (found := re.search(r"on (http://\S+/api)", line := announced.get(timeout=START_S))):
            if not line:
                raise RuntimeError("the server did not start:\n" + "".join(served.lines))
        served.url = found[1]
        yield served
    finally:
        try:
            served.stop()
        finally:
            process.kill()
            process.wait()
            for thread in threads:
                thread.join()
            stdout.close()
            stderr.close()
