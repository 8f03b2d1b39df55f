"""Request completions with the unmodified `openai` client, whole and streamed."""

import inspect
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, cast

from openai import OpenAI
from openai.resources import Completions
from openai.types import Completion

# Parameters of OpenAI's own.
KNOWN = inspect.signature(Completions.create).parameters.keys()


@lru_cache
def model(api: OpenAI) -> str:
    """Return the name of the served model."""
    return api.models.list().data[0].id


def arguments(**body: Any) -> dict[str, Any]:
    """Return the arguments of the client for a request; fields that OpenAI does not have go to ``extra_body``."""
    extra = {name: body.pop(name) for name in body.keys() - KNOWN}
    return body | ({"extra_body": extra} if extra else {})


def whole(api: OpenAI, **body: Any) -> Completion:
    """Return a whole response."""
    return cast("Completion", api.completions.create(**arguments(**{"model": model(api)} | body)))


def chunks(api: OpenAI, **body: Any) -> list[Completion]:
    """Return all events of a streamed response."""
    events: Iterable[Completion] = api.completions.create(**arguments(**{"model": model(api)} | body, stream=True))
    return list(events)


def texts(answer: Completion) -> list[str]:
    """Return the text of every choice."""
    return [choice.text for choice in answer.choices]


def choices(answer: Completion) -> list[dict[str, Any]]:
    """Return the choices in order of arrival."""
    return [choice.model_dump() for choice in answer.choices]


def joined(events: Iterable[Completion]) -> list[dict[str, Any]]:
    """Join the pieces of each choice of a stream; check that nothing follows a finish reason."""
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        for part in choices(event):
            if part["index"] not in found:
                found[part["index"]] = part
                continue
            so_far = found[part["index"]]
            assert so_far["finish_reason"] is None
            so_far["text"] += part["text"]
            so_far["finish_reason"] = part["finish_reason"]
            for name, values in (part["logprobs"] or {}).items():
                so_far["logprobs"][name] += values
    return [found[index] for index in sorted(found)]
