from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from generation.engine.request import GenerationRequest, Token, Update
from generation.engine.sequence import Sequence, score
from generation.sampling.params import SamplingParams
from tests.support.fakes import END, VOCABULARY, ByteCodec, request


def _feed(sequence: Sequence, data: bytes) -> list[Update]:
    updates = [sequence.accept(byte, None, {}) for byte in data]
    return [update for update in updates if update is not None]


def _sequence(max_tokens: int = 100, **options: Any) -> Sequence:
    return Sequence(request("x", max_tokens, **options), 0, ByteCodec())


def test_text_is_reported_as_it_comes() -> None:
    updates = _feed(_sequence(), b"abc")
    assert [update.text for update in updates] == ["a", "b", "c"]
    assert all(update.finish_reason is None for update in updates)


def test_an_unfinished_character_waits_for_its_end() -> None:
    updates = _feed(_sequence(), "aé".encode())
    assert [update.text for update in updates] == ["a", "é"]
    assert [token.id for token in updates[1].tokens] == [0xC3, 0xA9]
    assert [token.offset for token in updates[1].tokens] == [1, 1]


def test_an_unfinished_character_at_the_end_becomes_a_replacement() -> None:
    updates = _feed(_sequence(max_tokens=2), "aé".encode()[:2])
    assert (updates[-1].text, updates[-1].finish_reason, len(updates[-1].tokens)) == ("\ufffd", "length", 1)


def test_end_of_text_stops_and_is_a_token_without_text() -> None:
    sequence = _sequence()
    _feed(sequence, b"ab")
    update = sequence.accept(END, None, {})
    assert update is not None
    assert (update.text, update.tokens) == ("", (Token(END, 2),))
    assert (update.finish_reason, update.generated) == ("stop", 3)


def test_end_of_text_can_be_ignored() -> None:
    sequence = _sequence(ignore_eos=True)
    assert sequence.accept(END, None, {}) is None
    assert sequence.finish_reason is None
    updates = _feed(sequence, b"a")
    assert [token.id for token in updates[0].tokens] == [END, ord("a")]


def test_what_may_become_a_stop_string_is_held_back_with_its_tokens() -> None:
    sequence = _sequence(stop=("cde",))
    updates = _feed(sequence, b"abcdx")
    assert [update.text for update in updates] == ["a", "b", "cdx"]
    assert [len(update.tokens) for update in updates] == [1, 1, 3]


def test_a_stop_string_ends_it_and_its_tokens_are_left_out() -> None:
    sequence = _sequence(stop=("cde",))
    updates = _feed(sequence, b"abcde")
    assert "".join(update.text for update in updates) == "ab"
    assert sum(len(update.tokens) for update in updates) == 2
    assert (updates[-1].finish_reason, updates[-1].generated) == ("stop", 5)


def test_what_is_held_back_is_let_go_at_the_last_token() -> None:
    updates = _feed(_sequence(max_tokens=4, stop=("cde",)), b"abcd")
    assert "".join(update.text for update in updates) == "abcd"
    assert sum(len(update.tokens) for update in updates) == 4
    assert updates[-1].finish_reason == "length"


def test_ending_it_from_outside_lets_go_what_is_held_back() -> None:
    sequence = _sequence(stop=("cde",))
    _feed(sequence, b"abcd")
    update = sequence.finish("timeout")
    assert (update.text, update.finish_reason, update.generated) == ("cd", "timeout", 4)


def test_half_a_character_at_the_end_can_complete_a_stop_string() -> None:
    sequence = _sequence(stop=("b\ufffd",))
    _feed(sequence, b"ab\xe2")
    update = sequence.finish("length")
    assert (update.text, update.finish_reason) == ("", "stop")


def test_the_place_of_the_prompt_decides_the_index() -> None:
    asked = request("x", 1, number=2, choices=3)
    assert [Sequence(asked, choice, ByteCodec()).index for choice in range(3)] == [6, 7, 8]


def test_scores_are_log_probabilities_and_agree_exactly() -> None:
    logits = np.array([1, 3, 2, 3], np.float32)
    logprob, alternatives, rank = score(logits, 1, 2)
    assert list(alternatives) == [1, 3]
    assert (rank, score(logits, 2, 0)[2], score(logits, 0, 0)[2]) == (2, 3, 4)
    assert list(score(logits, 1, 1, [0, 2])[1]) == [1, 0, 2]
    assert logprob == alternatives[1]
    assert np.isclose(logprob, np.log(np.exp(3) / np.exp([1, 3, 2, 3]).sum()))
    assert score(logits, 0, 0)[1] == {}


