"""Read the chat template of a checkpoint through `AutoTokenizer`, and check it against ``apply_chat_template``."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

from generation.model.artifact import LONGEST_TEMPLATE
from generation.text.chat_template import ChatTemplate, TemplateError

# Chats to compare. A template may refuse a role or require alternating roles.
_TURNS = [{"role": "user", "content": " Hello <|endoftext|>\n"}, {"role": "assistant", "content": "Grüße, 世界 🙂"}]
CHATS = (_TURNS[:1], [*_TURNS, *_TURNS[:1]], [{"role": "system", "content": "Be brief."}, *_TURNS[:1]], _TURNS)


@dataclass(frozen=True, slots=True)
class Chat:
    """The chat template and special tokens of `ArtifactConfig`, with `notes` for the user."""

    special_tokens: dict[str, Any]
    template: str | None = None
    notes: tuple[str, ...] = ()


def find_chat(fast: PreTrainedTokenizerFast) -> Chat:
    """Return the chat template and the special tokens of a tokenizer.

    A template that the server cannot use is left out, with a note. The model then serves everything except chats.
    """
    tokens: dict[str, Any] = dict(fast.special_tokens_map)
    found: Any = fast.chat_template
    if isinstance(found, dict):  # several templates, by name; the server supports no tools
        found = found.get("default")
    if not found:
        return Chat(tokens)
    if len(found) > LONGEST_TEMPLATE:
        return Chat(tokens, notes=(f"the chat template is left out: it has more than {LONGEST_TEMPLATE} characters",))
    try:
        _compare(fast, found, ChatTemplate(found, tokens))
    except TemplateError as error:
        return Chat(tokens, notes=(f"the chat template is left out: {error}",))
    return Chat(tokens, found)


def _compare(fast: PreTrainedTokenizerFast, source: str, template: ChatTemplate) -> None:
    """Render `CHATS` with both implementations, and compare the results.

    Raises:
        TemplateError: the template refuses all chats, or renders one differently from `transformers`.
    """
    refusals = []
    for messages in CHATS:
        for begun in (True, False):
            try:
                ours = template.render(messages, add_generation_prompt=begun)
            except TemplateError as error:
                refusals.append(error)
                continue
            theirs = fast.apply_chat_template(
                messages, chat_template=source, tokenize=False, add_generation_prompt=begun
            )
            if ours != theirs:
                raise TemplateError(f"it renders {ours[:64]!r} where transformers renders {str(theirs)[:64]!r}")
    if len(refusals) == 2 * len(CHATS):
        raise refusals[0]
