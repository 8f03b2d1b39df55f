"""Render the messages of a chat as a prompt with a Jinja template, as transformers' ``apply_chat_template`` does.

Jinja is imported with the first template. A template comes with the model or from the operator. It runs in Jinja's
immutable sandbox, with limits on its processor time and on the length of the prompt.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import FrameType
from typing import Any

MOST_CHARACTERS = 1 << 20
# Limit of processor time. A chat of a few messages takes less than a millisecond.
MOST_S = 1.0


class TemplateError(ValueError):
    """The template is invalid, or refuses the messages."""


class ChatTemplate:
    """A compiled template.

    Args:
        source: the template's text.
        special_tokens: variables of the template by name, such as ``eos_token``.

    Raises:
        TemplateError: the template cannot be compiled.
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
            TemplateError: the template refuses the messages or fails on them, or exceeds the limit of time or length.
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
            # An expression in a template can raise any exception.
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
    """Trace function that raises `TemplateError` once the thread has used its processor time."""

    def __init__(self, end: float) -> None:
        self._end = end

    def trace(self, _frame: FrameType, _event: str, _argument: object) -> Any:
        """Check the time used; the signature is that of `sys.settrace`."""
        if time.thread_time() > self._end:
            raise TemplateError(f"it takes more than {MOST_S:g} s for these messages")
        return self.trace


def _environment() -> Any:
    """Return an environment with the settings, filters and globals of transformers' ``apply_chat_template``."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Renders the content of ``{% generation %}``, the block that marks assistant text for training."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

        def _content(self, caller: Any) -> str:
            return str(caller())

    class Environment(ImmutableSandboxedEnvironment):
        """Limits operators of which a single call could take minutes or gigabytes."""

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
