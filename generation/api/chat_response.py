"""Build OpenAI's chat completions from the engine's updates."""

from typing import Any

from generation.api.chat_body import ChatBody
from generation.api.logprobs import LOWEST, token_name
from generation.api.openai_response import OpenAIResponse
from generation.engine.request import Token, Update
from generation.service import Loaded


class ChatResponse(OpenAIResponse):
    """Builds the chat completion of one request, streamed or whole."""

    def __init__(self, body: ChatBody, loaded: Loaded, prompt: tuple[int, ...], fingerprint: str) -> None:
        super().__init__(body, loaded, [len(prompt)], "chatcmpl", fingerprint)
        self._tokenizer = loaded.tokenizer
        self._prompt = prompt
        self._as_ids = body.return_tokens_as_token_ids
        self._with_logprobs, self._with_ids = body.logprobs, body.return_token_ids

    def _object(self, *, streamed: bool) -> str:
        return "chat.completion.chunk" if streamed else "chat.completion"

    def _piece(self, item: Update, number: int, *, first: bool) -> dict[str, Any]:  # noqa: ARG002 - there is one prompt
        delta = {"role": "assistant"} if first else {}
        piece: dict[str, Any] = {"delta": delta | {"content": item.text}, "logprobs": None}
        if self._with_logprobs:
            piece["logprobs"] = {"content": list(map(self._report, item.tokens)), "refusal": None}
        if self._with_ids:
            if first:
                piece["prompt_token_ids"] = list(self._prompt)
            piece["token_ids"] = [token.id for token in item.tokens] + list(item.cut)
        return piece

    def _extend(self, choice: dict[str, Any], piece: dict[str, Any]) -> None:
        choice["delta"]["content"] += piece["delta"]["content"]
        if choice["logprobs"] is not None:
            choice["logprobs"]["content"] += piece["logprobs"]["content"]
        if "token_ids" in choice:
            choice["token_ids"] += piece["token_ids"]

    def _finish(self, choice: dict[str, Any]) -> dict[str, Any]:
        message = choice.pop("delta") | {"refusal": None}
        return {"index": choice.pop("index"), "message": message, **choice}

    def _report(self, token: Token) -> dict[str, Any]:
        top = [self._entry(other, logprob) for other, logprob in token.alternatives.items()]
        return self._entry(token.id, token.logprob or 0.0) | {"top_logprobs": top}

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        data = self._tokenizer.token_bytes(token) or self._tokenizer.piece(token).encode()
        name = token_name(self._tokenizer, token, as_id=self._as_ids)
        return {"token": name, "logprob": max(logprob, LOWEST), "bytes": list(data)}
