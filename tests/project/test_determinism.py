"""The same request, the same answer: real graphs, random mixes, with and without prefix reuse and speculation.

Drafts come from the text and from a table: the bundled model's own, or one whose guesses are the tokens of the text so
far or nonsense.
"""

import asyncio
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from generation.config import Settings
from generation.engine.engine import Engine
from generation.engine.prefix import PrefixCache
from generation.engine.request import GenerationRequest, Item
from generation.engine.scheduler import Limits
from generation.model.artifact import load_tokenizer, read_config
from generation.model.draft_table import open_drafts
from generation.model.model import Model
from generation.model.session import open_session
from generation.sampling.params import SamplingParams
from generation.text.tokenizer import Tokenizer
from tests.support.steps import Eager

CHUNK = 32
SYSTEM = "Once upon a time there was a little girl. She had a red ball and a small dog. One day she went to the park. "
TAILS = ("", "She", "The dog ran away", "It was sunny and she", "x" * 60)


class Parrot:
    """Guesses a token of the context, or any other."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    def guess(self, context: SequenceOf[int]) -> tuple[int, float] | None:
        """Return what depends on the context alone."""
        total = sum(context)
        return None if total % 7 == 0 else ((context[0] if total % 2 else total % self._tokens), 0.5)


class Parity:
    """Allows even and odd tokens in turn."""

    def __init__(self, tokens: int) -> None:
        self._even: NDArray[np.bool_] = np.arange(tokens) % 2 == 0
        self._count = 0

    def allowed(self) -> NDArray[np.bool_]:
        """Return the mask of the next token."""
        allowed: NDArray[np.bool_] = self._even if self._count % 2 else ~self._even
        return allowed

    def advance(self, token: int) -> None:
        """Count the token."""
        assert self.allowed()[token]
        self._count += 1


def _engine(folder: Path, *, clever: bool) -> Engine:
    config = read_config(folder)
    model = Model(open_session(folder / "model.onnx", 2), config, batch=16, staging=4)
    limits = Limits(rows=16, staging=4, tokens=16 * 400, chunk=CHUNK, waiting=64)
    prefix = PrefixCache(1 << 24) if clever else None
    table = open_drafts(folder, config) or Parrot(config.tokens)
    drafts = Eager(8, 16, table) if clever and config.cache == "int8" else None
    engine = Engine(model, load_tokenizer(folder, config), limits, prefix, drafts)
    engine.start()
    return engine


@pytest.fixture(scope="module", params=["bundled int8", "random int8-blocks", "random int4", "random fp32"])
def engines(request: pytest.FixtureRequest, artifacts: dict[str, Path]) -> Iterator[tuple[Tokenizer, Engine, Engine]]:
    """A tokenizer, an engine that reuses prefixes and speculates, and one that does neither."""
    folder = Settings().model_dir if request.param == "bundled int8" else artifacts[request.param.split()[1]]
    clever, plain = _engine(folder, clever=True), _engine(folder, clever=False)
    yield load_tokenizer(folder, read_config(folder)), clever, plain
    clever.stop()
    plain.stop()


async def _answer(engine: Engine, request: GenerationRequest) -> list[Item]:
    return [item async for item in engine.submit(request)]


_asked = st.tuples(
    st.sampled_from(TAILS),
    st.integers(1, 40),
    st.integers(1, 3),
    st.builds(
        SamplingParams,
        seed=st.integers(0, 5),
        do_sample=st.booleans(),
        temperature=st.sampled_from([0.5, 1.0, 3.0]),
        top_k=st.sampled_from([0, 50]),
        top_p=st.sampled_from([0.7, 1.0]),
        repetition_penalty=st.sampled_from([1.0, 1.3]),
        presence_penalty=st.sampled_from([0.0, 0.7]),
    ),
    st.sampled_from([(), ("e",)]),
    st.booleans(),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(_asked, min_size=2, max_size=10))
def test_an_answer_does_not_depend_on_other_requests_reuse_or_drafts(
    engines: tuple[Tokenizer, Engine, Engine],
    asked: list[tuple[str, int, int, SamplingParams, tuple[str, ...], bool]],
) -> None:
    tokenizer, _, _ = engines
    requests = [
        GenerationRequest(
            tuple(tokenizer.encode(SYSTEM + tail)),
            tokens,
            choices,
            sampling=sampling,
            stop=stop,
            logprobs=2,
            guide=partial(Parity, tokenizer.vocabulary) if guided else None,
        )
        for tail, tokens, choices, sampling, stop, guided in asked
    ]
    _compare(engines, requests)


def test_beams_beside_drafts_change_nothing(engines: tuple[Tokenizer, Engine, Engine]) -> None:
    tokenizer, clever, _ = engines
    prompt = tuple(tokenizer.encode(SYSTEM))
    greedy = SamplingParams(do_sample=False, ignore_eos=True)
    beams = GenerationRequest(prompt, 30, 3, sampling=greedy, length_penalty=1.0)
    _compare(engines, [beams, GenerationRequest(prompt, 40, sampling=greedy)])
    if clever._speculation is not None:
        assert sum(clever.telemetry.drafted.values()) > 0


def _compare(engines: tuple[Tokenizer, Engine, Engine], requests: list[GenerationRequest]) -> None:
    """Check that each request has the same answer alone without drafts, and beside the others with and without."""
    _, clever, plain = engines

    async def compare() -> None:
        alone = [await _answer(plain, request) for request in requests]
        for engine in (plain, clever):
            together = await asyncio.gather(*(_answer(engine, request) for request in requests))
            for mine, others in zip(alone, together, strict=True):
                # Updates of different choices may interleave differently; each choice must be the same to the bit.
                for index in range(3):
                    assert [i for i in others if getattr(i, "index", None) == index] == [
                        i for i in mine if getattr(i, "index", None) == index
                    ]

    asyncio.run(compare())
