"""Ends a call of `map` whose first rows all fail for the same reason."""

import re
from typing import Any

from metasync.errors import AllFailAlikeError, RowFailedError
from metasync.results import Result

# Numbers and quoted values differ from row to row; the reason does not.
_PARTICULARS = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`|[0-9a-f-]{8,}|\d+")
_CHARACTERS_COMPARED = 200


class EarlyStop:
    """Watches results as they come; `after` is 0 if nothing is to end."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._is_over = after <= 0
        self._failed = 0
        self._cause: tuple[str, int | None, str] | None = None

    def watch(self, result: Result[Any]) -> None:
        """Look at one more result.

        Raises:
            AllFailAlikeError: it is the last of those that suffice.
        """
        if self._is_over:
            return
        error = result.error
        cause = None if error is None else _cause(error)
        if error is None or self._cause not in {None, cause}:
            # Not all fail, or not for one reason: the rows are to blame.
            self._is_over = True
            return
        self._cause = cause
        self._failed += 1
        if self._failed >= self._after:
            raise AllFailAlikeError(self._failed, error)


def _cause(error: RowFailedError) -> tuple[str, int | None, str]:
    words = _PARTICULARS.sub("#", error.message)[:_CHARACTERS_COMPARED]
    return error.error_type, error.http_status, words
