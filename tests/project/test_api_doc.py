"""``docs/api.md`` says what is so."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from benchmarks.server import serve
from generation import errors
from generation.api.bodies import GenerateBody
from generation.api.completions_body import CompletionBody
from generation.api.openapi_operations import OPERATIONS
from generation.config import ROOT
from tests.support.api_doc import PATH, PROOFS, TABLE, TEMPLATE, Exchange, exchanges, field_table, shape

TEXT = PATH.read_text(encoding="utf-8")
EXCHANGES = list(exchanges(TEXT))


def _name(exchange: Exchange) -> str:
    return f"{exchange.method} {exchange.path[:40]} {exchange.body[:60]}"


def _events(text: str) -> list[Any]:
    blocks = [block.removeprefix("data: ") for block in text.strip().split("\n\n")]
    return [block if block == "[DONE]" else shape(json.loads(block)) for block in blocks]


@pytest.fixture(scope="module")
def chatting() -> Iterator[httpx.Client]:
    with serve(CHAT_TEMPLATE=TEMPLATE) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("exchange", EXCHANGES, ids=_name)
def test_a_documented_request_gets_the_documented_answer(
    client: httpx.Client, chatting: httpx.Client, exchange: Exchange
) -> None:
    """Of text and numbers the shape counts: they may differ between kinds of processors."""
    response = exchange.send(chatting if exchange.chats else client)
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (exchange.status, exchange.media)
    if exchange.media == "text/event-stream":
        assert _events(response.text) == _events(exchange.answer)
    else:
        assert shape(response.json()) == shape(json.loads(exchange.answer))


def test_an_error_is_documented_word_for_word(client: httpx.Client) -> None:
    for exchange in EXCHANGES:
        if exchange.status >= 400:
            assert exchange.send(client).json() == json.loads(exchange.answer)


def test_every_route_is_documented() -> None:
    for one in OPERATIONS:
        assert f"`{one.method.upper()} /api/{one.path.replace('{*', '{')}`" in TEXT
    assert {exchange.path.split("?")[0].rpartition("/")[0] for exchange in EXCHANGES} >= {
        "/api",
        "/api/v1",
        "/api/generate",
    }


@pytest.mark.parametrize("name", ["CompletionBody", "GenerateBody", "ChatBody", "HfParameters"])
def test_the_tables_of_fields_are_those_of_the_code(name: str) -> None:
    """``python -m tests.support.api_doc`` writes them anew."""
    (table,) = (match[0] for match in TABLE.finditer(TEXT) if match[1] == name)
    assert field_table(name) in table


def test_the_template_of_the_document_is_the_one_that_answers() -> None:
    assert f"CHAT_TEMPLATE='{TEMPLATE}'" in TEXT


def test_every_field_is_in_its_table() -> None:
    assert set(PROOFS) == CompletionBody.model_fields.keys()
    for name in GenerateBody.model_fields:
        assert f"| `{name}` |" in field_table("GenerateBody")


def test_the_tests_that_it_names_exist() -> None:
    found = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {test for tests in PROOFS.values() for test in tests} <= found


def test_every_error_code_is_documented() -> None:
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.ApiError)]
    assert len(kinds) > 8
    for kind in kinds:
        assert re.search(rf"\| {kind.status} \|.*`{kind.code}`.* \|", TEXT), kind
