"""Find jobs by what a client noted on them.

Beside the reference itself, which is kept as it came, each document has a
flat index of it: see `api.models.reference`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from api.core.errors import RuleError
from api.models.reference import index_of

__all__ = [
    "INDEX_FIELD",
    "MOST_FILTERS",
    "QUERY_PREFIX",
    "filter_of",
    "from_query",
    "index_of",
]

INDEX_FIELD = "referenceIndex"
QUERY_PREFIX = "clientReference."
MOST_FILTERS = 50


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
