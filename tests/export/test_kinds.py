"""Checkpoints of the kinds that people have: exported, served, and compared with `transformers` on the same folder."""

import asyncio
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel

from generation.config import ROOT, Settings
from generation.engine.request import GenerationRequest, Token, Update
from generation.export import hub, moments
from generation.export.checkpoint import load
from generation.export.configuration import ACTIVATIONS
from generation.export.defaults import Precision
from generation.export.errors import ExportError
from generation.export.pipeline import export
from generation.export.tokens import has_tokenizer
from generation.sampling.params import SamplingParams
from generation.service import Loaded, Service, State
from tests.support.kinds import REFUSED, ROWS, SERVED, STRUCTURES

TEXTS = ["", "The lighthouse keeper", "<|endoftext|> [PAD] naïve 日本 <speaker>", " the cat and the ferry"]
STEPS = 24
# What the fast suite exports; the rest is heavy.
FAST = ("padded vocabulary", "WordPiece")


@dataclass(frozen=True, slots=True)
class Served:
    """What came of one request."""

    text: str
    tokens: list[int]
    logprobs: list[float]
    reason: str


def test_each_row_of_the_documentation_has_its_kinds() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = text.split("| kind | what is supported |\n|---|---|\n")[1].split("\n\n")[0]
    rows = dict(line.strip("| ").split(" | ") for line in table.splitlines())

    assert list(rows) == list(ROWS)
    assert re.findall("`(.+?)`", rows["activations"]) == list(ACTIVATIONS)


def kinds(names: Any) -> list[Any]:
    return [pytest.param(name, marks=[] if name in FAST else [pytest.mark.heavy]) for name in names]


# What peft says of an adapter that trains a resized table to which the head is tied, as such adapters do.
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
@pytest.mark.parametrize("kind", kinds(SERVED))
def test_it_serves_what_transformers_computes(kind: str, tmp_path: Path) -> None:
    SERVED[kind](tmp_path / "checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        # A folder is exported without a network.
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connects"))
        export(str(tmp_path / "checkpoint"), tmp_path / "artifact", "fp32")
    tokenizer, model = _theirs(tmp_path / "checkpoint")
    service = Service(Settings(model_dir=tmp_path / "artifact", cache_mb=256)).start()
    try:
        assert service.wait(60) is State.READY, service.reason
        loaded = service.loaded()
        assert loaded.tokenizer.vocabulary <= loaded.config.vocabulary == model.config.vocab_size
        for text in TEXTS:
            _compare(loaded, tokenizer, model, text)
    finally:
        service.stop()


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["int8", "int8-blocks", "int4"])
@pytest.mark.parametrize("kind", STRUCTURES)
def test_it_is_exported_in_fewer_bits(
    kind: str, precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    monkeypatch.setattr(moments, "TOKENS", 32)  # random weights write nothing worth more time
    SERVED[kind](tmp_path / "checkpoint")
    report = export(str(tmp_path / "checkpoint"), tmp_path / "artifact", precision, allow_loss=True)

    record_property("perplexity change", report.perplexity.change)
    print(f"{kind}, {precision}: {report.perplexity.change:+.2%} perplexity")
    assert report.greedy.batch_difference == 0
    assert abs(report.perplexity.change) < {"int8": 0.02, "int8-blocks": 0.02, "int4": 0.1}[precision]


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    write, message = REFUSED[kind]
    write(tmp_path / "checkpoint")

    with pytest.raises(ExportError, match=message) as caught:
        export(str(tmp_path / "checkpoint"), tmp_path / "artifact", "fp32")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def _theirs(folder: Path) -> tuple[Any, GPT2LMHeadModel]:
    """Load with `transformers` alone where it can: names of other tools it does not know."""
    if (folder / "adapter_config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        words = folder if has_tokenizer(folder) else hub.find(str(folder)).path
        adapted: Any = AutoPeftModelForCausalLM.from_pretrained(folder)
        return AutoTokenizer.from_pretrained(words), adapted.merge_and_unload().eval()
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    model, said = loaded
    known = model.eval() if not said["missing_keys"] else load(hub.find(str(folder))).model
    return AutoTokenizer.from_pretrained(folder), known


def _compare(loaded: Loaded, tokenizer: Any, model: GPT2LMHeadModel, text: str) -> None:
    ids: list[int] = tokenizer(text)["input_ids"]
    if max(ids, default=0) < model.config.vocab_size:
        assert loaded.tokenizer.encode(text) == ids
    else:
        ids = loaded.tokenizer.encode(text)
    assert loaded.tokenizer.begin_of_text is not None
    ids = (ids or [loaded.tokenizer.begin_of_text])[: loaded.config.context - 1]
    room = min(STEPS, loaded.config.context - len(ids))
    # Ids past the tokenizer, and between its tokens, are no tokens.
    others = [i for i in range(model.config.vocab_size) if not loaded.tokenizer.has(i)]
    expected: list[int] = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=room,
        pad_token_id=0,
        suppress_tokens=others or None,
    )[0, len(ids) :].tolist()
    with torch.inference_mode():
        logprobs = torch.log_softmax(model(torch.tensor([ids + expected])).logits[0], dim=-1)
    found = asyncio.run(_generate(loaded, ids, room))

    assert found.tokens == expected
    assert found.logprobs == pytest.approx(
        [logprobs[len(ids) - 1 + place, token].item() for place, token in enumerate(expected)], abs=1e-4
    )
    assert (found.reason == "stop") == (expected[-1] in loaded.tokenizer.ends_of_text)
    whole = tokenizer.decode(ids + expected, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert loaded.tokenizer.decode(ids) + found.text == whole or "\ufffd" in whole


async def _generate(loaded: Loaded, ids: list[int], room: int) -> Served:
    asked = GenerationRequest(tuple(ids), room, sampling=SamplingParams(do_sample=False), logprobs=5)
    text, reason = "", ""
    tokens: list[Token] = []
    async for item in loaded.engine.submit(asked):
        if isinstance(item, Update):
            text += item.text
            tokens += item.tokens
            reason = item.finish_reason or reason
    assert all(loaded.tokenizer.has(other) for token in tokens for other in token.alternatives)
    return Served(text, [token.id for token in tokens], [token.logprob or 0.0 for token in tokens], reason)
