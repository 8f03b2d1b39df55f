"""Clients of chats, and the `text_generation` client, unmodified, against the bundled model with a chat template.

Needs `.venv-clients`; `make clients` makes it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from benchmarks.server import Served, serve
from generation.config import ROOT
from tests.support.templates import CHATML

VENV = ROOT / ".venv-clients"
PYTHON = VENV / "bin" / "python"
MODULES = VENV / "npm" / "node_modules"
KEY = "secret"
# Each prints one JSON value. `url` ends in /api.
PROGRAMS = {
    "openai": """\
import openai
client = openai.OpenAI(base_url=url + "/v1", api_key=key)
choices = {"guided_choice": ["a cat", "a dog"]}  # the stream helper raises if an answer ends by length
ask = {"model": model, "messages": messages, "max_tokens": 20, "temperature": 0, "extra_body": choices}
whole = client.chat.completions.create(**ask).choices[0].message.content
with client.chat.completions.stream(**ask) as stream:
    final = stream.get_final_completion().choices[0].message.content
say(whole == final and whole in ("a cat", "a dog"))
""",
    "openai, parse": """\
import openai
client = openai.OpenAI(base_url=url + "/v1", api_key=key)
done = client.chat.completions.parse(model=model, messages=messages, response_format=Pet, max_tokens=60)
say(done.choices[0].message.parsed.model_dump())
""",
    "instructor, JSON schema": """\
import instructor, openai
client = instructor.from_openai(openai.OpenAI(base_url=url + "/v1", api_key=key), mode=instructor.Mode.JSON_SCHEMA)
say(client.chat.completions.create(model=model, messages=messages, response_model=Pet, max_tokens=60).model_dump())
""",
    "instructor, streamed": """\
import instructor, openai
client = instructor.from_openai(openai.OpenAI(base_url=url + "/v1", api_key=key), mode=instructor.Mode.JSON_SCHEMA)
parts = list(client.chat.completions.create_partial(model=model, messages=messages, response_model=Pet, max_tokens=60))
say(parts[-1].model_dump())
""",
    "outlines": """\
import openai, outlines
client = outlines.from_openai(openai.OpenAI(base_url=url + "/v1", api_key=key), model)
assert client("Hello", max_tokens=5)
assert "".join(client.stream("Hello", max_tokens=5))
say(Pet.model_validate_json(client("A pet", Pet, max_tokens=60)).model_dump())
""",
    "LangChain": """\
from langchain_openai import ChatOpenAI
chat = ChatOpenAI(base_url=url + "/v1", api_key=key, model=model, max_tokens=60, temperature=0)
said = chat.invoke([("system", "Be brief."), ("human", "Hello")])
assert said.usage_metadata["output_tokens"] > 0
assert "".join(part.content for part in chat.stream([("system", "Be brief."), ("human", "Hello")])) == said.content
say(chat.with_structured_output(Pet, method="json_schema").invoke("A pet").model_dump())
""",
    "LangChain, log-probabilities": """\
from langchain_openai import ChatOpenAI
chat = ChatOpenAI(base_url=url + "/v1", api_key=key, model=model, max_tokens=4, logprobs=True, top_logprobs=2)
content = chat.invoke("Hello").response_metadata["logprobs"]["content"]
say([len(one["top_logprobs"]) for one in content])
""",
    "text_generation": """\
from text_generation import Client
from text_generation.errors import ValidationError
client = Client(url + "/hf", headers={"Authorization": "Bearer " + key}, timeout=60)
whole = client.generate("Once upon a time", max_new_tokens=8, top_n_tokens=2, decoder_input_details=True)
events = list(client.generate_stream("Once upon a time", max_new_tokens=8))
assert "".join(one.token.text for one in events if not one.token.special) == whole.generated_text
assert events[-1].generated_text == whole.generated_text
assert events[-1].details.generated_tokens == whole.details.generated_tokens == 8
assert whole.details.prefill and len(whole.details.top_tokens) == 8
best = client.generate("Once", max_new_tokens=8, best_of=2, do_sample=True)
assert len(best.details.best_of_sequences) == 1
ended = client.generate("Once upon a time", stop_sequences=[whole.generated_text[3:6]])
assert ended.details.finish_reason == "stop_sequence" and whole.generated_text.startswith(ended.generated_text)
made = client.generate("A", max_new_tokens=60, grammar={"type": "json", "value": Pet.model_json_schema()})
try:
    client.generate("a " * 9000)
