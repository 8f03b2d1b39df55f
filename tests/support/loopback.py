"""Run an HTTP server on 127.0.0.1 whose responses a test chooses."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Asked:
    """A complete request."""

    method: str
    path: str
    headers: Message
    body: bytes


@contextmanager
def serve_answers(answer: Callable[[Asked], tuple[int, bytes]]) -> Iterator[str]:
    """Answer each GET and POST with the status and body that `answer` returns; yield the server's address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body = answer(Asked(self.command, self.path, self.headers, content))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815 - what http.server calls

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
