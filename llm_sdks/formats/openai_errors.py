"""Errors as OpenAI's clients read them."""

from collections.abc import Mapping

from llm_sdks.formats.api import Json, Problem, ProblemKind, server_sent

# By kind: the error's type and code.
_KINDS: Mapping[ProblemKind, tuple[str, str | None]] = {
    "bad_request": ("invalid_request_error", None),
    "too_large": ("invalid_request_error", "request_too_large"),
    "not_authenticated": ("invalid_request_error", "invalid_api_key"),
    "not_allowed": ("invalid_request_error", "permission_denied"),
    "not_found": ("invalid_request_error", "model_not_found"),
    "conflict": ("invalid_request_error", "conflict"),
    "rate_limited": ("requests", "rate_limit_exceeded"),
    "quota": ("insufficient_quota", "insufficient_quota"),
    "overloaded": ("server_error", "overloaded"),
    "timeout": ("server_error", "timeout"),
    "provider": ("server_error", "provider_error"),
    "internal": ("server_error", None),
}


def write_error(problem: Problem) -> Json:
    """Write an error's body."""
    kind, code = _KINDS[problem.kind]
    return {
        "error": {
            "message": problem.message,
            "type": kind,
            "param": problem.param,
            "code": code or problem.code,
        }
    }


def status_of(problem: Problem) -> int:
    """Return the status of HTTP that goes with an error."""
    return problem.status


def stream_error(problem: Problem) -> bytes:
    """Write an error into a stream that has begun; it is the end."""
    return server_sent(write_error(problem))