def test_before_min_tokens_no_stop_string_counts() -> None:
    asked = GenerationRequest((120,), 100, sampling=SamplingParams(min_tokens=3), stop=("b",))
    updates = _feed(Sequence(asked, 0, ByteCodec()), b"abcdb")
    assert "".join(update.text for update in updates) == "abcd"
    assert (updates[-1].finish_reason, updates[-1].generated) == ("stop", 5)


def test_an_echoed_prompt_and_its_text_share_a_character() -> None:
    smile = "🙂".encode()
    for echo, text in ((True, "🙂"), (False, "\ufffd")):
        asked = GenerationRequest((65, 66, *smile[:3]), 1, echo=echo)
        (update,) = _feed(Sequence(asked, 0, ByteCodec()), smile[3:])
        assert update.text == text


class _PaddedCodec(ByteCodec):
    """Two ends of text, an id that is no token, and logits for more ids than there are tokens."""

    vocabulary = 100
    holes = frozenset({50})
    ends_of_text: tuple[int, ...] = (7, 9)


def _likeliest(*ids: int) -> NDArray[np.float32]:
    logits = np.zeros(VOCABULARY, np.float32)
    for place, token in enumerate(ids):
        logits[token] = 20 - place
    return logits


@pytest.mark.parametrize("end", [7, 9])
def test_any_end_of_text_stops(end: int) -> None:
    sequence = Sequence(request(do_sample=False), 0, _PaddedCodec())
    sequence.take(_likeliest(97))
    update = sequence.take(_likeliest(end))
    assert update is not None
    assert (update.finish_reason, sequence.generated) == ("stop", 2)


def test_ids_that_are_no_tokens_are_neither_chosen_nor_reported() -> None:
    sequence = Sequence(request(do_sample=False, logprobs=3), 0, _PaddedCodec())
    logits = _likeliest(120, 50, 65, 66, 67, 68)
    update = sequence.take(logits)
    assert update is not None
    (token,) = update.tokens
    assert (token.id, list(token.alternatives)) == (65, [65, 66, 67])
    # The probability is shared by all logits, as in transformers.
    assert token.logprob == pytest.approx(float(logits[65] - np.log(np.exp(logits.astype(np.float64)).sum())), abs=1e-5)


def test_a_further_token_may_end_the_sequence() -> None:
    sequence = _sequence(stop_token_ids=(ord("c"),), ignore_eos=True)
    updates = _feed(sequence, b"abc")
    assert [update.text for update in updates] == ["a", "b", ""]
    assert (updates[-1].finish_reason, updates[-1].generated) == ("stop", 3)
    assert [token.id for token in updates[-1].tokens] == [ord("c")]


def test_the_text_of_what_ended_the_sequence_may_be_included() -> None:
    by_token = _feed(_sequence(stop_token_ids=(ord("c"),), include_stop=True), b"abc")
    assert ("".join(update.text for update in by_token), by_token[-1].finish_reason) == ("abc", "stop")
    by_string = _feed(_sequence(stop=("bc",), include_stop=True), b"abc")
    assert ("".join(update.text for update in by_string), by_string[-1].finish_reason) == ("abc", "stop")


def test_special_tokens_may_be_shown() -> None:
    sequence = _sequence(special_tokens=True, ignore_eos=True)
    assert [update.text for update in (sequence.accept(END, None, {}),) if update] == ["<|endoftext|>"]
    at_end = _sequence(special_tokens=True, include_stop=True).accept(END, None, {})
    assert at_end is not None
    assert (at_end.text, at_end.finish_reason) == ("<|endoftext|>", "stop")


def test_no_stop_string_ends_a_sequence_before_so_many_tokens() -> None:
    updates = _feed(_sequence(stop=("b", "cd"), min_tokens=3), b"abcd")
    assert ("".join(update.text for update in updates), updates[-1].generated) == ("ab", 4)


def test_tokens_that_a_stop_string_cut_off_are_told_apart() -> None:
    updates = _feed(_sequence(stop=("bc",)), b"abc")
    assert [token.id for update in updates for token in update.tokens] == [ord("a")]
    assert updates[-1].cut == (ord("b"), ord("c"))
