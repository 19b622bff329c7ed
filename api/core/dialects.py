"""How errors are said: in our own words, OpenAI's or Anthropic's.

Who uses a vendor's library gets the vendor's shapes: its library makes its
own exceptions of them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic_core import to_json
from starlette.datastructures import Headers
from starlette.types import Scope

Json = dict[str, Any]

_OVERLOADED = 529
_SERVER_ERROR = 500
# What OpenAI's `type` is called, and its `code` where there is one only.
_OPENAI: Mapping[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", None),
    408: ("timeout", None),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
_ANTHROPIC: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    503: "overloaded_error",
    _OVERLOADED: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no answer, or not the rest of it.

    `param` names the part of the request that is to blame, `retry_after`
    is in seconds. `may_retry` tells the vendors' libraries whether the
    same request may succeed; None leaves that to the status.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    may_retry: bool | None = None

    def headers(self) -> dict[str, str]:
        """Give what the vendors' libraries read beside the status."""
        found: dict[str, str] = {}
        if self.retry_after is not None:
            found["retry-after"] = str(max(math.ceil(self.retry_after), 1))
            found["retry-after-ms"] = str(round(self.retry_after * 1000))
        if self.may_retry is not None:
            found["x-should-retry"] = str(self.may_retry).lower()
        return found


class Dialect(ABC):
    """One vendor's way of saying what went wrong."""

    # The header in which the vendor has its id of a request.
    request_id_header: ClassVar[str]

    @abstractmethod
    def body(self, problem: Problem, request_id: str) -> Json:
        """Give the body of an error's answer."""

    @abstractmethod
    def event(self, problem: Problem, request_id: str) -> bytes:
        """Give the error that ends a stream which has begun."""

    def status(self, problem: Problem) -> int:
        """Give the vendor's status of an error."""
        return problem.status


class OpenAIDialect(Dialect):
    """Chat completions, embeddings and models."""

    request_id_header = "x-request-id"

    def body(self, problem: Problem, request_id: str) -> Json:
        """Give an error object; the id is in the header only."""
        del request_id
        return {"error": self.error(problem)}

    def error(self, problem: Problem) -> Json:
        """Give what stands under `error`."""
        other = (
            "server_error"
            if problem.status >= _SERVER_ERROR
            else "invalid_request_error"
        )
        kind, code = _OPENAI.get(problem.status, (other, None))
        return {
            "message": problem.message,
            "type": kind,
            "param": problem.param,
            "code": problem.code or code,
        }

    def event(self, problem: Problem, request_id: str) -> bytes:
        """Give an event with the error object."""
        return b"data: %s\n\n" % to_json(self.body(problem, request_id))


class ResponsesDialect(OpenAIDialect):
    """Responses: streams have an event of their own."""

    def event(self, problem: Problem, request_id: str) -> bytes:
        """Give an `error` event."""
        del request_id
        error = self.error(problem)
        value = {
            "type": "error",
            "code": error["code"] or error["type"],
            "message": problem.message,
            "param": problem.param,
            "sequence_number": 0,
        }
        return b"event: error\ndata: %s\n\n" % to_json(value)


class AnthropicDialect(Dialect):
    """Messages and models."""

    request_id_header = "request-id"

    def body(self, problem: Problem, request_id: str) -> Json:
        """Give an error object."""
        other = (
            "api_error"
            if problem.status >= _SERVER_ERROR
            else "invalid_request_error"
        )
        kind = _ANTHROPIC.get(problem.status, other)
        message = problem.message
        if problem.param and not message.startswith(problem.param):
            message = f"{problem.param}: {message}"
        return {
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": request_id,
        }

    def event(self, problem: Problem, request_id: str) -> bytes:
        """Give an `error` event."""
        body = to_json(self.body(problem, request_id))
        return b"event: error\ndata: %s\n\n" % body

    def status(self, problem: Problem) -> int:
        """Say overload as Anthropic does."""
        return _OVERLOADED if problem.status == 503 else problem.status  # noqa: PLR2004 - HTTP's


OPENAI, RESPONSES = OpenAIDialect(), ResponsesDialect()
ANTHROPIC = AnthropicDialect()


def dialect_of(scope: Scope) -> Dialect | None:
    """Tell in whose words a request is answered; None: our own."""
    path = str(scope.get("path", ""))
    if not path.startswith("/v1/"):
        return None
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    # Both vendors list their models under one path.
    if "anthropic-version" in Headers(scope=scope):
        return ANTHROPIC
    return RESPONSES if path.startswith("/v1/responses") else OPENAI
