"""What SQLite and MongoDB take for the same; shared by the fast paths."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Command = Mapping[str, Any]
Document = dict[str, Any]
Sql = tuple[str, list[Any]]

# Names that mean the same to SQLite; no number, which may be an index.
_PLAIN_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class NotPlainError(Exception):
    """The package has to do it."""


def json_path(name: str) -> str:
    """Give the SQL text of a field's path.

    Raises:
        NotPlainError: SQLite might read it otherwise.
    """
    if name == "_id" or _PLAIN_PATH.fullmatch(name) is None:
        raise NotPlainError
    return f"'$.{name}'"


def text_of(expression: object, field: Callable[[str], str]) -> Sql:
    """Give the SQL of a field, a constant, or a chain of them.

    `field` gives the SQL of a field by its name.

    Raises:
        NotPlainError: it is something else.
    """
    match expression:
        case str() if expression.startswith("$"):
            return field(expression[1:]), []
        case str():
            return "?", [expression]
        case {"$concat": [*parts], **others} if not others:
            return _joined(" || ", parts, field)
        case {"$ifNull": [*parts], **others} if not others:
            sql, values = _joined(", ", parts, field)
            return f"coalesce({sql})", values
    raise NotPlainError


def _joined(
    between: str, parts: Sequence[object], field: Callable[[str], str]
) -> Sql:
    texts = [text_of(part, field) for part in parts]
    values = [value for _, found in texts for value in found]
    return between.join(sql for sql, _ in texts), values


def is_plain(value: object) -> bool:
    """Tell whether the value is kept as the JSON that it is."""
    if isinstance(value, dict):
        # `$date`, `__neosqlite_...`: the package's marks of its own types.
        names = all(not name.startswith(("$", "__")) for name in value)
        return names and all(map(is_plain, value.values()))
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, float):
        return value - value == 0  # neither infinite nor a NaN
    return value is None or isinstance(value, int | str)
