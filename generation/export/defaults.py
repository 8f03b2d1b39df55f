"""Default model, precision and cache type of an export, without imports, so that the help text appears at once."""

from typing import Literal, get_args

# int8-blocks is int8 with a head that has a scale for each block of a row (see blocks.py).
Precision = Literal["fp32", "int8", "int8-blocks", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DEFAULT_PRECISION: Precision = "int8"

CacheType = Literal["float32", "int8"]
CACHE_TYPES: tuple[CacheType, ...] = get_args(CacheType)
# Exact weights get an exact cache.
DEFAULT_CACHES: dict[Precision, CacheType] = {
    "fp32": "float32", "int8": "int8", "int8-blocks": "int8", "int4": "int8",
}  # fmt: skip

DEFAULT_MODEL = "distilbert/distilgpt2"
# Pinned commits, because a branch can change. Other models use their main branch, and the artifact records the commit.
PINNED_REVISIONS = {DEFAULT_MODEL: "2290a62682d06624634c1f46a6ad5be0f47f38aa"}
# SHA-256 of the weights at that commit.
PINNED_FILES = {
    DEFAULT_MODEL: {"model.safetensors": "e1ff18884359fe8beb795a5f414feb85a6ce3d929ad019c0d958c039d2b94a1b"}
}

# Draft table: tokens of text to learn from, and maximum size in bytes.
DRAFT_TOKENS = 262_144
DRAFT_SIZE = 500_000
