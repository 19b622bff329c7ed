"""The history of a job's earlier tries."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from api.models.base import ApiModel, is_unset
from utilities import payload
from utilities.clock import to_datetime

# The number of latest records that are kept.
MOST_RECORDS = 20
_LONGEST_REASON = 500


class AttemptEnd(StrEnum):
    """How a try without an answer ended."""

    REQUEUED = "REQUEUED"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    PROCESS_DIED = "PROCESS_DIED"
    FAILED = "FAILED"
    # A model of a route gave no answer; `model` is its name.
    TARGET_FAILED = "TARGET_FAILED"

    @classmethod
    def _missing_(cls, value: object) -> "AttemptEnd | None":
        # Its name up to version 0.1; histories keep what was written.
        return cls.REQUEUED if value == "PUT_BACK" else None


class AttemptRecord(ApiModel):
    """One try, or several equal ones in a row."""

    at: Annotated[
        datetime, Field(description="When the last of these tries ended.")
    ]
    attempt: Annotated[int, Field(description="The attempt it belongs to.")]
    kind: AttemptEnd
    reason: str
    worker_id: str
    process: str
    times: int = 1
    model: Annotated[
        str | None,
        Field(
            exclude_if=is_unset,
            description="The model of a route that gave no answer.",
        ),
    ] = None


def record(
    at: int, attempt: int, kind: AttemptEnd, reason: str, **who: str
) -> dict[str, Any]:
    """Make a record; `at` in ms, `who` names `workerId` and `process`.

    It may also name a `model`.
    """
    return {
        "at": to_datetime(at).isoformat(),
        "attempt": attempt,
        "kind": kind,
        "reason": payload.printable(reason)[:_LONGEST_REASON],
        **who,
        "times": 1,
    }


def lengthened(history: str | None, new: dict[str, Any]) -> str:
    """Add a record to a history; both histories are JSON text.

    Like ones in a row are one: a thousand refusals of a busy provider
    must not push out the crash before them.
    """
    records = payload.load(history) if history else []
    if records and _what(records[-1]) == _what(new):
        new = {**new, "times": records.pop()["times"] + 1}
    return payload.dump([*records, new][-MOST_RECORDS:])


def _what(record: dict[str, Any]) -> tuple[object, ...]:
    return tuple(
        value for name, value in record.items() if name not in _OF_ONE_TRY
    )


_OF_ONE_TRY = frozenset({"at", "times"})
