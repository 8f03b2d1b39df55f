"""Every field that shapes an answer, on a model of a few lines whose every answer can be computed by hand."""

from statistics import fmean
from typing import Any

import pytest
from openai.types import Completion

from generation.api.completions_body import CompletionBody
from generation.api.completions_sampling import sampling_params
from generation.engine.sequence import score
from generation.errors import InvalidRequestError
from generation.sampling.params import Dry, SamplingParams
from generation.sampling.sampler import Sampler
from tests.support import fake_api
from tests.support.completions import arguments, texts
from tests.support.fakes import END, FakeModel, logits_after
from tests.support.tokenizers import holed

PROMPT = "once"
SEED = 5


async def _ask(**body: Any) -> Completion:
    async with fake_api.client(fake_api.service(FakeModel(rows=8))) as client:
        answer: Completion = await client.completions.create(
            **arguments(**{"model": "fake", "prompt": PROMPT, "seed": SEED} | body)
        )
    return answer


def _oracle(params: SamplingParams, max_tokens: int, choice: int = 0) -> tuple[list[int], list[float], str]:
    """Return tokens, their log-probabilities and the finish reason, from nothing but the sampler and the logits."""
    sampler = Sampler(params, choice, tuple(PROMPT.encode()), [END])
    history, chosen, logprobs = list(PROMPT.encode()), list[int](), list[float]()
    while len(chosen) < max_tokens:
        logits = logits_after(history)
        token = sampler.choose(logits)
        if token in params.stop_token_ids or (token == END and not params.ignore_eos):
            return chosen, logprobs, "stop"
        chosen.append(token)
        history.append(token)
        logprobs.append(score(logits, token, 0)[0])
    return chosen, logprobs, "length"


def _text(tokens: list[int]) -> str:
    return bytes(token for token in tokens if token != END).decode(errors="replace")


BREAKERS = frozenset(map(ord, '\n:"*'))
# What OpenAI leaves unsaid is off: no top_k.
BASE: dict[str, Any] = {"top_k": 0, "seed": SEED}
FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"temperature": 0}, {"temperature": 0}),
    ({"temperature": 0.5}, {"temperature": 0.5}),
    ({"temperature": 2}, {"temperature": 2}),
    ({"top_p": 0.5}, {"top_p": 0.5}),
    ({"top_k": 3}, {"top_k": 3}),
    ({"top_k": -1}, {}),
    ({"min_p": 0.3}, {"min_p": 0.3}),
    ({"typical_p": 0.3}, {"typical_p": 0.3}),
    ({"repetition_penalty": 3.0}, {"repetition_penalty": 3.0}),
    ({"frequency_penalty": 2, "temperature": 0}, {"frequency_penalty": 2.0, "temperature": 0}),
    ({"frequency_penalty": -2, "temperature": 0}, {"frequency_penalty": -2.0, "temperature": 0}),
    ({"presence_penalty": 2, "temperature": 0}, {"presence_penalty": 2.0, "temperature": 0}),
    ({"presence_penalty": -2}, {"presence_penalty": -2.0}),
    ({"logit_bias": {"65": 100, "66": 99.5}}, {"logit_bias": {65: 100, 66: 99.5}}),
    ({"logit_bias": {"256": 100}}, {"logit_bias": {256: 100}}),
    ({"logit_bias": {"256": 100}, "min_tokens": 7}, {"logit_bias": {256: 100}, "min_tokens": 7}),
    ({"logit_bias": {"256": 4}, "ignore_eos": True}, {"logit_bias": {256: 4}, "ignore_eos": True}),
    ({"logit_bias": [["A", 100], [66, 99.5]]}, {"logit_bias": {65: 100, 66: 99.5}}),
    ({"logit_bias": {"AB": 99}}, {"logit_bias": {65: 99, 66: 99}}),
    (
        {"logit_bias": [["e", False]] + [[i, False] for i in range(97, 101)]},
        {"logit_bias": dict.fromkeys([101, *range(97, 101)], float("-inf"))},
    ),
    ({"stop_token_ids": [108]}, {"stop_token_ids": (108,)}),
    ({"allowed_token_ids": [65, 66, 67]}, {"allowed_token_ids": (65, 66, 67)}),
    ({"bad_words": ["p", "a"]}, {"bad_words": ((112,), (97,))}),
    (
        {"dry_multiplier": 50, "dry_allowed_length": 1, "allowed_token_ids": [65, 66]},
        {"dry": Dry(50, allowed_length=1, breakers=BREAKERS), "allowed_token_ids": (65, 66)},
    ),
    ({"xtc_probability": 1, "xtc_threshold": 0.01}, {"xtc_probability": 1.0, "xtc_threshold": 0.01}),
    ({"seed": -1}, {"seed": (1 << 64) - 1}),
    ({"seed": 0}, {"seed": 0}),
]


