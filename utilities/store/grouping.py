"""The stages of aggregations that we use, as MongoDB has them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from utilities.store.matching import first_at, in_order, matches, order_key

Document = dict[str, Any]


def aggregated(
    documents: Sequence[Document], pipeline: Sequence[Mapping[str, Any]]
) -> list[Document]:
    """Run a pipeline over documents.

    Raises:
        OperationFailure: it has a stage or an operator that is not known.
    """
    result = list(documents)
    for stage in pipeline:
        ((name, options),) = stage.items()
        if name not in _STAGES:
            raise _refused(name)
        result = _STAGES[name](result, options)
    return result


def _match(found: list[Document], where: Any) -> list[Document]:  # noqa: ANN401 - a stage's options
    return [each for each in found if matches(each, where)]


def _group(found: list[Document], fields: Any) -> list[Document]:  # noqa: ANN401 - as above
    sums = {name: value for name, value in fields.items() if name != "_id"}
    groups: dict[Any, tuple[Any, list[Document]]] = {}
    for document in found:
        key = _evaluated(document, fields["_id"])
        groups.setdefault(order_key(key), (key, []))[1].append(document)
    return [
        {
            "_id": key,
            **{
                name: _accumulated(members, wanted)
                for name, wanted in sums.items()
            },
        }
        for key, members in groups.values()
    ]


def _accumulated(members: list[Document], wanted: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any value
    ((operator, expression),) = wanted.items()
    if operator not in _ACCUMULATORS:
        raise _refused(operator)
    values = [_evaluated(each, expression) for each in members]
    return _ACCUMULATORS[operator](values)


def _total(values: list[Any]) -> Any:  # noqa: ANN401 - as above
    return sum(_numbers(values))


def _average(values: list[Any]) -> float | None:
    numbers = _numbers(values)
    return sum(numbers) / len(numbers) if numbers else None


def _numbers(values: Iterable[Any]) -> list[int | float]:
    return [
        value
        for value in values
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _least(values: list[Any]) -> Any:  # noqa: ANN401 - as above
    known = [value for value in values if value is not None]
    return min(known, key=order_key, default=None)


def _greatest(values: list[Any]) -> Any:  # noqa: ANN401 - as above
    known = [value for value in values if value is not None]
    return max(known, key=order_key, default=None)


def _evaluated(document: Document, expression: object) -> Any:  # noqa: ANN401 - as above
    if isinstance(expression, str) and expression.startswith("$"):
        return first_at(document, expression[1:])
    if not isinstance(expression, Mapping):
        return expression
    if len(expression) == 1:
        ((name, options),) = expression.items()
        if name.startswith("$"):
            return _computed(document, name, options)
    return {
        name: _evaluated(document, value) for name, value in expression.items()
    }


def _computed(document: Document, name: str, options: Any) -> Any:  # noqa: ANN401 - as above
    if name == "$literal":
        return options
    parts = options if isinstance(options, list) else [options]
    values = [_evaluated(document, part) for part in parts]
    if name not in _EXPRESSIONS:
        raise _refused(name)
    return _EXPRESSIONS[name](values)


_EXPRESSIONS: Mapping[str, Callable[[list[Any]], Any]] = {
    "$ifNull": lambda values: next(
        (each for each in values if each is not None), None
    ),
    "$concat": lambda values: None if None in values else "".join(values),
    "$cond": lambda values: values[1] if values[0] else values[2],
    "$eq": lambda values: order_key(values[0]) == order_key(values[1]),
    "$add": lambda values: None if None in values else sum(values),
    "$subtract": lambda values: (
        None if None in values else values[0] - values[1]
    ),
}


def _sort(found: list[Document], order: Any) -> list[Document]:  # noqa: ANN401 - as above
    return in_order(found, list(order.items()))


def _project(found: list[Document], fields: Any) -> list[Document]:  # noqa: ANN401 - as above
    return [
        {
            **({"_id": each["_id"]} if fields.get("_id", 1) else {}),
            **{
                name: first_at(each, name)
                if wanted in (1, True)
                else _evaluated(each, wanted)
                for name, wanted in fields.items()
                if name != "_id" and wanted not in (0, False)
            },
        }
        for each in found
    ]


def _count(found: list[Document], name: Any) -> list[Document]:  # noqa: ANN401 - as above
    return [{name: len(found)}] if found else []


_STAGES: Mapping[str, Callable[[list[Document], Any], list[Document]]] = {
    "$match": _match,
    "$group": _group,
    "$sort": _sort,
    "$project": _project,
    "$count": _count,
    "$limit": lambda found, limit: found[:limit],
    "$skip": lambda found, skip: found[skip:],
}
_ACCUMULATORS: Mapping[str, Callable[[list[Any]], Any]] = {
    "$sum": _total,
    "$avg": _average,
    "$min": _least,
    "$max": _greatest,
    "$first": lambda values: values[0],
    "$last": lambda values: values[-1],
    "$push": lambda values: values,
}


def _refused(what: str) -> OperationFailure:
    return OperationFailure(f"the in-memory store knows no {what}", 2)
