"""Typed errors with an HTTP status, type, code, the offending parameter and a message.

The body has the shape of OpenAI's errors, which that API's clients turn into exceptions:
``{"error": {"message", "type", "param", "code"}}``.
"""

import math
from collections.abc import Callable
from typing import Any


class ApiError(Exception):
    """An error whose message the caller sees."""

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the JSON body."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return the error's headers: ``Retry-After`` in whole seconds if the request can be retried."""
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}


ErrorForm = Callable[[ApiError], tuple[int, dict[str, Any]]]


def openai_form(error: ApiError) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON body of an error in OpenAI's form, which every contract has but Hugging Face's."""
    return error.status, error.body()


class InvalidRequestError(ApiError):
    """The request is wrong; retrying cannot fix it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


def refused(param: str, message: str) -> InvalidRequestError:
    """Return the error for a value of the field `param`; the message begins with the field's name."""
    return InvalidRequestError(f"{param}: {message}", param=param)


class UnknownFieldError(InvalidRequestError):
    """The request has a field that this server does not know or support."""

    code = "unsupported_parameter"


class InvalidBodyError(InvalidRequestError):
    """The body is not JSON, or is not an object."""

    code = "invalid_body"


class BodyTooLargeError(InvalidRequestError):
    """The body has more bytes than the setting `MAX_BODY_KB` allows."""

    status = 413
    code = "body_too_large"


class UnsupportedEncodingError(InvalidRequestError):
    """The body is compressed."""

    status = 415
    code = "unsupported_encoding"


class SlowRequestError(InvalidRequestError):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"


class ContextLengthError(InvalidRequestError):
    """The prompt and the new tokens do not fit into the context window."""

    code = "context_length_exceeded"


class TooLargeError(InvalidRequestError):
    """The request costs too much, or even an idle server could not admit it."""

    code = "request_too_large"


class ModelNotFoundError(InvalidRequestError):
    """The request names a model that this server does not serve."""

    status = 404
    code = "model_not_found"


class UnauthorizedError(InvalidRequestError):
    """The request carries none of the API keys."""

    status = 401
    code = "invalid_api_key"

    def headers(self) -> dict[str, str]:
        """Return the authentication scheme, which RFC 9110 requires in every 401."""
        return super().headers() | {"WWW-Authenticate": "Bearer"}


class OverloadedError(ApiError):
    """The queue is full. `retry_after_s` is computed from the backlog."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"


class NotReadyError(ApiError):
    """The model is loading, the process is draining, or the model could not be loaded."""

    status = 503
    code = "not_ready"


class ChatTemplateError(ApiError):
    """The chat template of the model, or the operator's, cannot be used."""

    code = "chat_template_failed"


class GenerationFailedError(ApiError):
    """The step that computed this request failed unexpectedly."""

    code = "generation_failed"


class DeadlineError(ApiError):
    """The request reached its deadline before a token was generated."""

    status = 503
    code = "timeout"