@pytest.mark.parametrize(("body", "params"), FIELDS, ids=[str(body) for body, _ in FIELDS])
async def test_a_field_does_what_the_sampler_does(body: dict[str, Any], params: dict[str, Any]) -> None:
    tokens, _, reason = _oracle(SamplingParams(**BASE | params), 20)
    answer = await _ask(max_tokens=20, **body)
    assert texts(answer) == [_text(tokens)]
    assert answer.choices[0].finish_reason == reason


def test_the_fields_make_a_difference() -> None:
    """Were an answer the same with a field as without it, the test above would show nothing."""
    plain = _oracle(SamplingParams(**BASE), 20)
    greedy = _oracle(SamplingParams(**BASE, temperature=0), 20)
    same = [body for body, params in FIELDS if _oracle(SamplingParams(**BASE | params), 20) in (plain, greedy)]
    assert same == [{}, {"temperature": 0}, {"top_k": -1}]


async def test_choices_have_a_stream_of_chance_each() -> None:
    expected = [_text(_oracle(SamplingParams(**BASE), 12, choice)[0]) for choice in range(3)]
    assert texts(await _ask(n=3, max_tokens=12)) == expected
    assert len(set(expected)) == 3


@pytest.mark.parametrize(("n", "best_of"), [(1, 4), (2, 6), (3, 4)])
async def test_the_best_are_those_of_the_highest_mean_logprob(n: int, best_of: int) -> None:
    params = SamplingParams(**BASE, ignore_eos=True)
    candidates = [_oracle(params, 10, choice) for choice in range(best_of)]
    ranked = sorted(candidates, key=lambda one: fmean(one[1]), reverse=True)
    answer = await _ask(n=n, best_of=best_of, max_tokens=10, ignore_eos=True)
    assert texts(answer) == [_text(tokens) for tokens, _, _ in ranked[:n]]
    assert [choice.index for choice in answer.choices] == list(range(n))
    assert [choice.logprobs for choice in answer.choices] == [None] * n
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 10 * best_of, "what was generated counts, not what is returned"


async def test_of_as_many_as_are_returned_none_is_better() -> None:
    """Without a choice to make, the order stays: a stream, which cannot wait for all, has the same."""
    answers = [texts(await _ask(n=4, max_tokens=10, **more)) for more in ({}, {"best_of": 4}, {"logprobs": 0})]
    assert answers == [answers[0]] * 3


async def test_best_of_counts_for_each_prompt() -> None:
    together = texts(await _ask(prompt=["ab", "cd"], best_of=3, max_tokens=10))
    alone = [texts(await _ask(prompt=prompt, best_of=3, max_tokens=10))[0] for prompt in ("ab", "cd")]
    assert together == alone


class _ExpiringModel(FakeModel):
    """Reaches the deadline of what runs in its fifth step."""

    scheduler: Any

    def decode(self, *arguments: Any) -> Any:
        if len(self.batches) == 5:
            for group in self.scheduler.groups():
                group.deadline = 0
        return super().decode(*arguments)


async def test_what_there_is_at_the_deadline_is_returned() -> None:
    model = _ExpiringModel()
    service = fake_api.service(model)
    model.scheduler = service.loaded().engine._scheduler
    async with fake_api.client(service) as client:
        answer = await client.completions.create(
            model="fake", prompt=PROMPT, max_tokens=100, seed=SEED, extra_body={"ignore_eos": True, "timeout_s": 100}
        )
    tokens, _, _ = _oracle(SamplingParams(**BASE, ignore_eos=True), 7)
    assert texts(answer) == [_text(tokens)]
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7


@pytest.mark.parametrize("field", ["stop_token_ids", "allowed_token_ids", "logprob_token_ids", "logit_bias"])
async def test_an_id_that_is_no_token_is_refused_in_every_field(field: str) -> None:
    body = CompletionBody.model_validate({field: {"3": 1} if field == "logit_bias" else [2, 3]})
    with pytest.raises(InvalidRequestError, match=f"^{field}: 3 is not a token id from 0 to 5$") as caught:
        await sampling_params(body, holed())
    assert caught.value.param == field
