"""What an update makes of a document."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from pymongo.errors import WriteError

from utilities.store.matching import order_key

Document = dict[str, Any]

_BAD_VALUE, _TYPE_MISMATCH, _NOT_VIABLE, _IMMUTABLE = 2, 14, 28, 66


def changed(
    document: Document, update: Mapping[str, Any], *, is_new: bool = False
) -> Document:
    """Give the document after an update; the given one stays as it is.

    Raises:
        WriteError: the update does not fit the document, or has an
            operator that is not known.
    """
    result = deepcopy(document)
    for operator, fields in update.items():
        if operator == "$setOnInsert":
            if is_new:
                _apply(result, fields, _set)
            continue
        change = _OPERATORS.get(operator)
        if change is None:
            raise WriteError(f"no operator {operator} here", _BAD_VALUE)
        _apply(result, fields, change)
    if "_id" in document and order_key(result.get("_id")) != order_key(
        document["_id"]
    ):
        raise WriteError("the _id cannot be changed", _IMMUTABLE)
    return result


def from_filter(where: Mapping[str, Any]) -> Document:
    """Give the fields that a filter gives to a document it inserts."""
    made: Document = {}
    for path, wanted in where.items():
        value = wanted
        if isinstance(wanted, Mapping) and "$eq" in wanted:
            value = wanted["$eq"]
        elif path.startswith("$") or _has_operators(wanted):
            continue
        _apply(made, {path: value}, _set)
    return made


def _has_operators(wanted: object) -> bool:
    return isinstance(wanted, Mapping) and any(
        name.startswith("$") for name in wanted
    )


_Change = Callable[[Any, Any, Any], None]


def _apply(
    document: Document, fields: Mapping[str, Any], change: _Change
) -> None:
    for path, value in fields.items():
        *parents, last = path.split(".")
        holder: Any = document
        for name in parents:
            holder = _child(holder, name, path, make=change is not _unset)
        if isinstance(holder, list):
            change(holder, _index(holder, last, path), value)
        elif isinstance(holder, dict):
            change(holder, last, value)
        elif holder is not None and change is not _unset:
            raise _not_viable(path)


def _child(holder: object, name: str, path: str, *, make: bool) -> Any:  # noqa: ANN401 - any value
    if isinstance(holder, list):
        return holder[_index(holder, name, path)]
    if isinstance(holder, dict):
        if name not in holder and make:
            holder[name] = {}
        return holder.get(name)
    if make:
        raise _not_viable(path)
    return None


def _index(holder: list[Any], name: str, path: str) -> int:
    if not name.isdecimal():
        raise _not_viable(path)
    index = int(name)
    holder.extend([None] * (index + 1 - len(holder)))
    return index


def _set(holder: Any, key: Any, value: Any) -> None:  # noqa: ANN401 - a dict or a list
    holder[key] = deepcopy(value)


def _unset(holder: Any, key: Any, _value: Any) -> None:  # noqa: ANN401 - as above
    if isinstance(holder, list):
        holder[key] = None
    else:
        holder.pop(key, None)


def _increase(holder: Any, key: Any, amount: Any) -> None:  # noqa: ANN401 - as above
    current = holder[key] if isinstance(holder, list) else holder.get(key, 0)
    if isinstance(current, bool) or not isinstance(current, int | float):
        raise WriteError("$inc of what is no number", _TYPE_MISMATCH)
    holder[key] = current + amount


def _push(holder: Any, key: Any, value: Any) -> None:  # noqa: ANN401 - as above
    items = holder.setdefault(key, [])
    if not isinstance(items, list):
        raise WriteError("$push to what is no list", _BAD_VALUE)
    items.append(deepcopy(value))


def _greatest(holder: Any, key: Any, value: Any) -> None:  # noqa: ANN401 - as above
    if key not in holder or order_key(holder[key]) < order_key(value):
        holder[key] = deepcopy(value)


def _least(holder: Any, key: Any, value: Any) -> None:  # noqa: ANN401 - as above
    if key not in holder or order_key(holder[key]) > order_key(value):
        holder[key] = deepcopy(value)


_OPERATORS: Mapping[str, _Change] = {
    "$set": _set,
    "$unset": _unset,
    "$inc": _increase,
    "$push": _push,
    "$max": _greatest,
    "$min": _least,
}


def _not_viable(path: str) -> WriteError:
    return WriteError(f"cannot create the field {path}", _NOT_VIABLE)
