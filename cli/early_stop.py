"""Ends a run whose first rows all fail for the same reason."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cli.errors import CommandError
from cli.results_file import PROCESSED, Row
from cli.terminal import one_line

DEFAULT_FAILURES = 20
# Numbers and quoted values differ from row to row; the reason does not.
_PARTICULARS = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`|[0-9a-f-]{8,}|\d+")
_WORDS_COMPARED = 200
_LONGEST_REASON = 500

_ANSWER = (
    "Describe the answer in the prompt, give its form with --schema, have it "
    "asked again with --reasks 2, or accept any text with --text"
)
_REMEDIES: Mapping[str, str] = {
    "NOT_AUTHORIZED": "Check the key, and which variable holds it (--key-env)",
    "KEY_REFUSED": "Check the key, and which variable holds it (--key-env)",
    "MODEL_NOT_FOUND": "Check --model, --deployment and --endpoint",
    "BAD_REQUEST": "Check what the provider says against --schema, "
    "--max-tokens, --temperature, and the length of a row "
    "({{ text | truncate_tokens(2000) }} shortens it)",
    "CONFIGURATION_ERROR": "Correct the model's settings",
    "CONNECTION_ERROR": "Check --endpoint, and that the provider can be "
    "reached from here",
    "TRUNCATED": "Raise --max-tokens, or ask for shorter answers",
    "CONTENT_FILTERED": "The provider's filter refuses these texts: change "
    "the prompt, or use another model",
    "BUDGET_EXHAUSTED": "Have the budget raised",
    "NO_PRICE": "Have the model's cost set: a budget counts in it",
    "ACCOUNT_EXHAUSTED": "Pay for the account, or use another key",
}
_OF_ANSWERS = frozenset(
    {"JSON_PARSING_ERROR", "SCHEMA_MISMATCH", "NO_ANSWER", "TOOL_CALLED"}
)


class AllFailAlikeError(CommandError):
    """The first rows of a run all failed for one reason, that of `rows`."""

    def __init__(self, message: str, rows: Sequence[Row] = ()) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a row failed; equal for rows that failed alike."""

    kind: str
    status: int | None
    words: str

    @classmethod
    def of(cls, row: Row) -> "Cause":
        """Read the reason of a failed row, without its particulars."""
        error = row.get("error") or {}
        message = str(error.get("message", ""))
        status = error.get("httpStatus")
        return cls(
            str(error.get("errorType")),
            status if isinstance(status, int) else None,
            _PARTICULARS.sub("#", message)[:_WORDS_COMPARED],
        )


class EarlyStop:
    """Watches the rows of a run as they end.

    `after` is the number of failures that suffice; 0 never ends a run.
    """

    def __init__(self, after: int = DEFAULT_FAILURES) -> None:
        self._after = after
        self._is_over = after <= 0
        self._cause: Cause | None = None
        self._count = 0

    @property
    def watches(self) -> bool:
        """Whether the run may still be ended: nothing has gone well."""
        return not self._is_over

    def note(self, rows: Iterable[Row]) -> None:
        """Take rows that have just ended.

        Raises:
            AllFailAlikeError: as many as are enough failed, all for the
                same reason, and none went well.
        """
        for row in rows:
            if self._is_over:
                return
            cause = Cause.of(row)
            if row["status"] == PROCESSED or self._cause not in (None, cause):
                self._is_over = True
                return
            self._cause = cause
            self._count += 1
            if self._count >= self._after:
                raise AllFailAlikeError(_told(row, self._count), [row])


def advice(kind: str) -> str | None:
    """Say what helps against errors of a kind, where that is known."""
    return _ANSWER if kind in _OF_ANSWERS else _REMEDIES.get(kind)


def _told(row: Row, count: int) -> str:
    error = row.get("error") or {}
    kind = one_line(str(error.get("errorType")))
    reason = one_line(str(error.get("message", "")))[:_LONGEST_REASON]
    remedy = advice(kind)
    return (
        f"Stopped: the first {count} rows all failed alike. {kind}: {reason}"
        f"{_sentence(remedy)} The rest was not asked; the same command "
        "continues where it stopped (--give-up-after 0 does not stop)"
    )


def _sentence(text: str | None) -> str:
    return f". {text}." if text else "."
