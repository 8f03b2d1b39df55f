"""Large answers in slices."""

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse

from generation.api import slices
from generation.api.slices import Slices, json_response, one_at_a_time
from tests.support.http import Message

_scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
)


async def _sent(content: dict[str, Any]) -> tuple[bytes, int]:
    """Return the body of a response as a server sends it, and the length that its headers promise."""
    body, length = [], 0

    async def send(message: Message) -> None:
        nonlocal length
        if message["type"] == "http.response.start":
            length = int(dict(message["headers"])[b"content-length"])
        else:
            body.append(message["body"])

    await (await json_response(content))({"type": "http"}, asyncio.Queue[Message]().get, send)
    return b"".join(body), length


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=2), _values, max_size=3))
def test_the_bytes_are_those_of_one_piece(content: dict[str, Any]) -> None:
    body, length = asyncio.run(_sent(content))
    assert body == bytes(JSONResponse(content).body)
    assert length == len(body)


async def test_long_lists_are_built_and_sent_in_pieces() -> None:
    content = {
        "numbers": list(range(50_000)),
        "objects": [None, *({"a": i, "é": 0.5} for i in range(5_000))],
        "nested": [{"text": "x" * 50, "lists": {"one": ["a"] * 3000}}] * 30,
    }
    body, length = await _sent(content)
    assert json.loads(body) == content
    assert length == len(body) > 10 * slices.PIECE_BYTES


async def test_others_have_their_turn_once_a_slice_is_used_up() -> None:
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "other")
    within = Slices()
    await within.turn()
    assert turns == []
    within._began -= slices.SLICE_S * 2
    await within.turn()
    assert turns == ["other"]


async def test_of_work_that_cannot_be_cut_each_turn_of_the_loop_has_one_piece() -> None:
    turn, turns = 0, list[int]()

    async def work() -> None:
        await one_at_a_time()
        turns.append(turn)

    working = [asyncio.ensure_future(work()) for _ in range(5)]
    while not all(one.done() for one in working):
        await asyncio.sleep(0)
        turn += 1
    assert len(set(turns)) == 5
