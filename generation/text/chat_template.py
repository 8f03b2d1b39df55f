"""Chat templates: Jinja that renders the messages of a chat as a prompt, as transformers' ``apply_chat_template`` does.

Jinja is imported with the first template. A template comes with the model or from the operator, and is trusted as far
as these: it runs in Jinja's immutable sandbox, and what it renders is bounded in time and length.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import FrameType
from typing import Any

MOST_CHARACTERS = 1 << 20
# Of the processor; a template takes less than a millisecond for a chat of a few messages.
MOST_S = 1.0


class TemplateError(ValueError):
    """The template is no template, or does not accept the messages."""


class ChatTemplate:
    """A compiled template.

    Args:
        source: the template.
        special_tokens: what the template knows by name, such as ``eos_token``.

    Raises:
        TemplateError: it is no template.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, Any]) -> None:
        from jinja2 import TemplateError as JinjaError

        self._special_tokens = dict(special_tokens)
        try:
            self._template = _environment().from_string(source)
        except (JinjaError, RecursionError) as error:
            line = getattr(error, "lineno", None)
            where = "" if line is None else f" (line {line})"
            raise TemplateError(f"it cannot be read: {error}{where}") from None

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True) -> str:
        """Return the prompt.

        Raises:
            TemplateError: the template refuses the messages, fails on them, or takes too long or too much.
        """
        values = {
            **self._special_tokens,
            "messages": messages,
            "tools": None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        previous = sys.gettrace()
        sys.settrace(_Deadline(time.thread_time() + MOST_S).trace)
        try:
            return self._joined(values)
        except TemplateError:
            raise
        except Exception as error:  # noqa: BLE001
            # What a template raises by itself, and whatever its expressions meet: their kinds are without number.
            raise TemplateError(str(error) or type(error).__name__) from None
        finally:
            sys.settrace(previous)

    def _joined(self, values: Mapping[str, Any]) -> str:
        parts, size = list[str](), 0
        for part in self._template.generate(values):
            parts.append(part)
            size += len(part)
            if size > MOST_CHARACTERS:
                raise TemplateError(f"the prompt has more than {MOST_CHARACTERS} characters")
        return "".join(parts)


class _Deadline:
    """Ends what runs in a thread at its next line of Python once the thread has used its time."""

    def __init__(self, end: float) -> None:
        self._end = end

    def trace(self, _frame: FrameType, _event: str, _argument: object) -> Any:
        """Check the time; `sys.settrace` describes the signature."""
        if time.thread_time() > self._end:
            raise TemplateError(f"it takes more than {MOST_S:g} s for these messages")
        return self.trace


def _environment() -> Any:
    """Return an environment that renders as that of transformers' ``apply_chat_template``."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The block ``{% generation %}``, which marks an assistant's text for training: its content alone."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

        def _content(self, caller: Any) -> str:
            return str(caller())

    class Environment(ImmutableSandboxedEnvironment):
        """Bounds operators whose one step could take minutes or gigabytes."""

        intercepted_binops = frozenset(["*", "**"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**" or any(isinstance(one, int) and abs(one) > MOST_CHARACTERS for one in (left, right)):
                raise TemplateError(f"it computes {operator} of large numbers")
            return super().call_binop(context, operator, left, right)

    def to_json(
        value: Any,
        ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - the signature that templates use
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,  # noqa: FBT001, FBT002
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    made = Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005 - as transformers does
    return made
