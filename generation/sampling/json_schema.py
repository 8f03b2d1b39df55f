"""Prepare a JSON schema for llguidance: replace the formats of dates and times by stricter patterns.

llguidance's own patterns accept 29 February in every year, and 60 seconds, which many parsers reject.
"""

from typing import Any

_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_BY_FOUR = "(?:0[48]|[2468][048]|[13579][26])"
_DAY = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = f"(?:{_YEAR}-{_DAY}|(?:[0-9]{{2}}{_BY_FOUR}|{_BY_FOUR}00)-02-29)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
# https://www.rfc-editor.org/rfc/rfc3339#section-5.6
PATTERNS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}T{_TIME}$"}

_SCHEMA = {"additionalItems", "additionalProperties", "items"}
_SCHEMAS_BY_NAME = {"$defs", "definitions", "patternProperties", "properties"}
_SCHEMAS = {"allOf", "anyOf", "items", "oneOf", "prefixItems"}


def with_patterns(schema: Any) -> Any:
    """Return `schema` with each ``format`` in `PATTERNS` replaced by its pattern, at every level."""
    if not isinstance(schema, dict):
        return schema
    result = {key: _inner(key, value) for key, value in schema.items()}
    kind = result.get("format")
    if isinstance(kind, str) and kind in PATTERNS:
        del result["format"]
        # `allOf`, because the schema may have a `pattern` of its own.
        result["allOf"] = [*result.get("allOf", ()), {"pattern": PATTERNS[kind]}]
    return result


def _inner(key: str, value: Any) -> Any:
    if key in _SCHEMAS_BY_NAME and isinstance(value, dict):
        return {name: with_patterns(one) for name, one in value.items()}
    if key in _SCHEMAS and isinstance(value, list):
        return [with_patterns(one) for one in value]
    return with_patterns(value) if key in _SCHEMA else value
