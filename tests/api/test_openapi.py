"""The OpenAPI document: complete, valid, and true."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from benchmarks.server import serve
from generation.api import openapi_page
from generation.api.bodies import GenerateBody, parse_json
from generation.api.chat_body import ChatMessage
from generation.api.completions_body import CompletionBody
from generation.api.hf_body import HfParameters
from generation.api.openai_body import StreamOptions
from generation.api.openapi_document import document
from generation.api.openapi_operations import EVENTS, HTML, JSON, OPERATIONS, TEXT, Operation
from tests.support.templates import CHATML

DOCUMENT = document(keys="function")
EXAMPLES = [(one, name) for one in OPERATIONS for name in one.examples if one.body]


@pytest.fixture(scope="module")
def chatting() -> Iterator[httpx.Client]:
    """The bundled model with a chat template."""
    with serve(CHAT_TEMPLATE=CHATML) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    import function_app

    yield function_app.app
    function_app.service.wait()
    function_app.service.stop()


def _check(schema: dict[str, Any], value: object) -> None:
    OAS31Validator(schema | {"components": DOCUMENT["components"]}).validate(value)


def _answer_schema(one: Operation, media: str) -> dict[str, Any]:
    content = DOCUMENT["paths"]["/" + one.path.replace("{*", "{")][one.method]["responses"]["200"]["content"][media]
    return cast("dict[str, Any]", content["x-event"] if media == EVENTS else content["schema"])


def _check_answer(one: Operation, response: httpx.Response) -> None:
    assert response.status_code == 200, response.text
    media = response.headers["content-type"].split(";")[0]
    if media == JSON:
        _check(_answer_schema(one, media), response.json())
        return
    if media in (TEXT, HTML):
        return
    *events, _ = response.text.split("\n\n")
    assert (events[-1] == "data: [DONE]") == one.done
    if one.done:
        events.pop()
    for event in events:
        _check(_answer_schema(one, media), json.loads(event.removeprefix("data: ")))


@pytest.mark.parametrize("keys", ["function", "bearer", "anonymous"])
def test_it_is_a_valid_openapi_document(keys: str) -> None:
    assert list(OpenAPIV31SpecValidator(cast("Any", document(keys=keys))).iter_errors()) == []


def test_it_is_served_without_a_key(client: httpx.Client) -> None:
    response = client.get("/openapi.json")
    assert response.headers["content-type"] == JSON
    assert response.json() == json.loads(json.dumps(DOCUMENT))


def test_it_has_every_function_and_no_other(app: Any) -> None:
    app.functions_bindings = None  # an app lists its functions only once, unless it forgets that it has
    found = {}
    for function in app.get_functions():
        trigger = function.get_trigger()
        if trigger.get_binding_name() != "httpTrigger":
            continue
        keyed = str(trigger.auth_level) != "ANONYMOUS"
        found[function.get_function_name()] = (trigger.route, [str(method) for method in trigger.methods], keyed)
    methods = {one.name: [one.method.upper(), *(["HEAD"] if one.head else [])] for one in OPERATIONS}
    assert found == {one.name: (one.path, methods[one.name], one.keyed) for one in OPERATIONS}


def test_head_is_described_where_it_is_answered(client: httpx.Client) -> None:
    for one in OPERATIONS:
        described = DOCUMENT["paths"]["/" + one.path.replace("{*", "{")]
        assert ("head" in described) == one.head
        if one.head:
            got, response = client.get(f"/{one.path}"), client.head(f"/{one.path}")
            assert (response.status_code, response.content) == (200, b"")
            assert response.headers["content-type"] == got.headers["content-type"]
            assert "content" not in described["head"]["responses"]["200"]
            assert described["head"]["responses"].keys() == described["get"]["responses"].keys()


def test_the_key_is_asked_for_where_the_host_asks() -> None:
    for one in OPERATIONS:
        described = DOCUMENT["paths"]["/" + one.path.replace("{*", "{")][one.method]
        assert bool(described["security"]) == one.keyed == ("401" in described["responses"])
    for path in document(keys="bearer")["paths"].values():
        assert all(described["security"] in ([], [{"bearer": []}]) for described in path.values())
    for path in document(keys="anonymous")["paths"].values():
        assert all(not described["security"] and "401" not in described["responses"] for described in path.values())


@pytest.mark.parametrize(("one", "name"), EXAMPLES, ids=[f"{one.name} {name}" for one, name in EXAMPLES])
def test_an_example_gets_the_answer_that_is_described(
    client: httpx.Client, chatting: httpx.Client, one: Operation, name: str
) -> None:
    assert one.body is not None
    client = chatting if one.name == "chat_completions" else client
    _check({"$ref": f"#/components/schemas/{one.body.__name__}"}, one.examples[name])
    _check_answer(one, client.post(f"/{one.path}", json=one.examples[name]))


def test_the_example_in_the_path_gets_the_answer_that_is_described(client: httpx.Client) -> None:
    (one,) = (one for one in OPERATIONS if one.query)
    for values in one.examples.values():
        query = {name: value for name, value in values.items() if name != "prompt"}
        _check_answer(one, client.get(f"/generate/{values['prompt']}", params=query))


@pytest.mark.parametrize(
    "one", [one for one in OPERATIONS if one.method == "get" and not one.query], ids=lambda one: one.name
)
def test_what_is_got_is_as_described(client: httpx.Client, one: Operation) -> None:
    name = client.get("/v1/models").json()["data"][0]["id"]
    _check_answer(one, client.get("/" + one.path.replace("{model}", name)))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("v1/completions", {"prompt": 1}, 400),
        ("v1/completions", {"model": "x"}, 404),
        ("v1/completions", {"timeout_s": 1e-9}, 503),
        ("v1/chat/completions", {"messages": []}, 400),
        ("generate", {}, 400),
        ("tokenize", {}, 400),
        ("detokenize", {}, 400),
        ("hf", {"inputs": 1}, 422),
        ("hf", {"inputs": "x" * (1 << 20)}, 413),
        *[
            (path, {"prompt": "x" * (1 << 20)}, 413)
            for path in ("v1/completions", "generate", "tokenize", "detokenize")
        ],
    ],
)
def test_an_error_is_as_described(client: httpx.Client, path: str, body: dict[str, Any], status: int) -> None:
    response = client.post(f"/{path}", json=body)
    assert response.status_code == status
    described = DOCUMENT["paths"][f"/{path}"]["post"]["responses"][str(status)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][f"Error{status}"]
    _check(described["content"][JSON]["schema"], response.json())
    assert response.headers.keys() >= {name.lower() for name in described["headers"]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": ["a", "b"]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [-1]},
        {"prompt": {"a": 1}},
        {"prompt": ["a", 1]},
        {"stop": ["a", "b"]},
        {"stop": ["a"] * 5},
        {"stop": ""},
        {"n": None, "top_p": None, "stop": None, "min_p": None},
        {"n": 0},
        {"logprobs": 21},
        {"logit_bias": [["text", 1], [5, False]]},
        {"logit_bias": [["text"]]},
        {"structured_outputs": {"json": {"type": "object"}}},
        {"structured_outputs": {"structural_tag": "x"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"truncation_side": "middle"},
        {"guided_choice": []},
        {"logit_bias": {"1": 200}},
        {"stream_options": {"include_usage": True}},
        {"stream_options": {"other": True}},
        {"tempreture": 1},
    ],
    ids=str,
)
def test_it_says_of_a_body_what_the_server_says(body: dict[str, Any]) -> None:
    """Negative token ids are the one exception: the server refuses them later, when it knows the vocabulary."""
    try:
        parse_json(CompletionBody, json.dumps(body).encode())
        accepted = body != {"prompt": [-1]}
    except Exception:  # noqa: BLE001
        accepted = False
    schema = DOCUMENT["components"]["schemas"]["CompletionBody"] | {"components": DOCUMENT["components"]}
    assert OAS31Validator(schema).is_valid(body) == accepted


def test_every_field_has_a_description() -> None:
    bodies: list[Any] = [one.body for one in OPERATIONS if one.body]
    for body in (*bodies, StreamOptions, HfParameters, ChatMessage):
        name = body.__name__
        for field, schema in DOCUMENT["components"]["schemas"][name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"


def test_every_field_of_the_body_can_be_a_query_parameter() -> None:
    described = DOCUMENT["paths"]["/generate/{prompt}"]["get"]["parameters"]
    assert {one["name"] for one in described} == GenerateBody.model_fields.keys()
    assert [one["name"] for one in described if one["in"] == "path"] == ["prompt"]


def _defaults(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if "default" in value:
            yield value["default"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _defaults(one)


def test_no_default_is_a_list_or_an_object() -> None:
    """Generators of clients drop the operation, or send the default as text."""
    found = list(_defaults(DOCUMENT["components"]["schemas"]))
    assert len(found) > 50
    assert not [one for one in found if isinstance(one, list | dict)]


def test_an_event_is_an_object_with_its_data(client: httpx.Client) -> None:
    content = DOCUMENT["paths"]["/v1/completions"]["post"]["responses"]["200"]["content"][EVENTS]
    response = client.post("/v1/completions", json={"stream": True, "max_tokens": 2})
    for event in response.text.split("\n\n")[:-1]:
        _check(content["schema"], {"data": event.removeprefix("data: ")})
    for wrong in ({}, {"data": 5}, "data: x"):
        assert not OAS31Validator(content["schema"] | {"components": DOCUMENT["components"]}).is_valid(wrong)


def test_the_page_shows_every_route_and_field_and_loads_nothing(client: httpx.Client) -> None:
    response = client.get("/reference")
    assert response.headers["content-type"].startswith(HTML)
    assert "default-src 'none'" in response.headers["content-security-policy"]
    for one in OPERATIONS:
        assert f"<code>/api/{one.path.replace('{*', '{')}</code>" in response.text
    for field in CompletionBody.model_fields:
        assert f"<code>{field}</code>" in response.text
    assert "<script" not in response.text
    assert "http" not in response.text[: response.text.index("<style>")]
    digest = base64.b64encode(hashlib.sha256(openapi_page.STYLE.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in response.headers["content-security-policy"]
    assert f"<style>{openapi_page.STYLE}</style>" in response.text


def test_every_link_of_the_page_leads_to_something_on_it() -> None:
    texts = {"type": "array", "items": {"type": "string"}}
    response = {"description": "texts", "content": {JSON: {"schema": {"$ref": "#/components/schemas/Texts"}}}}
    changed = json.loads(json.dumps(DOCUMENT))
    changed["components"]["schemas"]["Texts"] = texts
    changed["paths"]["/health"]["get"]["responses"]["200"] = response
    page = openapi_page.render(changed)
    assert "list of string" in page.partition('<h3 id="Texts">')[2]
    linked, known = (set(re.findall(pattern, page)) for pattern in ('href="#([^"]+)"', 'id="([^"]+)"'))
    assert "Texts" in linked
    assert linked - known == set()
