"""Keeps documents as JSON text, whatever SQLite there is.

Where SQLite has JSONB (3.45 and later), the package would use it. Then its
columns of ids are columns of numbers to SQLite: a text of digits becomes a
number in them, and `1e5` and `100000` one id. Its queries name other
expressions than our indexes have, so that every query would read all
documents. And an older SQLite could not read the file.
"""

from neosqlite.collection import jsonb_support


def keep_json_as_text() -> None:
    """Have the package do so in this process."""
    jsonb_support.supports_jsonb = _has_none
    jsonb_support.supports_jsonb_each = _has_none


def _has_none(_connection: object) -> bool:
    return False
