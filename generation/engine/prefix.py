"""The prefix cache: beginnings of prompts, kept for requests that start with the same text.

The unit is a whole prefill chunk at its own place in the prompt. A restored chunk is, bit for bit, what prefill would
have computed, so an answer cannot depend on reuse.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np

from generation.engine.interface import Block


def chunk_keys(prompt: Sequence[int], chunk: int, salt: str = "") -> Iterator[bytes]:
    """Yield a key for every whole chunk of the prompt but the last token; it identifies all tokens up to its end.

    The last token is always computed, since its logits choose the first new token. Keys of another salt are others.
    """
    digest = hashlib.blake2b(len(salt).to_bytes(8) + salt.encode(), digest_size=16)
    for start in range(0, len(prompt) - chunk, chunk):
        digest.update(np.asarray(prompt[start : start + chunk], np.int64).tobytes())
        yield digest.copy().digest()


class PrefixCache:
    """Chunks of the KV cache by the tokens that led to them; the least recently used are evicted first."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity = capacity_bytes
        self.size = 0
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()

    def match(self, keys: Sequence[bytes]) -> list[Block]:
        """Return the blocks of the longest known beginning of `keys`."""
        found = []
        for key in keys:
            if key not in self._blocks:
                break
            found.append(key)
        # Later chunks are useless without the earlier ones, so the earlier ones must be dropped last.
        for key in reversed(found):
            self._blocks.move_to_end(key)
        return [self._blocks[key] for key in found]

    def __contains__(self, key: bytes) -> bool:
        return key in self._blocks

    def add(self, key: bytes, block: Block) -> None:
        """Keep a block, within the capacity."""
        if key in self._blocks or block.nbytes > self.capacity:
            return
        while self.size + block.nbytes > self.capacity:
            _, dropped = self._blocks.popitem(last=False)
            self.size -= dropped.nbytes
        self._blocks[key] = block
        self.size += block.nbytes
