"""The harness of hostile requests: what it sends, what it says, and a short run of it."""

import asyncio

import httpx
import pytest

from benchmarks.hostile import HEALTH_S, SILENCE_S, Seen, attack, beside_a_list, findings
from benchmarks.hostile_requests import SENT
from benchmarks.server import Served


def test_what_is_in_bounds_is_no_finding() -> None:
    assert findings("x", Seen(gaps=[SILENCE_S], probes=[HEALTH_S] * 200)) == []


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Seen(gaps=[0.01, 0.5], probes=[0.01]), "the stream was silent for 500 ms"),
        (Seen(gaps=[0.01], probes=[0.01] * 97 + [0.3] * 3), "health took 300 ms"),
        (Seen(gaps=[], probes=[0.01]), "the stream was silent"),
    ],
)
def test_what_is_out_of_bounds_is_named(seen: Seen, says: str) -> None:
    (found,) = findings("x", seen)
    assert found.startswith(f"x: {says}")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("a prompt of a million letters", "400"),
        ("a report of 130 prompts x 16", "400"),
        ("10,000 names in a query", "414"),
        ("131,000 wrong token ids", "400"),
        ("131,000 token ids", "200"),
        ("80,000 unknown fields", "400"),
        ("60,000 wrong biases", "400"),
        ("500,000 ids in a prompt", "413"),
        ("a regular expression of 2,000 characters", "200"),
    ],
)
async def test_each_kind_is_answered_as_it_should_be(served: Served, name: str, status: str) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        assert dict(await SENT[name](client)) == {status: 1}


@pytest.mark.heavy
def test_every_kind_leaves_the_server_alive_and_no_stream_refused(served: Served) -> None:
    """Times are not judged: on a busy machine they say nothing."""
    lines, broken = asyncio.run(attack(served.url, served.process.pid, list(SENT)))
    assert len(lines) == len(SENT) + 2
    assert [one for one in broken if "refused" in one] == []
    rows = asyncio.run(beside_a_list(served.url, 2))
    assert [row.split("|")[3].strip() for row in rows[2:]] == ["0"] * 5, "no short request is refused"
