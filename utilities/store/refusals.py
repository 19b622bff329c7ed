"""Why the database refused an operation, or would refuse a document."""

from typing import Any

import bson
from bson.errors import InvalidDocument
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
)

_DUPLICATE_KEY = 11000
# WriteConflict, LockTimeout, and "too many requests" of Azure Cosmos DB.
_TRANSIENT_CODES = frozenset({112, 24, 16500})
# As other engines say it; the second is SQLite's.
_TRANSIENT_WORDS = ("deadlock", "is locked")
_TRANSIENT_LABELS = ("TransientTransactionError", "RetryableWriteError")


def is_transient(error: BaseException) -> bool:
    """Tell whether the server refused for a reason that will pass."""
    if isinstance(error, BulkWriteError):
        problems = error.details.get("writeErrors") or []
        return any(map(_is_transient_problem, problems))
    if not isinstance(error, OperationFailure):
        return False
    return (
        error.code in _TRANSIENT_CODES
        or any(map(error.has_error_label, _TRANSIENT_LABELS))
        or _is_transient_text(str(error))
    )


def is_unavailable(error: BaseException) -> bool:
    """Tell whether the database may do later what it does not do now."""
    lost = isinstance(error, ConnectionFailure | ExecutionTimeout)
    return lost or is_transient(error)


def _is_transient_problem(problem: object) -> bool:
    if not isinstance(problem, dict):
        return False
    text = str(problem.get("errmsg", ""))
    return problem.get("code") in _TRANSIENT_CODES or _is_transient_text(text)


def _is_transient_text(text: str) -> bool:
    return any(word in text.lower() for word in _TRANSIENT_WORDS)


def duplicate_indexes(error: BulkWriteError) -> list[int]:
    """Return which documents of an insert have an `_id` that is taken.

    Raises:
        BulkWriteError: the server refused one for another reason.
    """
    problems = error.details["writeErrors"]
    if any(item["code"] != _DUPLICATE_KEY for item in problems):
        raise error
    return [item["index"] for item in problems]


def is_storable(document: dict[str, Any]) -> bool:
    """Tell whether the database can keep a document's names and values."""
    try:
        bson.encode(document)
    except (InvalidDocument, OverflowError):
        return False
    return True
