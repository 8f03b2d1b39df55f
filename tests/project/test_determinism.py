"""The same request, the same answer: real graphs, random mixes, with and without prefix reuse and speculation."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generation.config import Settings
from generation.engine.engine import Engine
from generation.engine.prefix import PrefixCache
from generation.engine.request import GenerationRequest, Item
from generation.engine.scheduler import Limits
from generation.model.artifact import load_tokenizer, read_config
from generation.model.model import Model
from generation.model.session import open_session
from generation.sampling.params import SamplingParams
from generation.text.tokenizer import Tokenizer
from tests.support.steps import Eager

CHUNK = 32
SYSTEM = "Once upon a time there was a little girl. She had a red ball and a small dog. One day she went to the park. "
TAILS = ("", "She", "The dog ran away", "It was sunny and she", "x" * 60)


def _engine(folder: Path, *, clever: bool) -> Engine:
    config = read_config(folder)
    model = Model(open_session(folder / "model.onnx", 2), config, batch=16, staging=4)
    limits = Limits(rows=16, staging=4, tokens=16 * 400, chunk=CHUNK, waiting=64)
    prefix = PrefixCache(1 << 24) if clever else None
    drafts = Eager(8, 16) if clever and config.cache == "int8" else None
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
    ),
    st.sampled_from([(), ("e",)]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(_asked, min_size=2, max_size=10))
def test_an_answer_does_not_depend_on_other_requests_reuse_or_drafts(
    engines: tuple[Tokenizer, Engine, Engine],
    asked: list[tuple[str, int, int, SamplingParams, tuple[str, ...]]],
) -> None:
    tokenizer, clever, plain = engines
    requests = [
        GenerationRequest(
            tuple(tokenizer.encode(SYSTEM + tail)), tokens, choices, sampling=sampling, stop=stop, logprobs=2
        )
        for tail, tokens, choices, sampling, stop in asked
    ]

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
