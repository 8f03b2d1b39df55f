"""Answers within bounds, on the bundled model and on the tokenizer alone."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import llguidance
import numpy as np
import openai
import pytest
import tokenizers
from openai import OpenAI

from generation.config import ROOT, Settings
from generation.errors import InvalidRequestError
from generation.model.artifact import load_tokenizer, read_config
from generation.sampling import grammar as module
from generation.sampling.grammar import Constraint, make_guide
from generation.sampling.guide import GrammarGuide
from generation.text.byte_level import ByteLevelTokenizer
from generation.text.context import ContextTokenizer
from generation.text.tokenizer import Tokenizer
from tests.support.completions import choices, texts, whole
from tests.support.tokenizers import word_piece

PROMPT = "Once upon a time there was a"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(Settings.from_environment().model_dir, read_config(Settings.from_environment().model_dir))


async def _maker(tokenizer: Tokenizer, **asked: Any) -> Callable[[], GrammarGuide]:
    ((kind, value),) = asked.items()
    constraint = Constraint(kind, value if isinstance(value, str) else json.dumps(value), f"guided_{kind}")
    maker = await make_guide(tokenizer, constraint)
    assert maker is not None
    return maker


def _walk(guide: GrammarGuide, tokenizer: Tokenizer, seed: int, limit: int = 200) -> str:
    """Go on with random tokens of those allowed, up to the end of the text."""
    random = np.random.default_rng(seed)
    tokens: list[int] = []
    while len(tokens) < limit:
        token = int(random.choice(np.flatnonzero(guide.allowed())))
        if token in tokenizer.ends_of_text:
            break
        guide.advance(token)
        tokens.append(token)
    return tokenizer.decode(tokens)


STRANGE = [
    "ab",
    "abc",
    'he said "hi"',
    "back\\slash",
    "new\nline\r\n",
    "日本語",
    "é",
    "😀",
    "\x00",
    "\x7f",
    "a/b",
    " ",
    "%'",
]


def test_the_answer_is_one_of_the_choices(api: OpenAI) -> None:
    given = [" cat", " little girl named Lily", ' "quoted" one']
    answer = whole(api, prompt=PROMPT, guided_choice=given, n=8, seed=1, max_tokens=40)
    assert set(texts(answer)) <= set(given)
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}


@pytest.mark.parametrize("choice", STRANGE, ids=ascii)
def test_a_choice_may_be_any_text(api: OpenAI, choice: str) -> None:
    assert texts(whole(api, prompt=PROMPT, guided_choice=[choice], max_tokens=40)) == [choice]


async def test_every_choice_can_be_the_answer(tokenizer: Tokenizer) -> None:
    """Each of 13 is missed by 300 walks with odds below 1e-9, were first tokens equally likely among them."""
    maker = await _maker(tokenizer, choice=STRANGE)
    assert {_walk(maker(), tokenizer, seed) for seed in range(300)} == set(STRANGE)


@pytest.mark.parametrize(
    "regex",
    [r"[0-9]{4}-[0-9]{2}", r" (yes|no)\.", r"[A-Z][a-z]+( [a-z]+){2,4}\.", r"(a/b|\\|\"|é){1,4}x", r"[\p{L} ]{5,9}!"],
)
def test_the_answer_matches_the_expression(api: OpenAI, regex: str) -> None:
    answer = whole(api, prompt=PROMPT, guided_regex=regex, n=4, seed=2, max_tokens=60)
    python = regex.replace(r"[\p{L} ]", r"([^\W\d_]| )")
    for choice in answer.choices:
        if choice.finish_reason == "stop":
            assert re.fullmatch(python, choice.text)
    assert "stop" in {choice.finish_reason for choice in answer.choices}


def test_a_guided_answer_may_be_cut_off_by_its_length(api: OpenAI) -> None:
    (choice,) = choices(whole(api, prompt=PROMPT, guided_regex="[0-9]{50,60}", max_tokens=5, seed=1))
    assert choice["finish_reason"] == "length"
    assert re.fullmatch("[0-9]+", choice["text"])


def test_the_most_biased_of_the_choices_wins(api: OpenAI) -> None:
    given = ["0", "1", "2"]
    ids = {text: api.post("/../tokenize", body={"prompt": text}, cast_to=dict)["tokens"] for text in given}
    for text in given:
        body = {"guided_choice": given, "logit_bias": {str(ids[text][0]): 100}}
        assert texts(whole(api, prompt=PROMPT, seed=1, **body)) == [text]
    everything_else = {str(ids["1"][0]): -100, str(ids["2"][0]): -100}
    assert texts(whole(api, prompt=PROMPT, guided_choice=given, logit_bias=everything_else)) == ["0"]


@pytest.mark.parametrize(
    "sampling", [{"top_k": 1}, {"top_p": 0.1}, {"min_p": 1}, {"typical_p": 0.1}, {"temperature": 2}]
)
def test_sampling_rules_choose_among_what_is_allowed(api: OpenAI, sampling: dict[str, float]) -> None:
    answer = whole(api, prompt=PROMPT, guided_choice=["x9", "q7"], seed=1, **sampling)
    assert texts(answer)[0] in {"x9", "q7"}


def test_logprobs_are_the_models_own(api: OpenAI) -> None:
    """A guide limits the choice; what the model thinks of it stays visible."""
    (choice,) = choices(whole(api, prompt=PROMPT, guided_choice=["qqq"], logprobs=1))
    assert all(-30 < value < -0.1 for value in choice["logprobs"]["token_logprobs"][:1])


WRONG = [
    ("[a-z", "unclosed character class"),
    ("(", "unclosed group"),
    ("*a", "repetition operator missing expression"),
    ("a{2,1}", "invalid repetition count range"),
    (r"(?=a)", "look-around"),
    (r"\1", "backreferences are not supported"),
    (r"\bword", "not supported"),
    ("a$b", "not supported"),
    ("\\", "lone backslash"),
    ("a\\\\\\", "lone backslash"),
    (r"[^\x00-\x{10FFFF}]", "no text matches it"),
    (r"<\|endoftext\|>", "no token can come next"),
    ("a{100000}", "too large"),
    ("(a{100}){1000}", "too large"),
    ("(((a{100}){100}){100}){100}", "too large"),
    ("(a?){2000}a{2000}", "too large"),
]


@pytest.mark.parametrize(("regex", "says"), WRONG)
def test_a_wrong_or_costly_expression_is_refused(api: OpenAI, regex: str, says: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        whole(api, prompt=PROMPT, guided_regex=regex)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "guided_regex")
    assert says in caught.value.message


def test_the_end_of_a_text_is_no_part_of_a_choice(api: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot be part of an answer") as caught:
        whole(api, prompt=PROMPT, guided_choice=["a", "b<|endoftext|>"])
    assert caught.value.param == "guided_choice"


@pytest.mark.parametrize("regex", ["((.?){100}[a-m]){100}", "x?(a{100}){1000}", "[xy]a{100000}"])
async def test_an_expression_that_grows_too_large_ends_in_an_error(tokenizer: Tokenizer, regex: str) -> None:
    with pytest.raises(InvalidRequestError, match="too large") as caught:
        _walk((await _maker(tokenizer, regex=regex))(), tokenizer, seed=1)
    assert caught.value.param == "guided_regex"


async def test_end_of_text_is_allowed_where_the_answer_may_end(tokenizer: Tokenizer) -> None:
    guide = (await _maker(tokenizer, regex="a?"))()
    assert guide.allowed()[tokenizer.ends_of_text[0]]
    guide.advance(tokenizer.encode("a")[0])
    assert np.flatnonzero(guide.allowed()).tolist() == [tokenizer.ends_of_text[0]]


async def test_guides_of_one_request_do_not_disturb_each_other(tokenizer: Tokenizer) -> None:
    maker = await _maker(tokenizer, choice=["a1", "b2"])
    first, second = maker(), maker()
    first.advance(tokenizer.encode("a")[0])
    assert _walk(first, tokenizer, 0) == "1"
    assert _walk(second, tokenizer, 0) in {"a1", "b2"}


async def test_first_requests_at_once_build_the_vocabulary_once_and_off_the_event_loop(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    real = llguidance.LLTokenizer

    def counting(*arguments: Any) -> Any:
        built.append(threading.current_thread())
        return real(*arguments)

    monkeypatch.setattr(llguidance, "LLTokenizer", counting)
    module._vocabulary.cache_clear()
    await asyncio.gather(*(make_guide(tokenizer, Constraint("choice", '["a"]', "x")) for _ in range(8)))
    assert len(built) == 1
    assert built != [threading.main_thread()]


async def test_nothing_asked_for_is_no_guide(tokenizer: Tokenizer) -> None:
    assert await make_guide(tokenizer, None) is None


def test_without_a_guided_request_the_library_is_not_imported() -> None:
    program = "import sys, function_app; function_app.service.wait(); assert 'llguidance' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.fixture
def chat() -> Tokenizer:
    """The bundled model's tokenizer with special tokens more, of which one ends a text."""
    inner = tokenizers.Tokenizer.from_file(str(Settings.from_environment().model_dir / "tokenizer.json"))
    first = inner.get_vocab_size()
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return ByteLevelTokenizer(inner, ends_of_text=[first - 1, first + 1])


