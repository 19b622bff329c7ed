"""The error answers, as the interface's description shows them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from api.core.error_responses import RETRY_AFTER_SECONDS

EXAMPLE_ID = "665f1c2ab7e4d90012345678"

Responses = dict[int | str, dict[str, Any]]

_MEANINGS = {
    400: "A business rule forbids it.",
    401: "No credential came, or a wrong one.",
    403: "The thing is known to the caller, who may not do this to it.",
    404: "There is no such thing, or it is another client's.",
    409: "A concurrent change won; read the thing again.",
    413: "The body is larger than the server takes.",
    422: "The request does not fit its schema.",
    502: "The provider failed before its first piece.",
    503: "The database cannot be reached; try again.",
}
_INVALID = 422
_UNAVAILABLE = 503
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
        "description": "Where a request does not fit its schema. What was "
        "sent is not repeated: it may hold a secret.",
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
        "description": "One part of a request that does not fit.",
        "type": "object",
        "properties": {
            "type": {
                "type": "string",
                "description": "The rule that is broken, for programs.",
            },
            "loc": {
                "type": "array",
                "items": {"type": ["string", "integer"]},
                "description": "The way to it: `body` or `query`, then "
                "names and positions.",
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
        f"{what} {EXAMPLE_ID} was changed or deleted by somebody else in the "
        "meantime; read it again"
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
    if status == _UNAVAILABLE:
        answer["headers"] = {"Retry-After": _RETRY_AFTER}
    return answer


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Give the first of two descriptions of one answer, with all examples."""
    content = first["content"]["application/json"]
    more = second["content"]["application/json"]["examples"]
    whole = {**content, "examples": {**content["examples"], **more}}
    return {**first, "content": {"application/json": whole}}


_RETRY_AFTER = {
    "description": "Seconds to wait.",
    "schema": {"type": "integer", "examples": [RETRY_AFTER_SECONDS]},
}


def _name(value: object) -> str:
    text = value if isinstance(value, str) else "missing field"
    return re.sub(r"\W+", "-", text.lower())[:_LONGEST_NAME].strip("-")
