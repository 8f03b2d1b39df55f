"""A fake model and tokenizer. Logits depend on all previous tokens, so that an error in the cache changes them."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.engine.interface import Block, Chunk
from generation.engine.request import GenerationRequest, Item, PromptScores, Update
from generation.engine.stream import Bell, Mailbox
from generation.sampling.params import SamplingParams
from generation.text.byte_level import ByteDetokenizer

VOCABULARY = 257
END = 256


class ByteCodec:
    """A tokenizer whose token i is byte i; token 256 ends a text."""

    vocabulary = VOCABULARY
    holes: frozenset[int] = frozenset()
    ends_of_text: tuple[int, ...] = (END,)
    begin_of_text = END
    byte_level = True

    def detokenizer(
        self, prompt: Sequence[int] = (), *, echoed: bool = False, special: bool = False
    ) -> ByteDetokenizer:
        named = lambda token: self.token_bytes(token) or self.piece(token).encode()  # noqa: E731
        made = ByteDetokenizer(named if special else self.token_bytes)
        for token in prompt[-4:] if echoed else ():
            made.push(token)
        return made

    def token_bytes(self, token: int) -> bytes:
        return b"" if token == END else bytes([token])

    def piece(self, token: int) -> str:
        return bytes([token]).decode(errors="replace") if token != END else "<|endoftext|>"


class ByteTokenizer(ByteCodec):
    """A `ByteCodec` with the further methods that the HTTP layer uses."""

    longest = 1

    def has(self, token: int) -> bool:
        return 0 <= token < VOCABULARY

    def special(self, token: int) -> bool:
        return token == END

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def echo(self, prompt: Sequence[int], *, special: bool = False) -> str:
        return "".join(map(self.detokenizer(special=special).push, prompt))


def logits_after(history: Sequence[int]) -> NDArray[np.float32]:
    """Return random logits that depend only on the tokens; lower-case letters are likelier."""
    seed = zlib.crc32(np.asarray(history, np.int64).tobytes())
    logits = np.random.default_rng(seed).normal(size=VOCABULARY).astype(np.float32) * 2
    logits[97:123] += 3
    return logits


class FakeCache:
    """A cache whose rows are lists of tokens; reading a released or too short row fails."""

    def __init__(self, rows: int) -> None:
        self.rows: list[list[int] | None] = [None] * rows

    def history(self, row: int, length: int) -> list[int]:
        tokens = self.rows[row] if length else []
        if tokens is None or len(tokens) < length:
            raise RuntimeError(f"row {row} does not hold {length} tokens")
        return tokens[:length]

    def copy(self, source: int, target: int, length: int) -> None:
        self.rows[target] = self.history(source, length)

    def release(self, row: int) -> None:
        self.rows[row] = None

    def read(self, row: int, start: int, stop: int) -> Block:
        return np.asarray(self.history(row, stop)[start:], np.float32)

    def write(self, row: int, start: int, block: Block) -> None:
        self.rows[row] = self.history(row, start) + [int(token) for token in block]


class FakeModel:
    """A model that counts its computations, and fails on request."""

    def __init__(self, rows: int = 4, staging: int = 2) -> None:
        self.cache = FakeCache(rows + staging)
        self.prefilled: list[int] = []
        self.batches: list[int] = []
        self.fail_prefill = self.fail_decode = False
        self.poison = -1  # a token that makes prefill fail

    def prefill(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        if self.fail_prefill or any(self.poison in chunk.ids for chunk in chunks):
            raise RuntimeError("prefill fails")
        self.prefilled.append(sum(len(chunk.ids) for chunk in chunks))
        rows = []
        for chunk in chunks:
            history = self.cache.history(chunk.row, chunk.start) + list(chunk.ids)
            self.cache.rows[chunk.row] = history
            ends = range(chunk.start + chunk.wanted, chunk.start + len(chunk.ids))
            rows += [logits_after(history[: end + 1]) for end in ends]
        return np.array(rows, np.float32).reshape(-1, VOCABULARY)

    def decode(self, ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> NDArray[np.float32]:
        if self.fail_decode:
            raise RuntimeError("decode fails")
        self.batches.append(len(ids))
        rows = []
        for row, (tokens, length) in enumerate(zip(ids, lengths, strict=True)):
            history = self.cache.history(row, length)
            for token in tokens:
                history = [*history, token]
                rows.append(logits_after(history))
            self.cache.rows[row] = history
        return np.stack(rows)


def request(prompt: str = "once", max_tokens: int = 8, *, seed: int | None = 0, **options: Any) -> GenerationRequest:
    """Return a request; sampled, with a seed."""
    names = {field.name for field in fields(SamplingParams)}
    sampling = SamplingParams(seed=seed, **{key: value for key, value in options.items() if key in names})
    others = {key: value for key, value in options.items() if key not in names}
    return GenerationRequest(tuple(prompt.encode()), max_tokens, sampling=sampling, **others)


def mailbox() -> Mailbox:
    return Mailbox(Bell())


def texts(items: Sequence[Item], choices: int = 1) -> list[str]:
    """Return the whole text of every choice."""
    result = [""] * choices
    for item in items:
        if isinstance(item, Update):
            result[item.index] += item.text
    return result


def reasons(items: Sequence[Item]) -> dict[int, str | None]:
    """Return the finish reason of every choice that has one."""
    return {item.index: item.finish_reason for item in items if isinstance(item, Update) and item.finish_reason}


def scores(items: Sequence[Item]) -> list[PromptScores]:
    """Return the log-probabilities of the prompts."""
    return [item for item in items if isinstance(item, PromptScores)]
