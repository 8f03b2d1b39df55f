"""From the engine's thread to whoever waits: a mailbox that is filled on one side and awaited on the other."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from generation.errors import ApiError
from generation.sequence import PromptScores, Update

Item = Update | PromptScores


class Mailbox:
    """The engine's end. Appending to a deque is atomic, so no lock is needed; `wake` tells the other side.

    It closes when each of the `requests` that answer to it has closed it, or at the first error, which cancels all.
    """

    def __init__(self, wake: Callable[[], object], requests: int = 1) -> None:
        self.items: deque[Item] = deque()
        self.closed = False
        self._open = requests
        self.error: ApiError | None = None
        self.cancelled = False
        self._wake = wake

    def post(self, item: Item) -> None:
        """Hand out one item."""
        self.items.append(item)
        self._tell()

    def close(self, error: ApiError | None = None) -> None:
        """Say that nothing follows from one of the requests."""
        self._open -= 1
        if self.closed or (self._open > 0 and error is None):
            return
        self.error = error
        self.cancelled |= error is not None
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        try:
            self._wake()
        except RuntimeError:  # the loop is closed: nobody can be waiting
            self.cancelled = True


class TokenStream:
    """The reader's end: iterate to get the items; `cancel` when nobody waits for them any more.

    Iteration raises the `ApiError` that ended the request, if one did. A stream that is dropped cancels itself.
    """

    def __init__(self, notify: Callable[[], None], requests: int = 1) -> None:
        self._news = asyncio.Event()
        self._notify = notify
        # The engine keeps the mailbox, which must not keep this object: it could never be dropped.
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._news.set)
        self.mailbox = Mailbox(wake, requests)

    def __aiter__(self) -> "TokenStream":
        return self

    async def __anext__(self) -> Item:
        while True:
            self._news.clear()
            # `closed` is read first: what was posted before the close is then surely in the deque.
            closed = self.mailbox.closed
            if self.mailbox.items:
                return self.mailbox.items.popleft()
            if closed:
                if self.mailbox.error is not None:
                    raise self.mailbox.error
                raise StopAsyncIteration
            await self._news.wait()

    def cancel(self) -> None:
        """Tell the engine that nobody waits: it takes the sequences out at its next step. Safe to call twice."""
        if not self.mailbox.closed and not self.mailbox.cancelled:
            self.mailbox.cancelled = True
            self._notify()

    def __del__(self) -> None:
        self.cancel()
