"""From the engine's thread to whoever waits: a mailbox that is filled on one side and awaited on the other."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

from generation.errors import ApiError
from generation.sequence import PromptScores, Update

Item = Update | PromptScores


class Reader(NamedTuple):
    """Who waits for a mailbox: an event, and the loop on which it may be set."""

    loop: asyncio.AbstractEventLoop
    news: asyncio.Event


class Bell:
    """Wakes the readers of all mailboxes that have news, with one call to each event loop.

    The call takes as long as choosing a token, and lets the loop's thread have the interpreter's lock. So the engine
    rings once when all tokens of a step are chosen, just before it lets go of the lock to compute the next ones.
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
        events: defaultdict[asyncio.AbstractEventLoop, list[asyncio.Event]] = defaultdict(list)
        for mailbox in mailboxes:
            if mailbox.reader is not None:
                events[mailbox.reader.loop].append(mailbox.reader.news)
        for loop, news in events.items():
            try:
                loop.call_soon_threadsafe(_set, news)
            except RuntimeError:  # the loop is closed: nobody can be waiting
                for mailbox in mailboxes:
                    mailbox.cancelled |= mailbox.reader is not None and mailbox.reader.loop is loop


def _set(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()


class Mailbox:
    """The engine's end. Appending to a deque is atomic, so no lock is needed; the bell tells the other side.

    It closes when each of the `requests` that answer to it has closed it, or at the first error, which cancels all.
    """

    def __init__(self, bell: Bell, reader: Reader | None = None, requests: int = 1) -> None:
        self.reader = reader
        self.items: deque[Item] = deque()
        self.closed = False
        self.error: ApiError | None = None
        self.cancelled = False
        self.patient = False  # only the end is news
        self.requests = requests
        self._bell = bell
        self._open = requests

    def post(self, item: Item) -> None:
        """Hand out one item."""
        self.items.append(item)
        if not self.patient:
            self._bell.note(self)

    def close(self, error: ApiError | None = None) -> None:
        """Say that nothing follows from one of the requests."""
        self._open -= 1
        if self.closed or (self._open > 0 and error is None):
            return
        self.error = error
        self.cancelled |= error is not None
        self.closed = True
        self._bell.note(self)


class TokenStream:
    """The reader's end: iterate to get the items; `cancel` when nobody waits for them any more.

    Iteration raises the `ApiError` that ended the request, if one did. A stream that is dropped cancels itself.
    """

    def __init__(self, notify: Callable[[], None], bell: Bell, requests: int = 1) -> None:
        self._news = asyncio.Event()
        self._notify = notify
        # The engine keeps the mailbox, which must not keep this object: it could never be dropped.
        self.mailbox = Mailbox(bell, Reader(asyncio.get_running_loop(), self._news), requests)

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

    async def rest(self) -> list[Item]:
        """Return all that is still to come, woken but once."""
        self.mailbox.patient = True
        while not self.mailbox.closed:
            self._news.clear()
            if not self.mailbox.closed:
                await self._news.wait()
        return [item async for item in self]

    def cancel(self) -> None:
        """Tell the engine that nobody waits: it takes the sequences out at its next step. Safe to call twice."""
        if not self.mailbox.closed and not self.mailbox.cancelled:
            self.mailbox.cancelled = True
            self._notify()

    def __del__(self) -> None:
        self.cancel()
