"""Convert errors to the form of text-generation-inference, ``{"error": message, "error_type": kind}``."""

from typing import Any

from generation.errors import ApiError, GenerationFailedError, InvalidRequestError, NotReadyError, OverloadedError

UNPROCESSABLE, FAILED_DEPENDENCY = 422, 424


def error_form(error: ApiError) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the JSON body of an error."""
    status, kind = error.status, "incomplete_generation"
    if isinstance(error, InvalidRequestError):
        status, kind = UNPROCESSABLE if status == InvalidRequestError.status else status, "validation"
    elif isinstance(error, OverloadedError | NotReadyError):
        kind = "overloaded"
    elif isinstance(error, GenerationFailedError):
        status, kind = FAILED_DEPENDENCY, "generation"
    return status, {"error": error.message, "error_type": kind}
