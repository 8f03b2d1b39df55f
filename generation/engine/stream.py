"""Pass results from the engine's thread to a reader on an asyncio event loop.

The engine posts items to a `Mailbox`. The reader iterates over the `TokenStream` of that mailbox. A `Bell` wakes the
readers, once per step of the engine.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from generation.engine.request import Item
from generation.errors import ApiError
from generation.observe.timeline import Timeline


class Reader:
    """Wakes the coroutine that reads a mailbox. Use it only on its event loop.

    Attributes:
        loop: the event loop of the reader.
        news: set when the mailbox has changed.
        on_release: called once, when the engine has released every request of the mailbox.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.news = asyncio.Event()
        self.on_release: Callable[[], object] | None = None
        self._released = False

    def wake(self, mailbox: "Mailbox") -> None:
        """Set `news`; call `on_release` if the mailbox has just closed."""
        self.news.set()
        if mailbox.closed and not self._released:
            self._released = True
            if self.on_release is not None:
                self.on_release()


class Bell:
    """Wakes the readers of all changed mailboxes with one call to each event loop.

    The call takes as long as choosing a token, and may pass the global interpreter lock to the loop's thread. The
    engine therefore rings once per step: after all tokens are chosen, just before it releases the lock to compute the
    next ones.
    """

    def __init__(self) -> None:
        self._news: set[Mailbox] = set()

    def note(self, mailbox: "Mailbox") -> None:
        """Mark a mailbox as changed; the next `ring` wakes its reader."""
        self._news.add(mailbox)

    def ring(self) -> None:
        """Wake the readers of all mailboxes marked since the last call."""
        if not self._news:
            return
        mailboxes, self._news = self._news, set()
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[Reader, Mailbox]]] = defaultdict(list)
        for mailbox in mailboxes:
            if mailbox.reader is not None:
                by_loop[mailbox.reader.loop].append((mailbox.reader, mailbox))
        for loop, readers in by_loop.items():
            try:
                loop.call_soon_threadsafe(_wake, readers)
            except RuntimeError:  # the loop is closed, so nothing reads the stream, and no other thread runs its reader
                for _, mailbox in readers:
                    mailbox.cancelled = True
                _wake(readers)


def _wake(readers: list[tuple[Reader, "Mailbox"]]) -> None:
    for reader, mailbox in readers:
        reader.wake(mailbox)


class Mailbox:
    """The engine's end of a stream: a queue of items and the end of the requests that post to it.

    Appending to a deque is atomic, so there is no lock. The mailbox closes when all of its requests have ended. The
    error of one request ends only that request. If all of them fail, the first error becomes that of the mailbox.

    Attributes:
        reader: wakes the reader; None for a mailbox that nothing awaits.
        items: results that have not been read.
        closed: whether every request has ended.
        error: the error that the reader raises at the end, if any.
        cancelled: whether the engine must drop the requests.
        patient: whether the reader waits for the end only, so that single items need not wake it.
        requests: number of requests that post to this mailbox.
    """

    def __init__(self, bell: Bell, reader: Reader | None = None, requests: int = 1) -> None:
        self.reader = reader
        self.items: deque[Item] = deque()
        self.closed = False
        self.error: ApiError | None = None
        self.cancelled = False
        self.patient = False
        self.requests = requests
        self._bell = bell
        self._open = requests
        self._failed = 0
        self._first_error: ApiError | None = None

    def post(self, item: Item) -> None:
        """Append one item for the reader."""
        self.items.append(item)
        if not self.patient:
            self._bell.note(self)

    def close(self, error: ApiError | None = None) -> None:
        """Record that one request has ended, with `error` if it has nothing to return."""
        self._open -= 1
        if error is not None:
            self._failed += 1
            self._first_error = self._first_error or error
        if self._open == 0:
            if self._failed == self.requests:
                self.error = self._first_error
            self.closed = True
            self._bell.note(self)


class TokenStream:
    """The reader's end of a stream: iterate over it to get the items; call `cancel` to drop the requests.

    Iteration raises the `ApiError` that ended the requests, if one did. After `cancel`, iteration ends without waiting
    for the engine. Deleting the stream cancels the requests.

    Attributes:
        cancelled: whether `cancel` was called before the end.
        mailbox: the engine's end of the stream.
        timelines: one for each submitted request; complete when the engine has released it.
    """

    def __init__(self, notify: Callable[[], None], bell: Bell, timelines: Sequence[Timeline]) -> None:
        self.timelines = timelines
        self.cancelled = False
        self._reader = Reader(asyncio.get_running_loop())
        self._notify = notify
        # The engine refers to the mailbox and the reader. Neither may refer to this object, or it is never deleted.
        self.mailbox = Mailbox(bell, self._reader, len(timelines))

    def on_release(self, call: Callable[[], object]) -> None:
        """Register `call`, to be called once on the event loop when the engine has released every request."""
        self._reader.on_release = call

    def __aiter__(self) -> "TokenStream":
        return self

    async def __anext__(self) -> Item:
        while True:
            self._reader.news.clear()
            # Read `closed` first: then everything posted before the close is already in the deque.
            closed = self.mailbox.closed
            if self.mailbox.items:
                return self.mailbox.items.popleft()
            if closed and self.mailbox.error is not None and not self.cancelled:
                raise self.mailbox.error
            if closed or self.cancelled:
                raise StopAsyncIteration
            await self._reader.news.wait()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for an item or the end; return False if neither arrives within `timeout_s` seconds."""
        if self._has_news():
            return True
        news, late = self._reader.news, False

        def give_up() -> None:
            nonlocal late
            late = True
            news.set()

        timer = self._reader.loop.call_later(timeout_s, give_up)
        try:
            while not (self._has_news() or late):
                news.clear()
                if not self._has_news():
                    await news.wait()
        finally:
            timer.cancel()
        return self._has_news()

    def _has_news(self) -> bool:
        return bool(self.mailbox.items) or self.mailbox.closed or self.cancelled

    async def rest(self) -> list[Item]:
        """Wait for the end and return all remaining items; wakes the reader only once, at the end."""
        self.mailbox.patient = True
        while not (self.mailbox.closed or self.cancelled):
            self._reader.news.clear()
            if not self.mailbox.closed:
                await self._reader.news.wait()
        return [item async for item in self]

    def cancel(self) -> None:
        """Make the engine drop the requests at its next step, and end the iteration; idempotent."""
        if self.mailbox.closed or self.cancelled:
            return
        self.cancelled = True
        self._reader.news.set()
        if not self.mailbox.cancelled:
            self.mailbox.cancelled = True
            self._notify()

    def __del__(self) -> None:
        self.cancel()
