"""Paths as the Functions host decodes and matches them."""

import pytest

from generation.cli.host_path import PathError, compile_route, decode_path
from tests.support.path_forms import PROMPTS

ROUTE = compile_route("api", "generate/{*prompt}")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/a%2Fb%2fc", "/a%2Fb%2fc"),
        (b"/a%252Fb", "/a%2Fb"),
        (b"/%C3%A9%FF%C3%A9", "/é%FFé"),
        (b"/%E2%82%41", "/%E2%82A"),
        (b"/%C0%80", "/%C0%80"),
        (b"/%ED%A0%80", "/%ED%A0%80"),
        (b"/%F4%90%80%80", "/%F4%90%80%80"),
        (b"/%E2%2F%82", "/%E2%2F%82"),
        (b"/%f0%9f%99%82", "/🙂"),
        (b"/100%", "/100%"),
        (b"/%4", "/%4"),
        (b"/a/./b/../c", "/a/c"),
        (b"/a/b/..", "/a/"),
        (b"/a/.", "/a/"),
        (b"/../..", "/"),
        (b"/a//../b", "/a/b"),
        (b"/%2e%2e/a", "/a"),
        (b"/a/...", "/a/..."),
        (b"/", "/"),
    ],
)
def test_a_path_is_decoded(raw: bytes, path: str) -> None:
    assert decode_path(raw) == path


def test_an_escaped_nul_is_refused() -> None:
    with pytest.raises(PathError):
        decode_path(b"/a%00")


@pytest.mark.parametrize("form", [form for form in PROMPTS if "%2" not in form])
def test_a_catch_all_takes_what_stands_in_the_table(form: str) -> None:
    match = ROUTE.fullmatch(decode_path(f"/api/generate/{form}".encode()))
    assert match is not None
    assert (match["prompt"] or "") == PROMPTS[form]


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("a/{b}", "/api/a/x", {"b": "x"}),
        ("a/{b:int}", "/api/a/5", {"b": "5"}),
        ("a/{b}", "/api/a/x/", {"b": "x"}),
        ("a/{*b}", "/api/a/", {"b": None}),
        ("a/{*b}", "/api/a", {"b": None}),
        ("a/{*b}", "/api/a/x\ny", {"b": "x\ny"}),
        ("a/{*b}", "/api/a//x", None),
        ("a/{*b}", "/api/a//", None),
        ("a/{*b}", "/api//a/x", None),
        ("A.b", "/api/a.B", {}),
        ("A.b", "/api/a.B//", None),
        ("kiss", "/api/\u212ai\u017f\u017f", None),
        ("a.b", "/api/axb", None),
        ("a/{b}", "/api/a/x/y", None),
    ],
)
def test_route_templates(template: str, path: str, expected: dict[str, str] | None) -> None:
    match = compile_route("api", template).fullmatch(path)
    assert (match and match.groupdict()) == expected
