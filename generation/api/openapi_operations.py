"""Every route and method for the OpenAPI document: parameters, bodies and responses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from generation.api import responses as answers
from generation.api import responses_chat as chat
from generation.api import responses_hf as hf
from generation.api.bodies import DetokenizeBody, GenerateBody, TokenizeBody
from generation.api.chat_body import ChatBody
from generation.api.completions_body import CompletionBody
from generation.api.hf_body import HfBody
from generation.api.responses import Failure

JSON, EVENTS, TEXT, HTML = "application/json", "text/event-stream", "text/plain", "text/html"
PROMPT = "Once upon a time"
HELLO = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True, slots=True)
class Operation:
    """One route and method.

    Attributes:
        name: name of the function in ``function_app.py``.
        answers: models of the 200 response by media type; for events, the model of one event's data; None without a
            model.
        keyed: whether it requires a key.
        body: model of the request's body.
        examples: bodies, or parameter values, that the tests send.
        query: model whose other fields are query parameters.
        errors: other statuses.
        head: whether it also answers HEAD, with the headers of GET.
        failure: model of an error.
        done: whether a stream ends with an event that says so.
    """

    name: str
    method: str
    path: str
    summary: str
    answers: Mapping[str, type[BaseModel] | None]
    keyed: bool = True
    body: type[BaseModel] | None = None
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    query: type[BaseModel] | None = None
    errors: tuple[int, ...] = (500,)
    head: bool = False
    failure: type[BaseModel] = Failure
    done: bool = True


_COSTLY = (400, 429, 500, 503)
_WITH_BODY = (*_COSTLY, 413)

OPERATIONS = (
    Operation(
        "health",
        "get",
        "health",
        "State of the process",
        {JSON: answers.Health},
        keyed=False,
        errors=(500, 503),
        head=True,
    ),
    Operation(
        "ready",
        "get",
        "ready",
        "Whether requests can be served",
        {JSON: answers.Ready},
        keyed=False,
        errors=(500, 503),
        head=True,
    ),
    Operation(
        "generate",
        "post",
        "generate",
        "Generate text",
        {JSON: answers.Generated, EVENTS: answers.GeneratedEvent},
        body=GenerateBody,
        examples={
            "sampled": {"prompt": PROMPT, "max_new_tokens": 20, "temperature": 0.8, "seed": 1},
            "likeliest": {"prompt": PROMPT, "max_new_tokens": 20, "do_sample": False},
            "streamed": {"prompt": PROMPT, "max_new_tokens": 20, "seed": 1, "stream": True},
        },
        errors=_WITH_BODY,
    ),
    Operation(
        "generate_path",
        "get",
        "generate/{*prompt}",
        "Generate text from a prompt in the path, which may contain slashes or be omitted",
        {JSON: answers.GeneratedSequences, EVENTS: answers.GeneratedEvent},
        examples={"two": {"prompt": PROMPT, "max_new_tokens": 20, "num_return_sequences": 2}},
        query=GenerateBody,
        errors=_COSTLY,
    ),
    Operation(
        "completions",
        "post",
        "v1/completions",
        "Generate text, as OpenAI's completions API does",
        {JSON: answers.Completion, EVENTS: answers.CompletionEvent},
        body=CompletionBody,
        examples={
            "one": {"prompt": PROMPT, "max_tokens": 20, "temperature": 0.8, "seed": 1},
            "likeliest of several": {"prompt": [PROMPT, "The cat"], "n": 1, "best_of": 3, "max_tokens": 10, "seed": 1},
            "logprobs of a prompt": {"prompt": [[10, 20, 30]], "max_tokens": 0, "echo": True, "logprobs": 2},
            "one of given answers": {
                "prompt": f"{PROMPT} there was a",
                "structured_outputs": {"choice": [" cat", " dog"]},
            },
            "streamed": {"prompt": PROMPT, "stream": True, "stream_options": {"include_usage": True}, "seed": 1},
        },
        errors=(*_WITH_BODY, 404),
    ),
    Operation(
        "hf",
        "post",
        "hf",
        "Generate text, as Hugging Face's text-generation-inference does",
        {JSON: hf.HfAnswer, EVENTS: hf.HfEvent},
        body=HfBody,
        examples={
            "likeliest": {"inputs": PROMPT, "parameters": {"max_new_tokens": 20}},
            "sampled, with details": {
                "inputs": PROMPT,
                "parameters": {
                    "max_new_tokens": 5,
                    "temperature": 0.8,
                    "seed": 1,
                    "best_of": 2,
                    "details": True,
                    "decoder_input_details": True,
                    "top_n_tokens": 2,
                    "stop": ["."],
                },
            },
            "streamed": {"inputs": PROMPT, "parameters": {"top_n_tokens": 1, "max_new_tokens": 5}, "stream": True},
        },
        errors=(413, 422, 424, 429, 500, 503),
        failure=hf.HfFailure,
        done=False,
    ),
    Operation(
        "chat_completions",
        "post",
        "v1/chat/completions",
        "Answer a chat, as OpenAI's chat completions API does, if the model has a chat template",
        {JSON: chat.ChatCompletion, EVENTS: chat.ChatCompletionChunk},
        body=ChatBody,
        examples={
            "one": {"messages": HELLO, "max_completion_tokens": 20, "temperature": 0.8, "seed": 1},
            "with log-probabilities": {
                "messages": [{"role": "system", "content": "Be brief."}, *HELLO],
                "max_completion_tokens": 5,
                "logprobs": True,
                "top_logprobs": 2,
                "n": 2,
                "return_token_ids": True,
            },
            "streamed": {
                "messages": HELLO,
                "max_completion_tokens": 20,
                "stream": True,
                "stream_options": {"include_usage": True},
            },
        },
        errors=(*_WITH_BODY, 404),
    ),
    Operation(
        "models", "get", "v1/models", "The served model, as a list", {JSON: answers.ModelList}, errors=(500, 503)
    ),
    Operation(
        "models_one", "get", "v1/models/{model}", "The served model", {JSON: answers.ModelCard}, errors=(404, 500, 503)
    ),
    Operation(
        "tokenize",
        "post",
        "tokenize",
        "Split text into tokens",
        {JSON: answers.Tokens},
        body=TokenizeBody,
        examples={"text": {"prompt": PROMPT}},
        errors=(400, 404, 413, 500, 503),
    ),
    Operation(
        "detokenize",
        "post",
        "detokenize",
        "Convert tokens to text",
        {JSON: answers.Text},
        body=DetokenizeBody,
        examples={"tokens": {"tokens": [10, 20, 30]}},
        errors=(400, 404, 413, 500, 503),
    ),
    Operation(
        "tokenizer_info",
        "get",
        "tokenizer_info",
        "The tokenizer, in the form that lm-eval's remote tokenizer reads",
        {JSON: answers.TokenizerInfo},
        errors=(500, 503),
    ),
    Operation("version", "get", "version", "The running version", {JSON: answers.Version}, keyed=False),
    Operation("reference", "get", "reference", "This document as a page", {HTML: None}, keyed=False),
    Operation("metrics", "get", "metrics", "Metrics in Prometheus's text format", {TEXT: None}),
    Operation("openapi", "get", "openapi.json", "This document", {JSON: None}, keyed=False),
    Operation("playground", "get", "playground", "A page to try the server with", {HTML: None}, keyed=False),
    Operation("playground_chat", "get", "playground/chat", "A page to chat with the model", {HTML: None}, keyed=False),
)
