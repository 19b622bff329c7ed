"""What can go wrong.

MetasyncError
├── ConfigurationError         the client was set up in a wrong way
│   └── MissingPackageError    an optional package is not installed
├── EmbeddedError              the client's own instance did not start
├── NoAnswerError              the server could not be reached, or was silent
├── StatusError                the server refused: `status`, `detail`, `fields`
│   ├── BadRequestError        400
│   ├── AuthenticationError    401
│   ├── PermissionDeniedError  403
│   ├── NotFoundError          404
│   ├── ConflictError          409
│   ├── TooLargeError          413
│   ├── InvalidRequestError    422
│   ├── RateLimitedError       429
│   └── ServerError            500 and above
├── NoWorkerError              nobody would run the jobs
├── WaitTimeoutError           what was waited for has not ended in time
├── JobFailedError             a job ended without an answer
│   └── RowFailedError         a row of `map` has no answer
├── AllFailAlikeError          the first rows have failed for one reason
├── StreamFailedError          a stream broke off
├── ResultsError               results were asked for in a way they are not
└── SignatureError             a webhook's message is not from the server

No message has a key in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class MetasyncError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigurationError(MetasyncError):
    """The client was set up in a wrong way; says what to change."""


class MissingPackageError(ConfigurationError):
    """An optional package is needed; says how to install it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs {package}: pip install 'metasync-client[{extra}]'"
        )


class EmbeddedError(MetasyncError):
    """The client's own instance did not start, or has ended."""


class NoAnswerError(MetasyncError):
    """The server could not be reached, or did not answer in time."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"No answer from {url}: {reason}")
        self.url = url


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request."""

    path: str
    message: str
    type: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class StatusError(MetasyncError):
    """The server refused a request.

    `fields` names the fields that are wrong, if the server says so; with
    `correlation_id`, the request is found in the server's log.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        request: str = "",
        fields: Sequence[FieldError] = (),
        correlation_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.request = request
        self.fields = tuple(fields)
        self.correlation_id = correlation_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        said = "; ".join(map(str, self.fields)) or self.detail
        where = f" to {self.request}" if self.request else ""
        trace = f" (X-Correlation-ID: {self.correlation_id})"
        return (
            f"The server answered {self.status}{where}: {said}"
            f"{trace if self.correlation_id else ''}"
        )


class BadRequestError(StatusError):
    """400: the request breaks a rule."""


class AuthenticationError(StatusError):
    """401: the token is missing, wrong or no longer valid."""


class PermissionDeniedError(StatusError):
    """403: this client may not do that."""


class NotFoundError(StatusError):
    """404: there is no such thing, or it is another client's."""


class ConflictError(StatusError):
    """409: somebody else changed the thing in the same moment."""


class TooLargeError(StatusError):
    """413: the request is larger than the server takes."""


class InvalidRequestError(StatusError):
    """422: a field is not as it must be; see `fields`."""


class RateLimitedError(StatusError):
    """429: too many requests; again after `retry_after` seconds."""


class ServerError(StatusError):
    """500 and above: the server failed, or is overloaded."""


_BY_STATUS: dict[int, type[StatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    422: InvalidRequestError,
    429: RateLimitedError,
}
_SERVER = 500


def class_of(status: int) -> type[StatusError]:
    """Return the class of errors for a status."""
    if status >= _SERVER:
        return ServerError
    return _BY_STATUS.get(status, StatusError)


class NoWorkerError(MetasyncError):
    """No worker that runs would take the jobs."""


class WaitTimeoutError(MetasyncError):
    """What was waited for has not ended in time."""


class JobFailedError(MetasyncError):
    """A job ended without an answer that can be used.

    `error_type` is the server's word for it, such as
    `JSON_PARSING_ERROR`, or `CANCELED`, `DELETED`, `REFUSED` (the server
    did not take the job), `INVALID_ANSWER` (the answer does not fit the
    pydantic model). `answer` is the text of an answer that was paid for
    and cannot be used.
    """

    def __init__(
        self,
        error_type: str,
        message: str,
        *,
        job_id: str | None = None,
        answer: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(error_type, message)
        self.error_type = error_type
        self.message = message
        self.job_id = job_id
        self.answer = answer
        self.http_status = http_status

    def __str__(self) -> str:
        job = f" (job {self.job_id})" if self.job_id else ""
        return f"{self.error_type}: {self.message}{job}"


class RowFailedError(JobFailedError):
    """A row has no answer; `index` is its number in the input, from 0."""

    def __init__(
        self, index: int, error_type: str, message: str, **more: Any
    ) -> None:
        super().__init__(error_type, message, **more)
        self.args = (index, error_type, message)
        self.index = index

    def __str__(self) -> str:
        return f"row {self.index}: {super().__str__()}"


class AllFailAlikeError(MetasyncError):
    """The first rows of `map` have all failed, for the reason in `error`."""

    def __init__(self, count: int, error: RowFailedError) -> None:
        super().__init__(count, error)
        self.error = error

    def __str__(self) -> str:
        count, error = self.args
        return (
            f"The first {count} rows have all failed for one reason: "
            f"{error.error_type}: {error.message}. When that is changed, the "
            "same call goes on; give_up_after=0 never ends it"
        )


class StreamFailedError(MetasyncError):
    """A stream broke off; what came before has been given."""

    def __init__(self, stream_id: str, message: str) -> None:
        super().__init__(f"Stream {stream_id} failed: {message}")
        self.stream_id = stream_id


class ResultsError(MetasyncError):
    """Results were asked for in a way in which they are not there."""


class SignatureError(MetasyncError):
    """A webhook's message is not from the server, or is too old."""
