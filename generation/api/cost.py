"""What a request costs, computed and bounded in this one place before any work is done for it.

The unit is a token, computed or reported:

- each prompt is computed once, and each of its choices generates `new_tokens`;
- each choice reports its new tokens, and its prompt where that is echoed;
- with log-probabilities each reported token counts once more for itself and for each alternative.

A reported token or log-probability takes some 35 bytes of JSON, so the bound is one on the bytes of an answer, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from generation.config import Settings
from generation.errors import TooLargeError


@dataclass(frozen=True, slots=True)
class Cost:
    """What is asked for.

    Attributes:
        prompts: how many there are.
        prompt_tokens: of all prompts together; where they are not known yet, the fewest that there can be.
        choices: sequences for each prompt.
        new_tokens: tokens for each choice at most.
        echo: whether the answer holds the prompt with each choice.
        logprobs: alternatives reported with each token; None for no report.
        prompt_logprobs: alternatives reported with each token of the prompt by itself; None for no report.
        fields: what the body calls prompt, choices and new tokens.
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
        """Refuse what costs too much, or more choices than can run at once.

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
            f"{prompt} ({self.prompts} of together at least {self.prompt_tokens} tokens)",
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
            f"{settings.max_cost} of MAX_COST: send fewer prompts in a request, or ask for less of each",
            param=self._dearest(settings.max_cost),
        )

    def _dearest(self, most: int) -> str:
        """Return the field that is best lowered."""
        prompt, choices, new = self.fields
        if replace(self, logprobs=self.logprobs and 0, prompt_logprobs=self.prompt_logprobs and 0).tokens <= most:
            more = replace(self, prompt_logprobs=None).tokens < replace(self, logprobs=None).tokens
            return "prompt_logprobs" if more else "logprobs"
        return prompt if self.prompts > 1 else choices if self.choices > 1 else new


def least_tokens(prompts: Sequence[str | Sequence[int]], longest: int | None) -> int:
    """Return the fewest tokens that prompts can have, whose tokens are no longer than `longest` characters."""
    return sum(
        len(one) if not isinstance(one, str) else 1 if longest is None else max(1, -(-len(one) // longest))
        for one in prompts
    )
