"""API keys of the app's own, as bearer tokens."""

import pytest

from generation.api.keys import ApiKeys
from generation.errors import UnauthorizedError

KEYS = ApiKeys(["first-key", "second-key"])


@pytest.mark.parametrize("header", ["Bearer first-key", "Bearer second-key", "bearer first-key", "BEARER  first-key "])
def test_any_of_the_keys_is_accepted(header: str) -> None:
    KEYS.check(header)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Bearer first-key2", "Bearer first-ke", "first-key", "Basic first-key",
     "Bearer first-key second-key", "Bearer first-key,second-key", "Bearer \udce9", "Bearer FIRST-KEY"],
    ids=ascii,
)  # fmt: skip
def test_anything_else_is_refused_without_the_keys_in_the_message(header: str) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        KEYS.check(header)
    assert caught.value.headers() == {"WWW-Authenticate": "Bearer"}
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert "first" not in caught.value.message


def test_the_message_says_whether_the_key_is_missing_or_wrong() -> None:
    for header, says in (("", "missing"), ("Bearer wrong", "wrong")):
        with pytest.raises(UnauthorizedError, match=says):
            KEYS.check(header)


def test_without_keys_the_operation_is_not_wrapped() -> None:
    async def operation(_: object) -> None: ...

    assert ApiKeys([]).guard(operation) is operation  # type: ignore[arg-type, comparison-overlap]
