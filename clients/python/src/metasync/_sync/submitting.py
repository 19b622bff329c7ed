# Made from `_async` by `make client`; not to be edited.
"""Turns rows into jobs, and tells rows that are refused from others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from metasync._sync.jobs import Jobs
from metasync.errors import (
    BadRequestError,
    ConflictError,
    InvalidRequestError,
    StatusError,
    TooLargeError,
)
from metasync.jobs import (
    CANCELED,
    Job,
)
from metasync.questions import Question
from metasync.requests import Json
from metasync.results import FIELDS
from metasync.window import Entry

_ITEM = re.compile(r"batch item (\d+): (.*)", re.DOTALL)
_KEY_REUSED = "idempotency_key_reused"
_MOST_JOBS_OF_A_ROW = 100
# So many rows, and no other, refused with the same words: it is not them.
_ALIKE = 3

Submitted = tuple[Entry, Job | str]


@dataclass
class Submitter:
    """Submits blocks of rows; a row that is refused stops no other."""

    jobs: Jobs
    question: Question[object]
    _accepted: bool = False
    _refusals: list[str] = field(default_factory=list)

    def submit(self, entries: Sequence[Entry]) -> list[Submitted]:
        """Give each row's job, or the words with which it was refused.

        Raises:
            StatusError: not a row is refused, but all that is asked.
        """
        done: list[Submitted] = []
        left = [list(entries)]
        while left:
            block = left.pop()
            try:
                jobs = self._post(block)
            except StatusError as error:
                done += self._refused(block, error)
                left += self._parts(block, error)
                continue
            self._accepted = True
            pairs = list(zip(block, jobs, strict=True))
            done += [pair for pair in pairs if not _is_spent(*pair)]
            spent = [entry for entry, job in pairs if _is_spent(entry, job)]
            if spent:
                left.append([_with_next_key(entry) for entry in spent])
        return done

    def _post(self, block: Sequence[Entry]) -> Sequence[Job]:
        items = [self._item(entry) for entry in block]
        # Each has a key of its own.
        return self.jobs.create_batch(
            items, {}, repeatable=True, fields=FIELDS
        )

    def _item(self, entry: Entry) -> Json:
        key = self.question.key(entry.job, entry.number)
        return {**entry.job, "idempotencyKey": key}

    def _refused(
        self, block: Sequence[Entry], error: StatusError
    ) -> list[Submitted]:
        """Give the row that is refused, if the error names one."""
        index, message = _named(error)
        if index is None and len(block) == 1 and not _is_of_key(error):
            index, message = 0, error.detail
        if index is None or index >= len(block):
            return []
        self._refusals.append(message)
        if not self._accepted and _are_alike(self._refusals):
            raise error
        return [(block[index], message)]

    def _parts(
        self, block: list[Entry], error: StatusError
    ) -> list[list[Entry]]:
        """Give what is left of a block, the part that comes first last.

        Raises:
            StatusError: it says nothing of rows.
        """
        index, _ = _named(error)
        if index is not None and index < len(block):
            parts = [block[index + 1 :], block[:index]]
        elif not _may_be_of_rows(error):
            raise error
        elif len(block) > 1:
            half = len(block) // 2
            parts = [block[half:], block[:half]]
        elif _is_of_key(error) and block[0].number < _MOST_JOBS_OF_A_ROW:
            parts = [[_with_next_key(block[0])]]
        elif _is_of_key(error):
            raise error
        else:
            parts = []
        return [part for part in parts if part]


def _named(error: StatusError) -> tuple[int | None, str]:
    match = _ITEM.match(error.detail)
    if match is None or not isinstance(error, BadRequestError):
        return None, error.detail
    return int(match[1]), match[2]


def _may_be_of_rows(error: StatusError) -> bool:
    return isinstance(
        error, TooLargeError | InvalidRequestError
    ) or _is_of_key(error)


def _is_of_key(error: StatusError) -> bool:
    # The job of this key was deleted, or made by another version's request.
    return isinstance(error, ConflictError) or any(
        each.type == _KEY_REUSED for each in error.fields
    )


def _are_alike(messages: Sequence[str]) -> bool:
    return len(messages) >= _ALIKE and len(set(messages[:_ALIKE])) == 1


def _is_spent(entry: Entry, job: Job) -> bool:
    # A canceled job cannot be had back; the row gets another one.
    return job.status == CANCELED and entry.number < _MOST_JOBS_OF_A_ROW


def _with_next_key(entry: Entry) -> Entry:
    entry.number += 1
    return entry
