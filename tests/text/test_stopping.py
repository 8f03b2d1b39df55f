from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.text.stopping import StopMatcher


def _through(stops: list[str], parts: list[str]) -> tuple[str, bool]:
    matcher, result = StopMatcher(stops), ""
    for part in parts:
        text, matched = matcher.push(part)
        result += text
        if matched:
            return result, True
    return result + matcher.flush(), False


def test_without_stop_strings_all_goes_through_at_once() -> None:
    assert StopMatcher([]).push("anything") == ("anything", False)


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.push("the E") == ("the ", False)
    assert matcher.push("N") == ("", False)
    assert matcher.push("d") == ("ENd", False)
    assert matcher.flush() == ""


def test_what_is_held_back_is_let_go_at_the_end() -> None:
    matcher = StopMatcher(["END"])
    matcher.push("xEN")
    assert matcher.flush() == "EN"
    assert matcher.flush() == ""


@pytest.mark.parametrize("parts", [["aENDb"], ["aE", "ND"], ["a", "E", "N", "D", "x"]])
def test_a_stop_string_is_found_across_parts(parts: list[str]) -> None:
    assert _through(["END"], parts) == ("a", True)


def test_the_stop_string_that_has_come_furthest_decides_how_much_is_held_back() -> None:
    assert _through(["abc", "bd"], ["a", "b", "c"]) == ("", True)
    assert _through(["bd", "abc"], ["a", "b", "c"]) == ("", True)


def test_a_stop_string_within_another_comes_first() -> None:
    assert _through(["abcd", "bc"], ["abcd"]) == _through(["abcd", "bc"], list("abcd")) == ("a", True)


def test_of_two_that_end_together_the_longer_counts() -> None:
    assert _through(["c", "abc"], ["xabcd"]) == _through(["c", "abc"], list("xabcd")) == ("x", True)


def test_a_stop_string_that_begins_like_itself() -> None:
    assert _through(["aab"], ["a", "a", "a", "b"]) == ("a", True)


def _naive(stops: list[str], text: str) -> tuple[str, bool]:
    """Stop at the first character that completes a stop string, as a reader character by character would."""
    for end in range(1, len(text) + 1):
        found = [text[:end].find(stop) for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: min(found)], True
    return text, False


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.lists(st.text("abc", max_size=1)))
def test_character_by_character_it_is_the_naive_search(stops: list[str], parts: list[str]) -> None:
    assert _through(stops, parts) == _naive(stops, "".join(parts))


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.text("abc", max_size=30),
    st.lists(st.integers(0, 30)),
)
def test_how_the_text_is_cut_makes_no_difference(stops: list[str], text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    parts = [text[a:b] for a, b in pairwise(places)]
    assert _through(stops, parts) == _naive(stops, text)


def test_the_stop_string_may_be_let_through() -> None:
    matcher = StopMatcher(["END", "and"], include=True)
    assert matcher.push("the E") == ("the ", False)
    assert matcher.push("ND and") == ("END", True)


def test_a_stop_string_may_begin_but_not_end_where_none_is_looked_for() -> None:
    matcher = StopMatcher(["ab"])
    assert matcher.push("ab ab a", match=False) == ("ab ab ", False)
    assert matcher.push("b!") == ("", True)
