"""The prefix cache: keys and values of prompt prefixes, reused by requests that start with the same tokens.

The unit is a whole prefill chunk at a fixed position. A restored chunk equals a computed one bit for bit, so reuse
cannot change a response.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np

from generation.engine.interface import Block


def chunk_keys(prompt: Sequence[int], chunk: int, salt: str = "") -> Iterator[bytes]:
    """Yield a key for every whole chunk of the prompt without its last token.

    A key identifies `salt` and all tokens up to the end of the chunk. The last token is always computed, because its
    logits are needed to choose the first new token.
    """
    digest = hashlib.blake2b(len(salt).to_bytes(8) + salt.encode(), digest_size=16)
    for start in range(0, len(prompt) - chunk, chunk):
        digest.update(np.asarray(prompt[start : start + chunk], np.int64).tobytes())
        yield digest.copy().digest()


class PrefixCache:
    """A map from the keys of `chunk_keys` to blocks of the KV cache; evicts the least recently used first.

    Args:
        capacity_bytes: maximum total size of the blocks.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity = capacity_bytes
        self.size = 0
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()

    def match(self, keys: Sequence[bytes]) -> list[Block]:
        """Return the blocks of the longest prefix of `keys` that is in the cache."""
        found = []
        for key in keys:
            if key not in self._blocks:
                break
            found.append(key)
        # A chunk is useless without those before it, so the first chunk must be evicted last.
        for key in reversed(found):
            self._blocks.move_to_end(key)
        return [self._blocks[key] for key in found]

    def __contains__(self, key: bytes) -> bool:
        return key in self._blocks

    def add(self, key: bytes, block: Block) -> None:
        """Store a block, evicting others to stay within the capacity; skip a block that exceeds it alone."""
        if key in self._blocks or block.nbytes > self.capacity:
            return
        while self.size + block.nbytes > self.capacity:
            _, dropped = self._blocks.popitem(last=False)
            self.size -= dropped.nbytes
        self._blocks[key] = block
        self.size += block.nbytes