except ValidationError as error:
    assert "context window" in str(error)
    say(Pet.model_validate_json(made.generated_text).model_dump())
""",
    "huggingface_hub": """\
from huggingface_hub import InferenceClient
client = InferenceClient(model=url + "/hf", api_key=key)
text = client.text_generation("Once upon a time", max_new_tokens=8)
assert "".join(client.text_generation("Once upon a time", max_new_tokens=8, stream=True)) == text
chat = InferenceClient(base_url=url, api_key=key)
said = chat.chat_completion([{"role": "user", "content": "Hello"}], model=model, max_tokens=5)
say(bool(said.choices[0].message.content))
""",
}
HEAD = """\
import json, sys
from typing import Literal
from pydantic import BaseModel, ConfigDict
url, key, model = sys.argv[1:]
messages = [{"role": "user", "content": "Describe a pet."}]
class Pet(BaseModel):
    model_config = ConfigDict(extra="forbid")  # otherwise a small model generates additional fields
    kind: Literal["cat", "dog"]
    young: bool
def say(value): print(json.dumps(value))
"""
AI_SDK = """\
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, jsonSchema, streamText } from "ai";
const [url, key, name] = process.argv.slice(2);
const server = createOpenAICompatible({
  name: "ours", baseURL: `${url}/v1`, apiKey: key, supportsStructuredOutputs: true, includeUsage: true,
});
const asked = { model: server(name), system: "Be brief.", prompt: "Hello", maxOutputTokens: 8, temperature: 0 };
const whole = await generateText(asked);
const streamed = streamText(asked);
let text = "";
for await (const part of streamed.textStream) text += part;
const schema = jsonSchema({
  type: "object", properties: { kind: { enum: ["cat", "dog"] }, young: { type: "boolean" } },
  required: ["kind", "young"], additionalProperties: false,
});
const made = await generateObject({ ...asked, maxOutputTokens: 60, schema });
if (!whole.text || text !== whole.text) throw new Error(`${text} is not ${whole.text}`);
if ((await streamed.usage).outputTokens !== whole.usage.outputTokens) throw new Error("usage");
console.log(JSON.stringify(made.object));
"""


@pytest.fixture(scope="module")
def chatting() -> Iterator[Served]:
    with serve(CHAT_TEMPLATE=CHATML, API_KEYS=KEY) as running:
        yield running


def _run(*command: str) -> object:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout.splitlines()[-1])


def _check(value: object) -> None:
    """Check the output of a program: true, a pet, or a number for each token."""
    if isinstance(value, dict):
        assert value.keys() == {"kind", "young"}
        assert value["kind"] in ("cat", "dog")
    elif isinstance(value, list):
        assert value == [2] * len(value) != []
    else:
        assert value is True


@pytest.mark.heavy
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-clients: run `make clients`")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_python_client_works_unmodified(chatting: Served, name: str) -> None:
    _check(_run(str(PYTHON), "-c", HEAD + PROGRAMS[name], chatting.url, KEY, "tinystories-demo"))


@pytest.mark.heavy
@pytest.mark.skipif(not MODULES.exists() or not shutil.which("node"), reason="no node: run `make clients` with npm")
def test_the_ai_sdk_works_unmodified(chatting: Served) -> None:
    program = MODULES.parent / "ai_sdk.mjs"
    program.write_text(AI_SDK, encoding="utf-8")
    _check(_run("node", str(program), chatting.url, KEY, "tinystories-demo"))
