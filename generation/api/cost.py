"""Computes and bounds the cost of a request before any work is done for it.

The unit is a token, computed or reported:

- each prompt is computed once, and each of its choices generates `new_tokens`;
- each choice reports its new tokens, and its prompt if that is echoed;
- with log-probabilities each reported token counts once more for itself and for each alternative.

A reported token or log-probability takes about 35 bytes of JSON, so the bound also limits the size of an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from generation.config import Settings
from generation.errors import TooLargeError


@dataclass(frozen=True, slots=True)
class Cost:
    """The quantities that determine the cost of a request.

    Attributes:
        prompts: number of prompts.
        prompt_tokens: of all prompts together; before they are tokenized, a lower bound.
        choices: sequences for each prompt.
        new_tokens: maximum number of tokens for each choice.
        echo: whether each choice of the answer includes the prompt.
        logprobs: alternatives reported with each token; None if no log-probabilities are reported.
        prompt_logprobs: the same for the prompt's own report.
        fields: the body's names of prompt, choices and new tokens.
    """

    prompts: int
    prompt_tokens: int
    choices: int
    new_tokens: int
    echo: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    fields: tuple[str, str, str] = ("prompt", "n", "max_tokens")

    @property
    def tokens(self) -> int:
        """The cost, in tokens."""
        new = self.prompts * self.choices * self.new_tokens
        reported = new + (self.choices * self.prompt_tokens if self.echo else 0)
        of_prompt = 0 if self.prompt_logprobs is None else self.choices * self.prompt_tokens
        return (
            self.prompt_tokens
            + new
            + reported * (1 if self.logprobs is None else 2 + self.logprobs)
            + of_prompt * (1 if self.prompt_logprobs is None else 2 + self.prompt_logprobs)
        )

    def check(self, settings: Settings) -> None:
        """Refuse a request that costs too much, or has more choices than can run at once.

        Raises:
            TooLargeError: the message names the fields and the bound.
        """
        prompt, choices, new = self.fields
        if self.choices > settings.max_running:
            message = f"{choices}: at most {settings.max_running} choices can run at once, got {self.choices}"
            raise TooLargeError(message, param=choices)
        if self.tokens <= settings.max_cost:
            return
        parts = [
            f"{prompt} ({self.prompts}, with at least {self.prompt_tokens} tokens in all)",
            f"{choices}={self.choices}",
            f"{new}={self.new_tokens}",
        ]
        if self.echo:
            parts.append("the prompt in the answer")
        if self.logprobs is not None:
            parts.append(f"logprobs={self.logprobs}")
        if self.prompt_logprobs is not None:
            parts.append(f"prompt_logprobs={self.prompt_logprobs}")
        raise TooLargeError(
            f"{', '.join(parts)}: this costs {self.tokens} tokens to compute and report, more than the "
            f"{settings.max_cost} of MAX_COST: send fewer prompts in a request, or ask for less with each",
            param=self._dearest(settings.max_cost),
        )

    def _dearest(self, most: int) -> str:
        """Return the field whose value the client should lower."""
        prompt, choices, new = self.fields
        if replace(self, logprobs=self.logprobs and 0, prompt_logprobs=self.prompt_logprobs and 0).tokens <= most:
            more = replace(self, prompt_logprobs=None).tokens < replace(self, logprobs=None).tokens
            return "prompt_logprobs" if more else "logprobs"
        return prompt if self.prompts > 1 else choices if self.choices > 1 else new


def least_tokens(prompts: Sequence[str | Sequence[int]], longest: int | None) -> int:
    """Return the fewest tokens that the prompts can have if no token is longer than `longest` characters."""
    return sum(
        len(one) if not isinstance(one, str) else 1 if longest is None else max(1, -(-len(one) // longest))
        for one in prompts
    )
