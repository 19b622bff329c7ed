"""What can go wrong between us and a provider.

    LLMError
    ├── ConfigurationError
    ├── PluginError
    ├── CannotConnectError        retryable
    ├── CallTimeoutError          retryable
    ├── RateLimitedError          retryable
    │   └── AccountExhaustedError
    │       └── QuotaExhaustedError
    ├── OverloadedError           retryable
    ├── ModelUnavailableError     retryable
    ├── ProviderError             retryable
    │   └── UnreadableAnswerError   3 calls at most
    ├── FailedGenerationError     retryable, 3 calls at most
    ├── UnknownEndingError        retryable, 3 calls at most
    ├── BadRequestError
    │   ├── ContextTooLongError
    │   └── ModelNotFoundError
    ├── NotAuthorizedError
    └── PartialAnswerError        an answer came, and another one would
        ├── ContentFilteredError  not be better
        ├── TruncatedError
        └── ToolCalledError

Every plug-in turns its library's errors into these. The pipeline decides
by `retryable` and `max_calls` and knows no vendor. Messages never carry a
key.
"""

from typing import ClassVar

from llm_sdks.usage import Usage


class LLMError(Exception):
    """Base of the family; `kind` is what `errorData.errorType` says.

    `retry_after` is how many seconds the provider asks to wait: None if it
    does not say, 0.0 if it says "at once". `usage` and `partial_text` are
    what the provider had counted and sent before the call failed.
    """

    kind: ClassVar[str] = "LLM_ERROR"
    # Whether the same call may succeed later.
    retryable: ClassVar[bool] = False
    # How often a call may be made that fails so, the first one included.
    # None: as often as the retry policy says. A number is set where every
    # failure is paid for.
    max_calls: ClassVar[int | None] = None

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        partial_text: str = "",
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.request_id = request_id
        # Other values (a provider may send NaN) count as missing.
        told = retry_after is not None and retry_after >= 0
        self.retry_after = retry_after if told else None
        self.partial_text = partial_text
        self.usage = usage or Usage()
        # Which of the call's options is to blame, where the provider says.
        self.param: str | None = None
        # What came in place of an answer, for those who hand it on.
        self.content: bytes | None = None


class ConfigurationError(LLMError):
    """The model's settings cannot work; says which and why.

    With a `param`: the model lacks what that option of the call asks for.
    """

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


class ContextTooLongError(BadRequestError):
    """The request is longer than this model takes; others may take it.

    Unless it `is_proven`, the words that say so may be the request's own.
    """

    is_proven = True


class ModelNotFoundError(BadRequestError):
    """The provider has no such model, or has it no longer."""

    kind = "MODEL_NOT_FOUND"


class NotAuthorizedError(LLMError):
    """The provider does not take this key."""

    kind = "NOT_AUTHORIZED"


class AccountExhaustedError(RateLimitedError):
    """The account cannot pay: no credit, no quota, billing is off.

    Only money helps. The jobs wait, as under a rate limit.
    """

    kind = "ACCOUNT_EXHAUSTED"


class QuotaExhaustedError(AccountExhaustedError):
    """A day's quota is used up. The provider gives a new one each day."""

    kind = "QUOTA_EXHAUSTED"


class PartialAnswerError(LLMError):
    """An answer came and is paid for, but it is not a whole one.

    `partial_text` keeps what came, `usage` what it cost.
    """


class ContentFilteredError(PartialAnswerError):
    """The provider's filter withheld the answer, or the rest of it."""

    kind = "CONTENT_FILTERED"


class TruncatedError(PartialAnswerError):
    """The answer reached the model's limit of tokens and was cut."""

    kind = "TRUNCATED"


class ToolCalledError(PartialAnswerError):
    """The model called a tool instead of answering.

    `partial_text` keeps its text and the arguments of the call.
    """

    kind = "TOOL_CALLED"


class FailedGenerationError(LLMError):
    """The model's output broke the provider's own rules.

    For example a tool call that cannot be parsed, or invalid JSON where
    the provider promised JSON. `partial_text` keeps what the provider
    shows of it.
    """

    kind = "GENERATION_FAILED"
    retryable = True
    max_calls = 3


class UnknownEndingError(LLMError):
    """The answer ended for a reason that we do not know."""

    kind = "UNKNOWN_FINISH_REASON"
    retryable = True
    max_calls = 3


class UnreadableAnswerError(ProviderError):
    """The provider reported success, but the answer cannot be read.

    It may have been paid for: `partial_text` keeps the beginning of what
    came, as printable text.
    """

    kind = "UNREADABLE_ANSWER"
    max_calls = 3
