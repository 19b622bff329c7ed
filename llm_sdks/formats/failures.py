"""From what a provider or its library reports to our errors, in one place.

No message leaves here that quotes the model's key.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from llm_sdks import errors
from llm_sdks.base_sdk import Usage
from llm_sdks.formats.decoding import decode, read_json, start_of
from llm_sdks.formats.reading import number_of, section, word_of
from llm_sdks.formats.statuses import (
    FILTERED,
    OVERLOADED,
    is_too_long,
    lacks_model,
    lacks_money,
    lacks_quota,
    plain_words,
    status_of,
)
from llm_sdks.formats.waiting import retry_after
from llm_sdks.formats.wording import (
    message_of,
    problem_of,
    scrub,
    words_of,
)

# How much of an answer that cannot be read is kept, in characters.
_MOST_KEPT = 32_768
_LONGEST_ID = 200
# Groq's: no capacity for its cheaper service.
_NO_CAPACITY = 498

_BY_STATUS: dict[int, type[errors.LLMError]] = {
    401: errors.NotAuthorizedError,
    402: errors.AccountExhaustedError,
    403: errors.NotAuthorizedError,
    408: errors.CallTimeoutError,
    409: errors.ProviderError,
    # Azure's: the model's container failed.
    424: errors.ProviderError,
    425: errors.ProviderError,
    429: errors.RateLimitedError,
    # Proxies': the connection to the server ended, or try again.
    444: errors.ProviderError,
    449: errors.ProviderError,
    460: errors.ProviderError,
    499: errors.ProviderError,
    # What the request asks for is not there, and will not be on a repeat.
    501: errors.BadRequestError,
    _NO_CAPACITY: errors.OverloadedError,
    503: errors.OverloadedError,
    OVERLOADED: errors.OverloadedError,
}
_REFUSED_KEY = ("api_key_invalid", "invalid_api_key")
_BAD_GENERATION = ("json_validate_failed", "tool_use_failed")
_REFUSAL = re.compile(
    r"not support|unsupported|only the default|deprecated|not permitted"
    r"|not allowed|may only be|unrecognized|unknown|not available",
    re.IGNORECASE,
)
# Anthropic has no code for it.
_FILTER = re.compile(r"content[ -]filter(ing)?\b", re.IGNORECASE)
# Messages that begin so are the provider's own, whatever they quote.
_PROVIDERS_OWN = re.compile(
    r"model: |your credit balance is too low|you exceeded your current quota"
    r"|the model [`'\"]?\S+ (does not exist|has been)",
    re.IGNORECASE,
)
_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-ms-client-request-id",
)
# What whole answers and events of streams have, whatever the format.
_ANSWERS = frozenset(
    {"choices", "candidates", "content", "usage", "usageMetadata"}
)
_COMPLAINTS = ("detail", "errors", "error_message", "error_msg", "msg")


class TemperatureRefusedError(errors.BadRequestError):
    """This model takes no temperature; the same call without it may do."""


def of_status(
    status: int,
    headers: Mapping[str, str],
    body: object,
    key: str,
    path: str = "",
    *,
    is_quoting: bool = False,
) -> errors.LLMError:
    """Give the error for an answer that is no 2xx.

    `body` is the decoded JSON, or the text that came instead; `path` is
    what was asked for. `is_quoting`: the message may quote what anybody
    has sent, so that it proves nothing about the model or the account.
    """
    problem, words = problem_of(body), words_of(body)
    said = message_of(body, key)
    trusted = said
    if is_quoting and not _PROVIDERS_OWN.match(said):
        trusted = ""
    kind = _kind(status, problem, words, trusted)
    if kind is errors.BadRequestError and is_too_long(status, words, said):
        kind = errors.ContextTooLongError
    limited = issubclass(kind, errors.RateLimitedError)
    wait = retry_after(headers, body, said, limited=limited)
    if kind is errors.RateLimitedError and lacks_quota(problem, trusted, wait):
        kind = errors.QuotaExhaustedError
    error = kind(
        _message(status, said, kind, path),
        http_status=status,
        request_id=request_id(headers, key),
        retry_after=wait,
    )
    param = word_of(problem.get("param"))
    error.param = scrub(param, key) if param else None
    if isinstance(error, errors.ContextTooLongError):
        error.is_proven = is_too_long(status, words, trusted)
    if kind is errors.FailedGenerationError:
        failed = problem.get("failed_generation")
        error.partial_text = scrub(word_of(failed) or "", key, _MOST_KEPT)
    return error


def of_answer(
    status: int,
    headers: Mapping[str, str],
    content: bytes | str,
    key: str,
    path: str = "",
    *,
    is_quoting: bool = False,
) -> errors.LLMError:
    """Give the error for an answer that is no 2xx, from its raw content."""
    body: object
    try:
        body = read_json(content, headers)
    except ValueError:
        body = decode(content, headers)
    return of_status(status, headers, body, key, path, is_quoting=is_quoting)


def in_body(
    body: object, headers: Mapping[str, str], key: str
) -> errors.LLMError:
    """Give the error that came where an answer was due, under status 200.

    That is how streams fail that have begun, and how some gateways do.
    """
    said = message_of(body, key)
    error = of_status(status_of(body, said), headers, body, key)
    if type(error) is not errors.NotAuthorizedError and said:
        error.args = (said,)
    return error


def is_failure(body: object) -> bool:
    """Tell whether a JSON value says that something went wrong."""
    if isinstance(body, list):
        return bool(body) and is_failure(body[0])
    if not isinstance(body, dict):
        return False
    if body.get("error") or "error" in (body.get("type"), body.get("object")):
        return True
    return "base_resp" in body and bool(
        number_of(section(body, "base_resp").get("status_code"))
    )


def is_complaint(body: object) -> bool:
    """Tell whether a JSON value is only words, in place of an answer.

    In the middle of a stream that may be news, such as a place in a queue.
    """
    if not isinstance(body, dict) or not _ANSWERS.isdisjoint(body):
        return False
    message = body.get("message")
    return any(body.get(name) for name in _COMPLAINTS) or (
        isinstance(message, str) and bool(message)
    )


def unreachable(reason: object, key: str) -> errors.CannotConnectError:
    """Give the error for a connection that could not be had, or broke."""
    text = scrub(str(reason) or type(reason).__name__, key)
    return errors.CannotConnectError(f"Cannot connect to the provider: {text}")


def timed_out() -> errors.CallTimeoutError:
    """Give the error for an answer that did not come in time."""
    return errors.CallTimeoutError("The provider did not answer in time")


def unreadable(
    what: str,
    key: str = "",
    *,
    content: bytes | str = b"",
    status: int | None = None,
    usage: Usage | None = None,
) -> errors.UnreadableAnswerError:
    """Give the error for what the provider cannot have meant to send.

    The beginning of the content is kept: it may have been paid for.
    """
    text = scrub(start_of(content, _MOST_KEPT), key, _MOST_KEPT)
    if len(content) > _MOST_KEPT:
        # The cut may have left the first letters of the key.
        text = text[: -max(len(key), 1)]
    return errors.UnreadableAnswerError(
        f"The provider's answer is no {what}",
        http_status=status,
        partial_text=text,
        usage=usage,
    )


def not_http(reason: object, key: str) -> errors.UnreadableAnswerError:
    """Give the error for an answer that breaks HTTP's own rules."""
    text = scrub(str(reason) or type(reason).__name__, key)
    return errors.UnreadableAnswerError(
        f"The provider's answer cannot be read: {text}"
    )


