"""The precisions that can be served on this processor."""

from generation.export.defaults import PRECISIONS, Precision
from generation.model.machine import has_exact_int8_products
from generation.model.opening import NEED_EXACT

HERE: tuple[Precision, ...] = tuple(
    precision for precision in PRECISIONS if precision not in NEED_EXACT or has_exact_int8_products()
)
