"""Chat templates of checkpoints are copied into the artifact, and render as in `transformers`."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import openai
import pytest
from transformers import AutoTokenizer

from benchmarks.server import serve
from generation.api.chat_prompt import render
from generation.config import Settings
from generation.export.chat import find_chat
from generation.export.pipeline import export
from generation.export.tokens import load_fast
from generation.service import Service, State
from generation.text.chat_template import ChatTemplate
from tests.support.kind_parts import END, put
from tests.support.kinds import SERVED
from tests.support.templates import CHATML, DIALOGPT, HELLO, TALK

SYSTEM = [{"role": "system", "content": "Be brief."}, *TALK]


@pytest.fixture(scope="module", params=["DialoGPT", "ChatML"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    SERVED[request.param](folder / "checkpoint")
    export(str(folder / "checkpoint"), folder / "artifact", "fp32")
    return folder / "checkpoint", folder / "artifact"


def test_the_prompt_is_that_of_transformers_byte_for_byte(exported: tuple[Path, Path]) -> None:
    checkpoint, artifact = exported
    theirs: Any = AutoTokenizer.from_pretrained(checkpoint)
    service = Service(Settings(model_dir=artifact, cache_mb=64)).start()
    try:
        assert service.wait(60) is State.READY, service.reason
        loaded = service.loaded()
        for messages in (HELLO, TALK, SYSTEM, TALK[:2]):
            for begun in (True, False):
                text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=begun)
                ours = asyncio.run(render(messages, loaded, add_generation_prompt=begun))
                assert ours.encode() == text.encode()
                ids = theirs.apply_chat_template(messages, add_generation_prompt=begun)
                assert loaded.tokenizer.encode(ours, add_special_tokens=False) == ids
    finally:
        service.stop()


def test_it_talks(exported: tuple[Path, Path]) -> None:
    checkpoint, artifact = exported
    theirs: Any = AutoTokenizer.from_pretrained(checkpoint)
    ids = theirs.apply_chat_template(TALK, add_generation_prompt=True)
    ends = json.loads((artifact / "config.json").read_text())["ends_of_text"]
    assert ends == ([END] if "Dialo" in str(checkpoint) else [END, END + 2])
    with serve(MODEL_DIR=str(artifact)) as running, openai.OpenAI(base_url=f"{running.url}/v1", api_key="x") as client:
        asked: Any = {"model": "checkpoint", "messages": TALK, "temperature": 0}
        told = client.chat.completions.create(**asked, max_tokens=6, extra_body={"return_token_ids": True})
        assert told.choices[0].model_dump()["prompt_token_ids"] == ids
        plain = client.completions.create(model="checkpoint", prompt=ids, temperature=0, max_tokens=6)
        assert told.choices[0].message.content == plain.choices[0].text
        for end in ends:
            ended = client.chat.completions.create(**asked, logit_bias={str(end): 100})
            assert (ended.choices[0].message.content, ended.choices[0].finish_reason) == ("", "stop")


@pytest.fixture
def checkpoint(checkpoint_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "copy"))


def test_a_checkpoint_without_a_template_keeps_the_names_of_its_tokens(checkpoint: Path) -> None:
    found = find_chat(load_fast(checkpoint))
    assert (found.template, found.notes) == (None, ())
    assert found.special_tokens["eos_token"] == "<|endoftext|>"  # noqa: S105


def test_the_default_is_taken_of_several_templates(checkpoint: Path) -> None:
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": DIALOGPT}]
    put(checkpoint, "tokenizer_config.json", chat_template=several)
    assert find_chat(load_fast(checkpoint)).template == DIALOGPT


@pytest.mark.parametrize("source", ["{% for %}", "{{ raise_exception('never') }}", "x" * (1 << 17) + "x"])
def test_a_template_that_cannot_serve_is_left_out_with_a_note(checkpoint: Path, source: str) -> None:
    put(checkpoint, "tokenizer_config.json", chat_template=source)
    found = find_chat(load_fast(checkpoint))
    assert found.template is None
    assert found.notes[0].startswith("the chat template is left out: ")


def test_a_template_that_renders_otherwise_is_left_out(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(checkpoint, "tokenizer_config.json", chat_template=CHATML)
    monkeypatch.setattr(ChatTemplate, "render", lambda *_, **__: "another")
    assert "where transformers renders" in find_chat(load_fast(checkpoint)).notes[0]