async def test_any_end_of_text_may_end_an_answer_and_no_other_special_token_is_in_it(chat: Tokenizer) -> None:
    guide = (await _maker(chat, regex="[a-z<|>_]{2,40}"))()
    first, last = chat.ends_of_text
    assert not guide.allowed()[[first, first + 1, last]].any()
    for token in chat.encode("ab"):
        guide.advance(token)
    assert guide.allowed()[[first, last]].all()
    assert not guide.allowed()[first + 1]
    guide.advance(last)


async def test_the_name_of_any_special_token_cannot_be_part_of_a_choice(chat: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError, match=r"<\|im_start\|> cannot be part of an answer"):
        await make_guide(chat, Constraint("choice", '["a<|im_start|>"]', "guided_choice"))


@pytest.mark.parametrize(("asked", "param"), [(("choice", '["a"]'), "guided_choice"), (("regex", "a"), "guided_regex")])
async def test_a_tokenizer_that_is_not_byte_level_is_refused_by_name(asked: tuple[str, str], param: str) -> None:
    tokenizer = ContextTokenizer(word_piece(), ends_of_text=[3])
    with pytest.raises(InvalidRequestError, match=f"{param}: not supported .* lacks a byte-level tokenizer") as caught:
        await make_guide(tokenizer, Constraint(asked[0], asked[1], param))
    assert caught.value.param == param


async def test_a_model_that_never_ends_a_text_is_refused_by_name(tokenizer: Tokenizer) -> None:
    inner = tokenizers.Tokenizer.from_file(str(Settings.from_environment().model_dir / "tokenizer.json"))
    with pytest.raises(InvalidRequestError, match="lacks an end-of-text token"):
        await make_guide(ByteLevelTokenizer(inner), Constraint("regex", "a", "guided_regex"))
