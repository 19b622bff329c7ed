"""From what a provider or its library reports to our errors, in one place.

No message leaves here that quotes the model's key.
"""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json

from llm_sdks import errors
from utilities import payload

_LONGEST_WAIT_SECONDS = 86_400.0
_SHORTEST_KEY = 6
_LONGEST_MESSAGE = 1000
# Anthropic's own; HTTP knows no such status.
_OVERLOADED = 529

_BY_STATUS: dict[int, type[errors.LLMError]] = {
    401: errors.NotAuthorizedError,
    403: errors.NotAuthorizedError,
    408: errors.CallTimeoutError,
    409: errors.ProviderError,
    425: errors.ProviderError,
    429: errors.RateLimitedError,
    503: errors.OverloadedError,
    _OVERLOADED: errors.OverloadedError,
}
# How providers word, in a body, what HTTP says by a status; without
# hyphens and underscores, for some write `TooManyRequests`.
_WORDS = (
    ("ratelimit", 429),
    ("resourceexhausted", 429),
    ("insufficientquota", 429),
    ("toomanyrequests", 429),
    ("overloaded", _OVERLOADED),
    ("unavailable", 503),
    ("authentication", 401),
    ("invalidapikey", 401),
    ("unauthenticated", 401),
    ("unauthorized", 401),
    ("permission", 403),
    ("timeout", 408),
    ("deadlineexceeded", 408),
    ("notfound", 404),
    ("toolarge", 413),
    ("billing", 403),
    ("invalid", 400),
    ("badrequest", 400),
    ("contextlengthexceeded", 400),
)
_FILTERED = ("content_filter", "content_policy_violation")
_REFUSED_KEY = ("api_key_invalid", "invalid_api_key")
_REFUSAL = re.compile(
    r"not support|unsupported|only the default|deprecated|not permitted"
    r"|not allowed|may only be|unrecognized|unknown|not available",
    re.IGNORECASE,
)
# Anthropic has no code for it.
_FILTER = re.compile(r"content[ -]filter(ing)?\b", re.IGNORECASE)
_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-ms-client-request-id",
)


class TemperatureRefusedError(errors.BadRequestError):
    """This model takes no temperature; the same call without it may do."""


def of_status(
    status: int, headers: Mapping[str, str], body: object, key: str
) -> errors.LLMError:
    """Give the error for an answer that is no 2xx.

    `body` is the decoded JSON, or whatever came instead.
    """
    problem = _problem(body)
    words = _words(problem)
    kind = _kind(status, problem, words)
    message = _message(status, problem, kind, key)
    if kind is errors.ContentFilteredError:
        return errors.ContentFilteredError(
            message,
            http_status=status,
            request_id=request_id(headers),
        )
    error = kind(
        message,
        http_status=status,
        request_id=request_id(headers),
        retry_after=retry_after(headers),
    )
    param = problem.get("param")
    error.param = param if isinstance(param, str) else None
    return error


def of_answer(
    status: int, headers: Mapping[str, str], content: bytes | str, key: str
) -> errors.LLMError:
    """Give the error for an answer that is no 2xx, from its raw content."""
    try:
        body = from_json(content)
    except ValueError:
        body = None
    return of_status(status, headers, body, key)


def in_body(
    body: object, headers: Mapping[str, str], key: str
) -> errors.LLMError:
    """Give the error that came where an answer was due, under status 200.

    That is how streams fail that have begun, and how some gateways do.
    """
    problem = _problem(body)
    error = of_status(_status_of(problem), headers, body, key)
    message = problem.get("message")
    if type(error) is not errors.NotAuthorizedError and message:
        error.args = (scrub(str(message), key),)
    return error


def is_failure(body: object) -> bool:
    """Tell whether a JSON value says that something went wrong."""
    if not isinstance(body, Mapping):
        return False
    return bool(body.get("error")) or body.get("type") == "error"


def unreachable(reason: object, key: str) -> errors.CannotConnectError:
    """Give the error for a connection that could not be had, or broke."""
    text = scrub(str(reason) or type(reason).__name__, key)
    return errors.CannotConnectError(f"Cannot connect to the provider: {text}")


def timed_out() -> errors.CallTimeoutError:
    """Give the error for an answer that did not come in time."""
    return errors.CallTimeoutError("The provider did not answer in time")


def unreadable(what: str, status: int | None = None) -> errors.ProviderError:
    """Give the error for what the provider cannot have meant to send."""
    return errors.ProviderError(
        f"The provider's answer is no {what}", http_status=status
    )


def scrub(text: str, key: str) -> str:
    """Take out the key, should the provider quote it, and cut the text."""
    # No provider's key is so short; a stand-in's may be a common letter.
    is_secret = len(key) >= _SHORTEST_KEY
    text = text.replace(key, "[key]") if is_secret else text
    return payload.printable(text)[:_LONGEST_MESSAGE]


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return how the provider calls this request, for its support."""
    for name in _REQUEST_IDS:
        if value := headers.get(name):
            return value
    return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the provider asks to wait, if it says so."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if not math.isnan(seconds):
            return _within_reason(seconds)
    try:
        moment = parsedate_to_datetime(headers.get("retry-after", ""))
        return _within_reason(moment.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _within_reason(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)


def _problem(body: object) -> Mapping[str, Any]:
    # {"error": {...}}, [{"error": {...}}], or the error itself.
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, Mapping):
        return {}
    inner = body.get("error", body)
    if isinstance(inner, str):
        return {"message": inner}
    return inner if isinstance(inner, Mapping) else {}


def _words(problem: Mapping[str, Any]) -> str:
    parts = [problem.get(name) for name in ("code", "type", "status")]
    details = problem.get("details")
    parts += [
        detail.get("reason")
        for detail in (details if isinstance(details, list) else ())
        if isinstance(detail, Mapping)
    ]
    return " ".join(str(part) for part in parts if part).lower()


def _kind(
    status: int, problem: Mapping[str, Any], words: str
) -> type[errors.LLMError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.ProviderError
    if any(word in words for word in _REFUSED_KEY):
        return errors.NotAuthorizedError
    if any(word in words for word in _FILTERED) or _FILTER.search(
        str(problem.get("message"))
    ):
        return errors.ContentFilteredError
    if _refuses_temperature(problem):
        return TemperatureRefusedError
    return errors.BadRequestError


def _refuses_temperature(problem: Mapping[str, Any]) -> bool:
    text = str(problem.get("message") or "")
    if problem.get("param") == "temperature":
        code = str(problem.get("code"))
        return code.startswith("unsupported") or bool(_REFUSAL.search(text))
    return "temperature" in text.lower() and bool(_REFUSAL.search(text))


def _status_of(problem: Mapping[str, Any]) -> int:
    code = str(problem.get("code"))
    if re.fullmatch(r"[45]\d\d", code):
        return int(code)
    words = _words(problem)
    if any(word in words for word in _FILTERED):
        return HTTPStatus.BAD_REQUEST
    words = words.replace("-", "").replace("_", "")
    for word, status in _WORDS:
        if word in words:
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _message(
    status: int,
    problem: Mapping[str, Any],
    kind: type[errors.LLMError],
    key: str,
) -> str:
    # A provider that refuses a key likes to quote parts of it.
    if kind is errors.NotAuthorizedError and (status != HTTPStatus.FORBIDDEN):
        return "The provider does not accept the model's key"
    message = problem.get("message")
    if isinstance(message, str) and message:
        return f"HTTP {status}: {scrub(message, key)}"
    return f"HTTP {status}"
