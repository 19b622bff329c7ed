"""Which documents a filter matches, and in which order they come.

The part of MongoDB's query language that we use, as MongoDB has it: null
matches a missing field, a list matches if one of its elements does, and
values of different kinds are never less or greater than one another.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.errors import OperationFailure

Document = Mapping[str, Any]

_BAD_VALUE = 2
# MongoDB's order of kinds.
_NULL, _NUMBER, _TEXT, _OBJECT, _LIST, _BYTES, _ID, _BOOL, _DATE = range(9)


def order_key(value: object) -> tuple[Any, ...]:
    """Give what a value is compared by; equal values have equal keys.

    Raises:
        OperationFailure: no document can have such a value.
    """
    if value is None:
        return (_NULL,)
    for kind, rank, key in _KINDS:
        if isinstance(value, kind):
            return (rank, key(value))
    raise _refused(f"value of type {type(value).__name__}")


def matches(document: Document, where: Document) -> bool:
    """Tell whether a document matches a filter.

    Raises:
        OperationFailure: the filter has an operator that is not known.
    """
    return all(
        _matches_one(document, name, wanted) for name, wanted in where.items()
    )


def values_at(document: object, path: str) -> list[Any]:
    """Return what a path leads to; several values by way of lists."""
    found = [document]
    for name in path.split("."):
        found = [below for each in found for below in _below(each, name)]
    return found


def first_at(document: Document, path: str) -> Any:  # noqa: ANN401 - any value
    """Return the value of a path in expressions and orders; or None."""
    return next(iter(values_at(document, path)), None)


def in_order(
    documents: Sequence[dict[str, Any]], order: Sequence[tuple[str, int]]
) -> list[dict[str, Any]]:
    """Sort documents by fields; 1 is ascending, -1 descending."""
    result = list(documents)
    for path, direction in reversed(order):
        result.sort(key=partial(_key_at, path), reverse=direction < 0)
    return result


def _key_at(path: str, document: Document) -> tuple[Any, ...]:
    return order_key(first_at(document, path))


def _matches_one(document: Document, name: str, wanted: Any) -> bool:  # noqa: ANN401 - any value
    if name.startswith("$"):
        if name not in _LOGIC:
            raise _refused(name)
        return _LOGIC[name](matches(document, each) for each in wanted)
    found = values_at(document, name)
    if isinstance(wanted, Mapping) and any(
        key.startswith("$") for key in wanted
    ):
        return all(
            _holds(found, operator, value)
            for operator, value in wanted.items()
        )
    return _equals(found, wanted)


_LOGIC: Mapping[str, Callable[[Iterable[bool]], bool]] = {
    "$or": any,
    "$and": all,
    "$nor": lambda results: not any(results),
}


def _holds(found: list[Any], operator: str, wanted: Any) -> bool:  # noqa: ANN401 - any value
    if operator in _COMPARISONS:
        return _compares(found, wanted, _COMPARISONS[operator])
    if operator not in _OPERATORS:
        raise _refused(operator)
    return _OPERATORS[operator](found, wanted)


def _equals(found: list[Any], wanted: object) -> bool:
    if wanted is None and not found:
        return True
    key = order_key(wanted)
    return any(order_key(each) == key for each in _with_elements(found))


def _compares(
    found: list[Any],
    wanted: object,
    holds: Callable[[tuple[Any, ...], tuple[Any, ...]], bool],
) -> bool:
    key = order_key(wanted)
    keys = map(order_key, _with_elements(found))
    return any(each[0] == key[0] and holds(each, key) for each in keys)


_OPERATORS: Mapping[str, Callable[[list[Any], Any], bool]] = {
    "$eq": _equals,
    "$ne": lambda found, wanted: not _equals(found, wanted),
    "$in": lambda found, wanted: any(_equals(found, one) for one in wanted),
    "$nin": lambda found, wanted: (
        not any(_equals(found, one) for one in wanted)
    ),
    "$exists": lambda found, wanted: bool(found) is bool(wanted),
}
_COMPARISONS: Mapping[
    str, Callable[[tuple[Any, ...], tuple[Any, ...]], bool]
] = {
    "$gt": lambda one, other: one > other,
    "$gte": lambda one, other: one >= other,
    "$lt": lambda one, other: one < other,
    "$lte": lambda one, other: one <= other,
}


def _with_elements(found: list[Any]) -> Iterator[Any]:
    for value in found:
        yield value
        if isinstance(value, list):
            yield from value


def _below(value: object, name: str) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if name in value:
            yield value[name]
    elif isinstance(value, list):
        if name.isdecimal() and int(name) < len(value):
            yield value[int(name)]
        for element in value:
            if isinstance(element, Mapping) and name in element:
                yield element[name]


def _moment(value: datetime) -> float:
    # The driver gives naive datetimes, in UTC.
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.timestamp()


def _fields(value: Document) -> tuple[Any, ...]:
    return tuple((name, order_key(value[name])) for name in value)


# A bool is an int to Python, and comes first therefore.
_KINDS: Sequence[tuple[Any, int, Callable[[Any], Any]]] = (
    (bool, _BOOL, bool),
    ((int, float), _NUMBER, lambda value: value),
    (str, _TEXT, str),
    (Mapping, _OBJECT, _fields),
    (bytes, _BYTES, lambda value: (len(value), value)),
    (Sequence, _LIST, lambda value: tuple(map(order_key, value))),
    (ObjectId, _ID, lambda value: value.binary),
    (datetime, _DATE, _moment),
)


def _refused(what: str) -> OperationFailure:
    return OperationFailure(f"the in-memory store knows no {what}", _BAD_VALUE)
