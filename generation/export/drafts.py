"""Make the draft table of an artifact, and measure it on held-out texts."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from generation.engine.drafter import TABLE, Drafter, Experience
from generation.export import ngrams, sampling
from generation.export.defaults import DRAFT_SIZE, DRAFT_TOKENS
from generation.export.errors import ExportError
from generation.export.ngrams import Integers, Texts
from generation.export.report import Drafts, Unseen
from generation.export.sampling import Manner
from generation.model.draft_table import LARGEST, ORDER, DraftTable
from generation.model.machine import cpu_limit
from generation.model.opening import OpenArtifact, open_artifact
from generation.text.tokenizer import TokenizerError

# Bounds of the options.
MOST_TOKENS, LEAST_SIZE = 1 << 24, 1024
# Temperatures at which the training texts are sampled, alternating. Greedy text resembles the second.
LEARNED_AT = (1.0, 0.8)
# Held-out texts: UNSEEN at each of these temperatures. The first OPENING tokens of a text are not measured.
TEMPERATURES, UNSEEN, OPENING = (1.0, 0.8, 0.0), 20, 16
# Maximum number of draft tokens in a step of that measurement.
LONGEST = 4
# Seeds of the training texts and of the held-out texts.
LEARNED, HELD_OUT = 0, 1
# Upper bound of the average characters per token. It limits how much of a text file is read.
CHARACTERS = 16
# Minimum seconds between progress messages.
PATIENCE_S = 15.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DraftOptions:
    """Options of a draft table.

    Attributes:
        tokens: number of tokens of text to learn from; 0 for no table.
        size: maximum size of the table, in bytes.
        text: a UTF-8 file to learn from instead of the model's own text.
    """

    tokens: int = DRAFT_TOKENS
    size: int = DRAFT_SIZE
    text: Path | None = None

    def check(self) -> None:
        """Check the ranges, before any work.

        Raises:
            ExportError: an option is out of range; the message names it and the allowed values.
        """
        if not 0 <= self.tokens <= MOST_TOKENS:
            raise ExportError(f"--draft-tokens {self.tokens}: allowed is 0, for no table, to {MOST_TOKENS:,}")
        if not LEAST_SIZE <= self.size <= LARGEST:
            raise ExportError(f"--draft-size {self.size}: allowed is {LEAST_SIZE:,} to {LARGEST:,} bytes")
        if self.text is not None and not self.text.is_file():
            raise ExportError(f"--draft-text {self.text}: there is no such file")


def learn(folder: Path, file: Path, options: DraftOptions, progress: Progress = lambda _: None) -> Drafts:
    """Write the draft table of the artifact in `folder` to `file`; return its measurements.

    Raises:
        ArtifactError: the artifact is invalid.
        ExportError: the text file cannot be read or is too short.
    """
    options.check()
    began = time.monotonic()
    opened = open_artifact(folder, cpu_limit())
    texts = _texts(opened, options, progress)
    file.write_bytes(ngrams.contents(ngrams.entries(texts, options.size)))
    table = DraftTable(file, opened.config.tokens)
    progress("measuring the drafts on held-out texts")
    manners = [Manner(temperature, OPENING) for temperature in TEMPERATURES for _ in range(UNSEEN)]
    unseen = sampling.write(opened.model(batch=sampling.ROWS, staging=1, chunk=1), manners, seed=HELD_OUT).ids
    return Drafts(
        tokens=texts.ids.size,
        text=options.text.name if options.text else None,
        contexts=len(table),
        size=file.stat().st_size,
        seconds=round(time.monotonic() - began, 1),
        unseen=[
            _measure(table, temperature, unseen[place * UNSEEN : (place + 1) * UNSEEN])
            for place, temperature in enumerate(TEMPERATURES)
        ],
    )


def _texts(opened: OpenArtifact, options: DraftOptions, progress: Progress) -> Texts:
    model = opened.model(batch=sampling.ROWS, staging=1, chunk=1)
    if options.text is None:
        count = -(-options.tokens // min(sampling.LENGTH, opened.config.context))
        progress(f"sampling {options.tokens:,} tokens of text to learn drafts from (--draft-tokens 0: none)")
        manners = [Manner(LEARNED_AT[place % len(LEARNED_AT)]) for place in range(count)]
        return sampling.write(model, manners, seed=LEARNED, done=_watch(options.tokens, progress))
    try:
        text = options.text.read_text(encoding="utf-8")[: CHARACTERS * options.tokens]
        ids = opened.tokenizer.encode(text)[: options.tokens]
    except (OSError, UnicodeDecodeError, TokenizerError) as error:
        raise ExportError(f"--draft-text {options.text} cannot be read: {error}") from error
    if len(ids) < 2:  # noqa: PLR2004 - a context and the token after it
        raise ExportError(f"--draft-text {options.text} has {len(ids)} tokens; wanted are at least 2")
    progress(f"reading {len(ids):,} tokens of {options.text.name} to learn drafts from")
    return sampling.read(model, ids, done=_watch(len(ids), progress))


def _watch(total: int, progress: Progress) -> Callable[[int], None]:
    began = told = time.monotonic()

    def done(tokens: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= PATIENCE_S and tokens < total:
            told = now
            progress(f"{tokens:,} of {total:,} tokens, about {(now - began) * (total / tokens - 1):.0f} s more")

    return done


def _measure(table: DraftTable, temperature: float, ids: Integers) -> Unseen:
    """Count the correct guesses of the table, and verify drafts of up to `LONGEST` tokens as the engine does."""
    texts = ids.tolist()
    right = 0
    for text in texts:
        for place in range(OPENING, len(text)):
            known = table.guess(text[max(0, place - ORDER) : place])
            right += known is not None and known[0] == text[place]
    tokens = ids[:, OPENING:].size
    shared = Experience()
    steps = sum(_steps(text, table, shared) for text in texts)
    return Unseen(
        temperature=temperature,
        tokens=tokens,
        guessed=right / tokens,
        drafted=shared.drafted[TABLE],
        accepted=shared.accepted[TABLE],
        tokens_per_step=tokens / steps,
        without_table=tokens / sum(_steps(text, None, Experience()) for text in texts),
    )


def _steps(text: list[int], table: DraftTable | None, shared: Experience) -> int:
    """Return the number of steps to generate `text` after its opening, with a draft wherever there is a guess."""
    drafter = Drafter(text[:OPENING], table, shared)
    place, steps = OPENING, 0
    while place < len(text):
        draft = drafter.take(len(drafter.chances(min(LONGEST, len(text) - place - 1), 0.0)))
        steps += 1
        for guess in [*draft, None]:
            drafter.push(text[place])
            place += 1
            if place == len(text) or guess != text[place - 1]:
                break
    return steps
