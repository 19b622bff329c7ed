"""Values inside JSON values, by their paths."""

from typing import Any

# Python refuses to read very many.
_MOST_DIGITS = 9


class NoValueError(ValueError):
    """There is no such value; says what was looked for."""


def value_at(value: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    """Give the value at a path: `a.b.0`, or a JSON Pointer `/a/b/0`.

    Raises:
        NoValueError: there is none.
    """
    for name in _names(path):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _is_index(name, len(value)):
            value = value[int(name)]
        else:
            raise NoValueError(f"there is no value at {path!r}")
    return value


def _names(path: str) -> list[str]:
    if path.startswith("/"):
        # RFC 6901: `~1` is a slash, `~0` a tilde.
        return [
            part.replace("~1", "/").replace("~0", "~")
            for part in path[1:].split("/")
        ]
    return path.removeprefix("$.").split(".")


def _is_index(name: str, length: int) -> bool:
    digits = name.isascii() and name.isdecimal() and len(name) <= _MOST_DIGITS
    return digits and int(name) < length
