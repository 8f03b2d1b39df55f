"""Stand-ins for the messages that Azure's host and its Python worker exchange.

The runtime library takes them by injection and only reads attributes, so namespaces are enough.
"""

from types import SimpleNamespace
from typing import Any


class Message(SimpleNamespace):
    """A message with whatever fields it is given."""


class StatusResult(Message):
    """How something went."""

    Failure = 0
    Success = 1


class BindingInfo(Message):
    """A binding of a function, with the constants that the runtime compares directions and types with."""

    undefined = 0
    out = 1
    inout = 2


class TypedData(Message):
    """A value of one of several types; the one field that is set names the type."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        """Return the name of the field that is set."""
        return next(iter(vars(self)), None)


class ParameterBinding(Message):
    """The value of one parameter of a function."""

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - protobuf's name
        """Say that the value is in the message, and not in shared memory."""
        return "data"


_PLAIN = (
    "FunctionLoadResponse",
    "FunctionMetadataResponse",
    "InvocationResponse",
    "RpcException",
    "RpcFunctionMetadata",
    "RpcHttp",
    "RpcRetryOptions",
    "WorkerInitResponse",
    "WorkerMetadata",
)

PROTOS = SimpleNamespace(
    StatusResult=StatusResult,
    BindingInfo=BindingInfo,
    TypedData=TypedData,
    ParameterBinding=ParameterBinding,
    **dict.fromkeys(_PLAIN, Message),
)


def envelope(verb: str, properties: dict[str, Any], **fields: Any) -> Message:
    """Return a request as the runtime's entry points take it."""
    return Message(request=Message(**{verb: Message(**fields)}), properties=properties)
