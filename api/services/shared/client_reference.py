"""Finding jobs by what a client noted on them.

Beside the reference itself, which is kept as it came, each document has a
flat index of it: `{"run.id": 7}` and `{"run": {"id": 7}}` both become
`{"run%2Eid": "7"}`. Keys are escaped, so that no key can reach the
database as an operator or a path, and values are text, as a query string
has them.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from api.core.errors import RuleError

INDEX_FIELD = "referenceIndex"
QUERY_PREFIX = "clientReference."
MOST_FILTERS = 50


def index_of(reference: Mapping[str, Any] | None) -> dict[str, str]:
    """Flatten a reference for searching."""
    # In order, so that equal references have equal indexes even where two
    # fields share a path.
    return dict(
        sorted(
            (_escape(path), _text(value))
            for key, child in (reference or {}).items()
            for path, value in _leaves(key, child)
        )
    )


def filter_of(reference: Mapping[str, Any] | None) -> dict[str, str]:
    """Give the store's filter: every field must match exactly."""
    return {
        f"{INDEX_FIELD}.{key}": value
        for key, value in index_of(reference).items()
    }


def from_query(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Pick the `clientReference.<field>=<value>` out of a query string.

    Raises:
        RuleError: there are more than `MOST_FILTERS`.
    """
    found = {
        name.removeprefix(QUERY_PREFIX): value
        for name, value in parameters
        if name.startswith(QUERY_PREFIX) and len(name) > len(QUERY_PREFIX)
    }
    if len(found) > MOST_FILTERS:
        raise RuleError(
            f"At most {MOST_FILTERS} filters on clientReference are taken in "
            "one request"
        )
    return found


def _leaves(path: str, value: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - JSON
    if not (isinstance(value, Mapping) and value):
        yield path, value
        return
    for key, child in value.items():
        yield from _leaves(f"{path}.{key}", child)


def _escape(path: str) -> str:
    # A quoted empty key would be no path at all; a bare `%` is no escape.
    return quote(path, safe="").replace(".", "%2E") or "%"


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )
