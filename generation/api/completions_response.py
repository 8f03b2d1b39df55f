"""Builds OpenAI's completions from the engine's updates."""

from typing import Any

from generation.api.completions_body import CompletionBody
from generation.api.logprobs import Report, prompt_report
from generation.api.openai_response import OpenAIResponse
from generation.engine.request import PromptScores, Update
from generation.service import Loaded


class CompletionResponse(OpenAIResponse):
    """Builds the response to one request."""

    def __init__(self, body: CompletionBody, loaded: Loaded, prompts: list[tuple[int, ...]]) -> None:
        super().__init__(body, loaded, list(map(len, prompts)), "cmpl", loaded.fingerprint)
        self._body = body
        self._tokenizer = loaded.tokenizer
        self._prompts = prompts
        # If a prompt ends within a character, the character belongs to the generated text.
        special = not body.skip_special_tokens
        self._echoed = [loaded.tokenizer.echo(ids, special=special) if body.echo else "" for ids in prompts]
        self._reports: dict[int, Report] = {}
        self._scores: dict[int, PromptScores] = {}

    def _object(self, *, streamed: bool) -> str:  # noqa: ARG002 - events have the same name
        return "text_completion"

    def _note(self, scores: PromptScores) -> None:
        self._scores[scores.number] = scores

    def _piece(self, item: Update, number: int, *, first: bool) -> dict[str, Any]:
        body = self._body
        text = self._echoed[number] + item.text if first else item.text
        piece: dict[str, Any] = {"text": text, "logprobs": self._logprobs(item, number, first=first)}
        if body.prompt_logprobs is not None and first:
            scores = self._scores[number].tokens if number in self._scores else ()
            piece["prompt_logprobs"] = prompt_report(scores, self._tokenizer, body.prompt_logprobs)
        if body.return_token_ids:
            if first:
                piece["prompt_token_ids"] = list(self._prompts[number])
            piece["token_ids"] = [token.id for token in item.tokens] + list(item.cut)
        return piece

    def _extend(self, choice: dict[str, Any], piece: dict[str, Any]) -> None:
        choice["text"] += piece["text"]
        if choice["logprobs"] is not None:
            for name, values in piece["logprobs"].items():
                choice["logprobs"][name] += values
        if "token_ids" in choice:
            choice["token_ids"] += piece["token_ids"]

    def _logprobs(self, item: Update, number: int, *, first: bool) -> dict[str, list[Any]] | None:
        body = self._body
        if body.reported is None:
            return None
        report = Report(self._tokenizer, as_ids=body.return_tokens_as_token_ids)
        if first and body.echo and number in self._scores:
            report.extend(self._prompt_report(number, body.reported))
        report.add(item.tokens, shift=len(self._echoed[number]))
        return report.lists()

    def _prompt_report(self, number: int, alternatives: int) -> Report:
        """Return the report on a prompt; it is made once for all choices."""
        if number not in self._reports:
            self._reports[number] = Report(self._tokenizer, as_ids=self._body.return_tokens_as_token_ids)
            self._reports[number].add_prompt(self._scores[number].tokens, alternatives)
        return self._reports[number]
