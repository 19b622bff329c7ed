"""Gives free space of the embedded database back to the disk.

Removed documents leave free pages, overwritten with zeros (`PRAGMA
secure_delete`). They are cut off a few at a time: each step moves some
pages of the file's end and shortens the file, and commands run between two
steps. At the end, the journal is emptied too, since it has what the pages
held before.
"""

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

# The command, by its name on the wire.
GIVE_SPACE_BACK = "giveSpaceBack"
# Of 4 KiB; some milliseconds.
_PAGES_A_STEP = 200
_PAUSE_SECONDS = 0.01
# A client waits for the answer; it asks again if pages are left.
_MOST_SECONDS = 10.0


def give_back(
    connection: Any,  # noqa: ANN401 - the package has no types
    alone: Callable[[], AbstractContextManager[object]],
    empty_journal: Callable[[], None],
) -> int:
    """Shorten the file; return how many free pages are left.

    `alone` keeps others from the connection; `empty_journal` is called
    with it.
    """
    deadline = time.monotonic() + _MOST_SECONDS
    left = before = _free(connection)
    while left and time.monotonic() < deadline:
        with alone():
            # A step a row: all are fetched.
            step = f"PRAGMA incremental_vacuum({_PAGES_A_STEP})"
            with contextlib.closing(connection.execute(step)) as cursor:
                cursor.fetchall()
            left = _free(connection)
        if left >= before:
            left = 0  # a file of a kind that cannot be shortened
            break
        before = left
        time.sleep(_PAUSE_SECONDS)
    with alone():
        empty_journal()
    return left


def _free(connection: Any) -> int:  # noqa: ANN401 - as above
    ((count,),) = connection.execute("PRAGMA freelist_count").fetchall()
    return int(count)
