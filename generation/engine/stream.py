"""From the engine's thread to a reader on an event loop: a mailbox that one side fills and the other side awaits."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from generation.engine.request import Item
from generation.errors import ApiError
from generation.observe.timeline import Timeline


class Reader:
    """The reader's end of a mailbox. Everything here happens on its event loop.

    Attributes:
        news: is set when the mailbox has changed.
        on_release: is called once the engine has released every request of the mailbox.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.news = asyncio.Event()
        self.on_release: Callable[[], object] | None = None
        self._released = False

    def wake(self, mailbox: "Mailbox") -> None:
        """Look at what has changed."""
        self.news.set()
        if mailbox.closed and not self._released:
            self._released = True
            if self.on_release is not None:
                self.on_release()


class Bell:
    """Wakes the readers of all mailboxes that have news, with one call to each event loop.

    The call takes as long as choosing a token, and makes the engine's thread hand the interpreter's lock to the loop's.
    The engine therefore rings once a step: when all tokens are chosen, just before it releases the lock to compute the
    next ones.
    """

    def __init__(self) -> None:
        self._news: set[Mailbox] = set()

    def note(self, mailbox: "Mailbox") -> None:
        """Remember that a mailbox has news."""
        self._news.add(mailbox)

    def ring(self) -> None:
        """Wake the readers."""
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
            except RuntimeError:  # the loop is closed: there is no reader, and no other thread, any more
                for _, mailbox in readers:
                    mailbox.cancelled = True
                _wake(readers)


def _wake(readers: list[tuple[Reader, "Mailbox"]]) -> None:
    for reader, mailbox in readers:
        reader.wake(mailbox)


class Mailbox:
    """The engine's end. Appending to a deque is atomic, so no lock is needed; the bell tells the other side.

    It closes when each of the `requests` that report to it has ended. The error of one of them ends only that one;
    where none of them has anything to return, the first error is that of the mailbox.
    """

    def __init__(self, bell: Bell, reader: Reader | None = None, requests: int = 1) -> None:
        self.reader = reader
        self.items: deque[Item] = deque()
        self.closed = False
        self.error: ApiError | None = None
        self.cancelled = False
        self.patient = False  # the reader waits for the end alone
        self.requests = requests
        self._bell = bell
        self._open = requests
        self._failed = 0
        self._first_error: ApiError | None = None

    def post(self, item: Item) -> None:
        """Hand out one item."""
        self.items.append(item)
        if not self.patient:
            self._bell.note(self)

    def close(self, error: ApiError | None = None) -> None:
        """Record that one of the requests has ended, with its error if it has nothing to return."""
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
    """The reader's end: iterate to get the items; `cancel` to drop the work.

    Iteration raises the `ApiError` that ended the request, if one did. After `cancel`, it ends without waiting for the
    engine. A stream that is dropped cancels itself.

    Attributes:
        cancelled: whether `cancel` was called before the end.
        timelines: one for each submitted request; complete when the engine has released it.
    """

    def __init__(self, notify: Callable[[], None], bell: Bell, timelines: Sequence[Timeline]) -> None:
        self.timelines = timelines
        self.cancelled = False
        self._reader = Reader(asyncio.get_running_loop())
        self._notify = notify
        # The engine keeps the mailbox and the reader. Neither may keep this object, or it could never be dropped.
        self.mailbox = Mailbox(bell, self._reader, len(timelines))

    def on_release(self, call: Callable[[], object]) -> None:
        """Call `call` on the event loop, once, when the engine has released every request."""
        self._reader.on_release = call

    def __aiter__(self) -> "TokenStream":
        return self

    async def __anext__(self) -> Item:
        while True:
            self._reader.news.clear()
            # `closed` is read first: what was posted before the close is then surely in the deque.
            closed = self.mailbox.closed
            if self.mailbox.items:
                return self.mailbox.items.popleft()
            if closed and self.mailbox.error is not None and not self.cancelled:
                raise self.mailbox.error
            if closed or self.cancelled:
                raise StopAsyncIteration
            await self._reader.news.wait()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until there is an item or the end; return False if neither came within `timeout_s` seconds."""
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
        """Return everything that is still to come; the reader is woken only at the end."""
        self.mailbox.patient = True
        while not (self.mailbox.closed or self.cancelled):
            self._reader.news.clear()
            if not self.mailbox.closed:
                await self._reader.news.wait()
        return [item async for item in self]

    def cancel(self) -> None:
        """Tell the engine to drop the work at its next step, and wake the reader; idempotent."""
        if self.mailbox.closed or self.cancelled:
            return
        self.cancelled = True
        self._reader.news.set()
        if not self.mailbox.cancelled:
            self.mailbox.cancelled = True
            self._notify()

    def __del__(self) -> None:
        self.cancel()
