"""Requests as values, and what the server's answers mean."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pydantic.alias_generators import to_camel

from metasync.access import Access
from metasync.errors import FieldError, StatusError, class_of
from metasync.retrying import retry_after

_IDEMPOTENCY_KEY = "Idempotency-Key"
_CORRELATION = "X-Correlation-ID"
_LONGEST_DETAIL = 2000
_MOST_FIELDS = 100

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `repeatable` if it does no harm to send it twice.

    `seconds` is how long the server may take beside the usual time.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool | None = None
    as_admin: bool = False
    seconds: float = 0.0

    @property
    def may_be_repeated(self) -> bool:
        """Whether the request may be sent again after an unclear end."""
        if self.repeatable is not None:
            return self.repeatable
        return self.method != "POST" or _IDEMPOTENCY_KEY in self.headers

    @property
    def parts(self) -> Json:
        """Give the arguments for the HTTP library."""
        parts: Json = {"params": _query(self.query)}
        if self.content is not None:
            parts["content"] = self.content
        elif self.json is not None:
            parts["content"] = dump(self.json)
            parts["headers"] = {"content-type": "application/json"}
        parts["headers"] = {**parts.get("headers", {}), **self.headers}
        return parts


def dump(value: object) -> bytes:
    """Write JSON; the same value always gives the same bytes.

    Raises:
        ValueError: it cannot be JSON.
    """
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return text.encode()


def idempotent(key: str | None) -> Mapping[str, str]:
    """Give the header that makes a POST repeatable."""
    return {_IDEMPOTENCY_KEY: key} if key else {}


def camel(fields: Mapping[str, Any], *, keep_none: bool = False) -> Json:
    """Give fields the names that they have on the wire."""
    return {
        to_camel(name): value
        for name, value in fields.items()
        if keep_none or value is not None
    }


def _query(query: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


def error_of(
    response: httpx2.Response, request: Request, access: Access
) -> StatusError:
    """Give the error that an answer is, once its body has been read."""
    detail, fields = _told(response, access)
    status = response.status_code
    return class_of(status)(
        status,
        detail,
        request=f"{request.method} {request.path}",
        fields=fields,
        correlation_id=response.headers.get(_CORRELATION),
        retry_after=retry_after(response),
    )


def _told(
    response: httpx2.Response, access: Access
) -> tuple[str, list[FieldError]]:
    try:
        detail = response.json()["detail"]
    except (ValueError, LookupError, TypeError):
        detail = response.text
    fields: list[FieldError] = []
    if isinstance(detail, list):
        fields = [_field(each, access) for each in detail[:_MOST_FIELDS]]
        detail = "; ".join(map(str, fields))
    text = access.without_secrets(str(detail))[:_LONGEST_DETAIL]
    return text or response.reason_phrase, fields


def _field(item: object, access: Access) -> FieldError:
    if not isinstance(item, dict):
        return FieldError("", access.without_secrets(str(item)))
    way = item.get("loc")
    path = ".".join(map(str, way)) if isinstance(way, list) else ""
    message = access.without_secrets(str(item.get("msg", "")))
    return FieldError(path, message, str(item.get("type", "")))