def ended_early() -> errors.ProviderError:
    """Give the error for a stream that stopped without an end."""
    return errors.ProviderError("The provider's stream ended early")


def request_id(headers: Mapping[str, str], key: str = "") -> str | None:
    """Return how the provider calls this request, for its support."""
    for name in _REQUEST_IDS:
        if value := headers.get(name):
            is_plain = value.isascii() and len(value) <= _LONGEST_ID
            if is_plain and (not key or key not in value):
                return value
            return scrub(value, key, _LONGEST_ID)
    return None


def _kind(
    status: int, problem: Mapping[str, Any], words: str, said: str
) -> type[errors.LLMError]:
    if lacks_money(status, words, said):
        return errors.AccountExhaustedError
    if lacks_model(status, words, said):
        return errors.ModelNotFoundError
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN):
        plain = plain_words(words)
        if "ratelimit" in plain or "toomanyrequests" in plain:
            return errors.RateLimitedError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.ProviderError
    return _kind_of_refusal(status, problem, words, said)


def _kind_of_refusal(
    status: int, problem: Mapping[str, Any], words: str, said: str
) -> type[errors.LLMError]:
    if any(word in words for word in _REFUSED_KEY):
        return errors.NotAuthorizedError
    if any(word in words for word in FILTERED) or _FILTER.search(said):
        return errors.ContentFilteredError
    if any(word in words for word in _BAD_GENERATION) or (
        "failed_generation" in problem
    ):
        return errors.FailedGenerationError
    if _refuses_temperature(problem, said):
        return TemperatureRefusedError
    if is_too_long(status, words, said):
        return errors.ContextTooLongError
    return errors.BadRequestError


def _refuses_temperature(problem: Mapping[str, Any], said: str) -> bool:
    if problem.get("param") == "temperature":
        code = word_of(problem.get("code")) or ""
        return code.startswith("unsupported") or bool(_REFUSAL.search(said))
    return "temperature" in said.lower() and bool(_REFUSAL.search(said))


def _message(
    status: int, said: str, kind: type[errors.LLMError], path: str
) -> str:
    # A provider that refuses a key likes to quote parts of it.
    if kind is errors.NotAuthorizedError and (status != HTTPStatus.FORBIDDEN):
        return "The provider does not accept the model's key"
    message = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if path and status == HTTPStatus.NOT_FOUND:
        message += f" (POST {path})"
    return message
