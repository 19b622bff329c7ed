"""What a client notes on a job or stream, flattened for searching.

`{"run.id": 7}` and `{"run": {"id": 7}}` both become `{"run%2Eid": "7"}`.
Keys are escaped, so that no key can reach the database as an operator or a
path, and values are text, as a query string has them.

Every value repeats the names on the way to it; the limits keep this index
about as small as the reference itself.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

MOST_LEVELS = 16
MOST_VALUES = 256
MOST_NAME_BYTES = 16 * 1024

_SEPARATOR = "%2E"


def index_of(reference: Mapping[str, Any] | None) -> dict[str, str]:
    """Flatten a reference for searching."""
    # In order, so that equal references have equal indexes even where two
    # fields share a path.
    return dict(
        sorted(
            (path or "%", _text(value))
            for path, value in _leaves(reference or {})
        )
    )


def check(reference: dict[str, Any]) -> dict[str, Any]:
    """Refuse a reference whose index would be large; return it.

    Raises:
        ValueError: names the limit.
    """
    name_bytes = 0
    leaves = _leaves(reference, most_levels=MOST_LEVELS)
    for number, (path, _) in enumerate(leaves, 1):
        name_bytes += len(path)
        if number > MOST_VALUES:
            raise ValueError(f"has more than {MOST_VALUES} values")
        if name_bytes > MOST_NAME_BYTES:
            raise ValueError(
                f"the names on the way to its values take more than "
                f"{MOST_NAME_BYTES} bytes in all"
            )
    return reference


def _leaves(
    reference: Mapping[str, Any], most_levels: int | None = None
) -> Iterator[tuple[str, Any]]:
    """Give every value with the escaped path to it, in order."""
    waiting = [_members(reference, None)]
    while waiting:
        member = next(waiting[-1], None)
        if member is None:
            waiting.pop()
        elif isinstance(member[1], Mapping) and member[1]:
            if most_levels is not None and len(waiting) >= most_levels:
                raise ValueError(f"nested more than {most_levels} levels deep")
            waiting.append(_members(member[1], member[0]))
        else:
            yield member


def _members(
    parent: Mapping[str, Any], path: str | None
) -> Iterator[tuple[str, Any]]:
    prefix = "" if path is None else path + _SEPARATOR
    for key, value in parent.items():
        yield prefix + _escape(key), value


def _escape(key: str) -> str:
    return quote(key, safe="").replace(".", _SEPARATOR)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )
