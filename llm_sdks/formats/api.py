"""What the formats that clients speak to us have in common.

Each is a module of three: `read` for requests, `write` for whole answers,
`StreamWriter` for streams; and two for errors: `write_error` and
`status_of`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, Protocol

from pydantic_core import to_json

from llm_sdks import errors
from llm_sdks.answers import Event
from llm_sdks.conversation import Conversation

Json = dict[str, Any]

ProblemKind = Literal[
    "bad_request",
    "too_large",
    "not_authenticated",
    "not_allowed",
    "not_found",
    "conflict",
    "rate_limited",
    "quota",
    "overloaded",
    "timeout",
    "provider",
    "internal",
]


@dataclass(frozen=True, slots=True)
class ConversationAsked:
    """A client's request, in our own terms.

    `stream_usage` asks for the usage at the end of a stream, in the formats
    where it has to be asked for.
    """

    model: str
    conversation: Conversation
    stream: bool = False
    stream_usage: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer says of itself.

    `id` is ours, of letters and digits; each format puts its own prefix
    before it. `model` is what the client called the model. `created` is in
    seconds since 1970. `request` is the request's body, which some formats
    repeat in part.
    """

    id: str
    model: str
    created: int
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no answer; `param` is the path of the field to blame."""

    kind: ProblemKind
    message: str
    param: str | None = None
    code: str | None = None
    request_id: str | None = None

    @property
    def status(self) -> int:
        """The status of HTTP; formats may have others of their own."""
        return _STATUSES[self.kind]


_STATUSES: Mapping[ProblemKind, int] = {
    "bad_request": HTTPStatus.BAD_REQUEST,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "not_authenticated": HTTPStatus.UNAUTHORIZED,
    "not_allowed": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "quota": HTTPStatus.TOO_MANY_REQUESTS,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "provider": HTTPStatus.BAD_GATEWAY,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
}

# The first that fits counts.
_KINDS: tuple[tuple[type[errors.LLMError], ProblemKind], ...] = (
    (errors.ModelNotFoundError, "not_found"),
    (errors.BadRequestError, "bad_request"),
    (errors.ContentFilteredError, "bad_request"),
    (errors.AccountExhaustedError, "quota"),
    (errors.RateLimitedError, "rate_limited"),
    (errors.ModelUnavailableError, "overloaded"),
    (errors.OverloadedError, "overloaded"),
    (errors.CallTimeoutError, "timeout"),
    # Of the model's key with its provider: not the client's fault.
    (errors.NotAuthorizedError, "provider"),
    (errors.PluginError, "internal"),
    (errors.ConfigurationError, "internal"),
    (errors.LLMError, "provider"),
)


def problem_of(error: errors.LLMError) -> Problem:
    """Return what a client is told of a failed call."""
    kind = next(kind for base, kind in _KINDS if isinstance(error, base))
    if isinstance(error, errors.ConfigurationError) and error.param:
        # The model's settings are in order: it lacks what is asked for.
        kind = "bad_request"
    return Problem(
        kind, str(error), error.param, error.kind.lower(), error.request_id
    )


class StreamWriter(Protocol):
    """Writes one stream: bytes of server-sent events, to be sent as is."""

    def write(self, event: Event) -> bytes:
        """Write an event; empty where the format says nothing of it."""

    def fail(self, problem: Problem) -> bytes:
        """Write that the stream ends here without the rest."""


def server_sent(value: Any, name: str = "") -> bytes:  # noqa: ANN401 - JSON is any of six types
    """Write one event."""
    data = to_json(value)
    if name:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"data: %b\n\n" % data
