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

from llm_sdks.formats import anthropic_errors, api, openai_errors
from llm_sdks.formats.statuses import OVERLOADED

Json = dict[str, Any]

NO_QUOTA = "insufficient_quota"
_WRONG_KEY = 401
# OpenAI's. Its type of this error is that of a bad request: some libraries
# tell the two apart by these words.
_KEY_WORDS = "Incorrect API key provided"
_UNAVAILABLE = 503
_SERVER_ERROR = 500
_KINDS: Mapping[int, api.ProblemKind] = {
    401: "not_authenticated",
    403: "not_allowed",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    429: "rate_limited",
    502: "provider",
    503: "overloaded",
    504: "timeout",
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

    def told(self, request_id: str) -> api.Problem:
        """Give it as the vendors' formats take it."""
        kind: api.ProblemKind = "bad_request"
        if self.status >= _SERVER_ERROR:
            kind = "internal"
        kind = _KINDS.get(self.status, kind)
        if self.code == NO_QUOTA:
            kind = "quota"
        return api.Problem(
            kind, self.message, self.param, self.code, request_id
        )


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
        body = openai_errors.write_error(problem.told(request_id))
        if problem.status == _WRONG_KEY:
            body["error"]["message"] = f"{_KEY_WORDS}: {problem.message}"
        if problem.code or problem.param is None:
            # Not everything that is not found is a model.
            code = body["error"]["code"]
            is_model = code == "model_not_found"
            body["error"]["code"] = problem.code or (
                None if is_model else code
            )
        return body

    def event(self, problem: Problem, request_id: str) -> bytes:
        """Give an event with the error object."""
        return b"data: %s\n\n" % to_json(self.body(problem, request_id))


class ResponsesDialect(OpenAIDialect):
    """Responses: streams have an event of their own."""

    def event(self, problem: Problem, request_id: str) -> bytes:
        """Give an `error` event."""
        error = self.body(problem, request_id)["error"]
        value = {
            "type": "error",
            "code": error["code"] or error["type"],
            "message": problem.message,
            "param": problem.param,
            "sequence_number": 0,
            # For OpenAI's library, which then makes an exception of it.
            "error": error,
        }
        return b"event: error\ndata: %s\n\n" % to_json(value)


class AnthropicDialect(Dialect):
    """Messages and models."""

    request_id_header = "request-id"

    def body(self, problem: Problem, request_id: str) -> Json:
        """Give an error object."""
        body = anthropic_errors.write_error(problem.told(request_id))
        param, error = problem.param, body["error"]
        if param and not error["message"].startswith(param):
            # Anthropic has no other place for it.
            error["message"] = f"{param}: {error['message']}"
        return body

    def event(self, problem: Problem, request_id: str) -> bytes:
        """Give an `error` event."""
        body = to_json(self.body(problem, request_id))
        return b"event: error\ndata: %s\n\n" % body

    def status(self, problem: Problem) -> int:
        """Say overload as Anthropic does."""
        is_overload = problem.status == _UNAVAILABLE
        return OVERLOADED if is_overload else problem.status


# Of requests that go to the providers whatever they are.
PROXY_PATHS = ("/proxy/", "/forward/")
OPENAI, RESPONSES = OpenAIDialect(), ResponsesDialect()
ANTHROPIC = AnthropicDialect()


def dialect_of(scope: Scope) -> Dialect | None:
    """Tell in whose words a request is answered; None: our own."""
    path = str(scope.get("path", ""))
    if path.startswith(PROXY_PATHS):
        # Behind the model's name, or the host's.
        path = f"/{path.split('/', 3)[-1]}"
        if not path.startswith("/v1/"):
            path = f"/v1{path}"
    if not path.startswith("/v1/"):
        return None
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    # Both vendors list their models under one path.
    if "anthropic-version" in Headers(scope=scope):
        return ANTHROPIC
    return RESPONSES if path.startswith("/v1/responses") else OPENAI
