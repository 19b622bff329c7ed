"""What a check found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; never a secret.

    `remedy` says what to do, where there is something to do.
    """

    check: str
    status: Status
    message: str
    remedy: str | None = None


def ok(check: str, message: str) -> Finding:
    """Make a finding that needs nothing done."""
    return Finding(check, Status.OK, message)


def warn(check: str, message: str, remedy: str) -> Finding:
    """Make a finding that somebody should look at."""
    return Finding(check, Status.WARN, message, remedy)


def fail(check: str, message: str, remedy: str) -> Finding:
    """Make a finding with which the service cannot do its work."""
    return Finding(check, Status.FAIL, message, remedy)
