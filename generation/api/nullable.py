"""Base class of bodies that accept null for the default of a field, as OpenAI's and Hugging Face's clients send it."""

from typing import Any

from pydantic import ConfigDict, model_validator

from generation.api.bodies import Body


def _allow_null(schema: dict[str, Any]) -> None:
    """Allow null for every optional field in the JSON schema."""
    for name, one in schema["properties"].items():
        if name not in schema.get("required", ()) and {"type": "null"} not in one.get("anyOf", ()):
            kept = {key: one.pop(key) for key in ("title", "description", "default", "examples") if key in one}
            if isinstance(kept.get("default"), list | dict):
                kept["default"] = None  # client generators reject a default that is a list or an object
            schema["properties"][name] = {"anyOf": [one, {"type": "null"}]} | kept


class NullableBody(Body):
    """A body in which null in an optional field means its default."""

    model_config = ConfigDict(json_schema_extra=_allow_null)

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}
