"""An index of the lines of an input, and of those that are answered, in a temporary database of bounded memory."""

import sqlite3
from contextlib import closing
from typing import NamedTuple, Self

from generation.cli.batch.lines import Line, Source, parse
from generation.errors import InvalidRequestError

SHOWN = 3
# Memory of SQLite's cache. The rest is in a file without a name, which is deleted when the process ends.
CACHE_KIB = 8192


class Entry(NamedTuple):
    """The entry of a line.

    Attributes:
        number: number of the line in the file, from 1.
        place: number of the line without counting blank lines, from 1.
        fingerprint: hash of the line's text.
        done: whether the line is answered.
    """

    number: int
    place: int
    fingerprint: str
    done: bool


class Index:
    """The lines of one input by `Line.key`; a context manager.

    Attributes:
        lines: number of lines.
        done: number of lines that are answered.
        failed: number of these that failed.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.done = self.failed = 0
        # An empty name is a temporary database on disk: https://www.sqlite.org/inmemorydb.html#temp_db
        self._database = sqlite3.connect("", isolation_level=None)
        for statement in (
            f"PRAGMA cache_size = -{CACHE_KIB}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE line (key BLOB PRIMARY KEY, number INT, place INT, fingerprint TEXT, done INT) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def fill(self, source: Source) -> None:
        """Read the whole input once.

        Raises:
            InvalidRequestError: two lines have the same `custom_id`, or the input cannot be read.
        """
        twice: list[str] = []
        more = 0
        for number, text in source.lines():
            line = parse(number, text)
            self.lines += 1
            if self._add(line):
                continue
            if len(twice) == SHOWN:
                more += 1
                continue
            first = self.find(line.key)
            twice.append(f"{line.custom_id!r} is on the lines {first.number if first else '?'} and {number}")
        if twice:
            rest = f", and {more} more" if more else ""
            raise InvalidRequestError(f"every custom_id may be used once: {'; '.join(twice)}{rest}", param="custom_id")

    def _add(self, line: Line) -> bool:
        with closing(
            self._database.execute(
                "INSERT INTO line VALUES (?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
                (line.key, line.number, self.lines, line.fingerprint),
            )
        ) as cursor:
            return cursor.rowcount == 1

    def find(self, key: bytes) -> Entry | None:
        """Return the entry of a line, or None if the input has no such line."""
        select = "SELECT number, place, fingerprint, done FROM line WHERE key = ?"
        row = self._database.execute(select, (key,)).fetchone()
        return None if row is None else Entry(row[0], row[1], row[2], bool(row[3]))

    def mark(self, key: bytes, *, failed: bool) -> None:
        """Record that a line is answered; `failed` if its answer is a failure."""
        self.done += 1
        self.failed += failed
        self._database.execute("UPDATE line SET done = 1 WHERE key = ?", (key,))
