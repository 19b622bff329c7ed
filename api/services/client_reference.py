"""Finding jobs by what a client noted on them.

Beside the reference itself, which is kept as it came, each document has a
flat index of it: `{"run.id": 7}` and `{"run": {"id": 7}}` both become
`{"run%2Eid": "7"}`. Keys are escaped, so that no key can reach the
database as an operator or a path, and values are text, as a query string
has them.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from utilities import payload

INDEX_FIELD = "referenceIndex"
QUERY_PREFIX = "clientReference."


def index_of(reference: Mapping[str, Any] | None) -> dict[str, str]:
    """Flatten a reference for searching."""
    return {
        _escape(path): _text(value)
        for key, child in (reference or {}).items()
        for path, value in _leaves(key, child)
    }


def filter_of(reference: Mapping[str, Any] | None) -> dict[str, str]:
    """Give the store's filter: every field must match exactly."""
    return {
        f"{INDEX_FIELD}.{key}": value
        for key, value in index_of(reference).items()
    }


def from_query(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Pick the `clientReference.<field>=<value>` out of a query string."""
    return {
        name.removeprefix(QUERY_PREFIX): value
        for name, value in parameters
        if name.startswith(QUERY_PREFIX) and len(name) > len(QUERY_PREFIX)
    }


def _leaves(path: str, value: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - JSON
    if not (isinstance(value, Mapping) and value):
        yield path, value
        return
    for key, child in value.items():
        yield from _leaves(f"{path}.{key}", child)


def _escape(path: str) -> str:
    # A quoted empty key would be no path at all.
    return quote(path, safe="").replace(".", "%2E") or "%00"


def _text(value: object) -> str:
    return value if isinstance(value, str) else payload.dump(value)
