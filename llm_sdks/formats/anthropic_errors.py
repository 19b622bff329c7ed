"""Errors as Anthropic's clients read them."""

from collections.abc import Mapping

from llm_sdks.formats.api import Json, Problem, ProblemKind, server_sent
from llm_sdks.formats.statuses import OVERLOADED

_TYPES: Mapping[ProblemKind, str] = {
    "bad_request": "invalid_request_error",
    "too_large": "request_too_large",
    "not_authenticated": "authentication_error",
    "not_allowed": "permission_error",
    "not_found": "not_found_error",
    "conflict": "invalid_request_error",
    "rate_limited": "rate_limit_error",
    "quota": "rate_limit_error",
    "overloaded": "overloaded_error",
    "timeout": "timeout_error",
    "provider": "api_error",
    "internal": "api_error",
}


# What makes Anthropic's tool runner send the whole conversation instead of
# a reference to a thread that the server keeps.
_NO_THREADS: Json = {
    "error_code": "thread_unsupported_request",
    "unsupported": ["thread"],
}


def write_error(problem: Problem) -> Json:
    """Write an error's body."""
    error: Json = {
        "type": _TYPES[problem.kind],
        "message": problem.message,
    }
    if problem.param == "thread":
        error["details"] = _NO_THREADS
    body: Json = {"type": "error", "error": error}
    if problem.request_id is not None:
        body["request_id"] = problem.request_id
    return body


def status_of(problem: Problem) -> int:
    """Return the status of HTTP that goes with an error."""
    return OVERLOADED if problem.kind == "overloaded" else problem.status


def stream_error(problem: Problem) -> bytes:
    """Write an error into a stream that has begun; it is the end."""
    return server_sent(write_error(problem), "error")
