"""The error answers, as the interface's description shows them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from api.core.error_responses import RETRY_AFTER_SECONDS

EXAMPLE_ID = "665f1c2ab7e4d90012345678"

Responses = dict[int | str, dict[str, Any]]

_MEANINGS = {
    400: "A business rule forbids it.",
    401: "A credential is missing or wrong.",
    403: "The caller may read it, but not do this.",
    404: "It does not exist, or belongs to another client.",
    409: "Another change was made at the same time: read the current state "
    "and try again.",
    413: "The body is too large.",
    422: "The request does not match its schema.",
    429: "Too many requests, or too many wrong keys.",
    502: "The provider failed before the first piece of the answer.",
    503: "The database cannot be reached; try again.",
}
_INVALID = 422
_TO_BE_TRIED_AGAIN = (429, 503)
_LONGEST_NAME = 40

SCHEMAS: dict[str, Any] = {
    "Problem": {
        "title": "Problem",
        "description": "Why a request was refused, in words.",
        "type": "object",
        "properties": {"detail": {"type": "string"}},
        "required": ["detail"],
    },
    "InvalidRequest": {
        "title": "InvalidRequest",
        "description": "The parts of a request that do not match its schema. "
        "The sent values are not repeated, because they may contain a secret.",
        "type": "object",
        "properties": {
            "detail": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/InvalidPart"},
            }
        },
        "required": ["detail"],
    },
    "InvalidPart": {
        "title": "InvalidPart",
        "description": "A part of a request that does not match its schema.",
        "type": "object",
        "properties": {
            "type": {
                "type": "string",
                "description": "The violated rule, for programs.",
            },
            "loc": {
                "type": "array",
                "items": {"type": ["string", "integer"]},
                "description": "Its path: `body` or `query`, then names and "
                "positions.",
            },
            "msg": {
                "type": "string",
                "description": "What is wrong, for people.",
            },
        },
        "required": ["type", "loc", "msg"],
        "additionalProperties": False,
    },
}
_MISSING_FIELD = [
    {"type": "missing", "loc": ["body", "name"], "msg": "Field required"}
]


def problems(details: Mapping[int, Iterable[str]]) -> Responses:
    """Describe a path's error answers: their `detail` texts by status."""
    return {status: problem(status, *details[status]) for status in details}


def overtaken(what: str) -> dict[int, list[str]]:
    """Give the answer to a change that came second, for `problems`."""
    detail = (
        f"{what} {EXAMPLE_ID} was changed or deleted at the same time; "
        "read it again"
    )
    return {409: [detail]}


def problem(status: int, *details: str) -> dict[str, Any]:
    """Describe one error answer, with each of its `details` shown once."""
    values: Iterable[object] = dict.fromkeys(details)
    if status == _INVALID:
        values = [_MISSING_FIELD]
    name = "InvalidRequest" if status == _INVALID else "Problem"
    content = {
        "schema": {"$ref": f"#/components/schemas/{name}"},
        "examples": {
            _name(value): {"value": {"detail": value}} for value in values
        },
    }
    answer: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {"application/json": content},
    }
    if status in _TO_BE_TRIED_AGAIN:
        answer["headers"] = {"Retry-After": _RETRY_AFTER}
    return answer


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Give the first of two descriptions of one answer, with all examples."""
    content = first["content"]["application/json"]
    more = second["content"]["application/json"]["examples"]
    whole = {**content, "examples": {**content["examples"], **more}}
    return {**first, "content": {"application/json": whole}}


_RETRY_AFTER = {
    "description": "Seconds to wait before the next try.",
    "schema": {"type": "integer", "examples": [RETRY_AFTER_SECONDS]},
}


def _name(value: object) -> str:
    text = value if isinstance(value, str) else "missing field"
    return re.sub(r"\W+", "-", text.lower())[:_LONGEST_NAME].strip("-")
