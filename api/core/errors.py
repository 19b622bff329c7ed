"""What can go wrong, in the words of the domain.

Services raise these; `error_responses` is the one place that turns them
into HTTP. A message is written for the client who reads it and never
carries a secret.
"""


class MetasyncError(Exception):
    """Base of everything Metasync raises on purpose."""


class NotFoundError(MetasyncError):
    """There is no such thing, or it is not the caller's to see."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} not found")


class RuleError(MetasyncError):
    """The request is well formed but breaks a business rule."""


class ParameterError(RuleError):
    """A request in a vendor's format is not right; `param` is to blame."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ModelUnknownError(NotFoundError):
    """A request in a vendor's format names a model that is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Model {name}")
        self.param = "model"


class TransitionError(RuleError):
    """A job's status cannot go from here to there."""


class AuthenticationError(MetasyncError):
    """A credential is missing or wrong."""


class WrongKeyError(AuthenticationError):
    """A key came, and it is wrong."""


class ForbiddenError(MetasyncError):
    """The caller may read it, but not do this."""


class ProviderFailedError(MetasyncError):
    """The provider could not be used, or failed before it said anything.

    `stream_id` is the record that says so too.
    """

    def __init__(self, message: str, stream_id: str) -> None:
        super().__init__(message)
        self.stream_id = stream_id


class ConflictError(MetasyncError):
    """Somebody else changed the thing in the same moment, and won."""


class TooLargeError(MetasyncError):
    """The request is larger than this server takes."""


class TooManyRequestsError(MetasyncError):
    """The caller asks too often; again in `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyFailedLoginsError(TooManyRequestsError):
    """Too many wrong keys came from the caller's address."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "Too many failed logins from this address; try again later",
            retry_after,
        )


class OverloadedError(MetasyncError):
    """The server has too much to do at once; it can be tried again."""


class InvalidRequestError(MetasyncError):
    """A part of the request does not fit; answered as FastAPI's are.

    `kind` names the rule that is broken, for programs; `location` is the
    way to the part, such as `("header", "Idempotency-Key")`.
    """

    def __init__(
        self, kind: str, location: tuple[str | int, ...], message: str
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.location = location
