"""What can go wrong between us and a provider: one small family.

Every plug-in turns its library's errors into these; the pipeline decides
by `retryable` and knows no vendor. Messages never carry a key.
"""

from typing import ClassVar

from llm_sdks.base_sdk import Usage


class LLMError(Exception):
    """Base of the family; `kind` is what `errorData.errorType` says.

    `retry_after` is how many seconds the provider asks to wait.
    """

    kind: ClassVar[str] = "LLM_ERROR"
    # Whether the same call may succeed later.
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.request_id = request_id
        # What is no such number (a provider may send NaN) was not told.
        told = retry_after is not None and retry_after >= 0
        self.retry_after = retry_after if told else None
        # Which of the call's options is to blame, where the provider says.
        self.param: str | None = None


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
    """Too many calls."""

    kind = "RATE_LIMITED"
    retryable = True


class OverloadedError(LLMError):
    """The provider has no capacity just now."""

    kind = "OVERLOADED"
    retryable = True


class ModelUnavailableError(LLMError):
    """No call was made: the model is paused for `retry_after` seconds.

    Its gate (`llm_sdks.resilience.model_gate`) says so, not the provider.
    """

    kind = "MODEL_UNAVAILABLE"
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


class PartialAnswerError(LLMError):
    """An answer came, but not a whole one.

    What came is kept in `partial_text`, what it cost in `usage`.
    """

    def __init__(
        self,
        message: str,
        *,
        partial_text: str = "",
        usage: Usage | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message, http_status=http_status, request_id=request_id
        )
        self.partial_text = partial_text
        self.usage = usage or Usage()


class ContentFilteredError(PartialAnswerError):
    """The provider's filter held the answer, or the rest of it, back."""

    kind = "CONTENT_FILTERED"


class TruncatedError(PartialAnswerError):
    """The answer reached the model's limit of tokens and was cut."""

    kind = "TRUNCATED"
