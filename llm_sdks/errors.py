"""What can go wrong between us and a provider: one small family.

Every plug-in turns its library's errors into these; the pipeline decides
by `retryable` and knows no vendor. Messages never carry a key.
"""

from typing import ClassVar


class LLMError(Exception):
    """Base of the family; `kind` is what `errorData.errorType` says."""

    kind: ClassVar[str] = "LLM_ERROR"
    # Whether the same call may succeed later.
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.request_id = request_id


class ConfigurationError(LLMError):
    """The model's settings cannot work; says which and why."""

    kind = "CONFIGURATION_ERROR"


class PluginError(LLMError):
    """The plug-in raised something that is not of this family."""

    kind = "PLUGIN_ERROR"


class CannotConnectError(LLMError):
    """No connection to the provider."""

    kind = "CONNECTION_ERROR"
    retryable = True


class CallTimeoutError(LLMError):
    """No answer in time."""

    kind = "TIMEOUT"
    retryable = True


class RateLimitedError(LLMError):
    """Too many calls; `retry_after` seconds are what the provider asks."""

    kind = "RATE_LIMITED"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        http_status: int | None = 429,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message, http_status=http_status, request_id=request_id
        )
        self.retry_after = retry_after


class OverloadedError(LLMError):
    """The provider has no capacity just now."""

    kind = "OVERLOADED"
    retryable = True


class ProviderError(LLMError):
    """The provider failed on its side."""

    kind = "PROVIDER_ERROR"
    retryable = True


class BadRequestError(LLMError):
    """The provider does not take this request; it never will."""

    kind = "BAD_REQUEST"


class NotAuthorizedError(LLMError):
    """The provider does not take this key."""

    kind = "NOT_AUTHORIZED"


class _PartialAnswerError(LLMError):
    """An answer came, but not a whole one; what came is kept."""

    def __init__(
        self,
        message: str,
        *,
        partial_text: str = "",
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message, http_status=http_status, request_id=request_id
        )
        self.partial_text = partial_text


class ContentFilteredError(_PartialAnswerError):
    """The provider's filter held the answer back."""

    kind = "CONTENT_FILTERED"
