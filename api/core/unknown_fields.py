"""Find and refuse unknown fields and query parameters; suggest names.

A misspelt name would otherwise be ignored without a word: the client
believes that it was set. Only models of ours are looked at; a free-form
object (`requestData`) may have any name.
"""

import difflib
import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

UnknownFields = Literal["refuse", "ignore"]
Location = tuple[str | int, ...]
Problem = dict[str, Any]

# More would not help the reader, and a hostile body may have a million.
MOST_PROBLEMS = 20
_LONGEST_NAME = 100
_CLOSE_ENOUGH = 0.6
_UNIONS = (Union, types.UnionType)


def problems_of_body(model: type[BaseModel], body: object) -> list[Problem]:
    """List the unknown fields of a body that `model` is made from.

    Each has the form of FastAPI's errors; `loc` starts below the body.
    """
    found = _unknown_in(_Node(models=(model,)), body, ())
    return list(islice(found, MOST_PROBLEMS))


def problem_of_parameter(name: str, known: Iterable[str]) -> Problem:
    """Describe an unknown query parameter as one of FastAPI's errors."""
    return _problem("query parameter", ("query", name), name, known)


def _problem(
    what: str, location: Location, name: str, known: Iterable[str]
) -> Problem:
    message = f"Unknown {what} '{_short(name)}'"
    if (near := _nearest(name, known)) is not None:
        message += f"; did you mean '{near}'?"
    return {"type": "extra_forbidden", "loc": location, "msg": message}


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


def _nearest(name: str, known: Iterable[str]) -> str | None:
    by_plain = {_plain(one): one for one in known}
    plain = _plain(name[:_LONGEST_NAME])
    close = difflib.get_close_matches(plain, by_plain, 1, _CLOSE_ENOUGH)
    return by_plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


@dataclass(frozen=True, slots=True)
class _Node:
    """Which models a value, its items or its members are made into."""

    models: tuple[type[BaseModel], ...] = ()
    items: "_Node | None" = None
    members: "_Node | None" = None


@dataclass(frozen=True, slots=True)
class _Names:
    """A model's fields: every accepted name, and which are models."""

    shown: frozenset[str]
    accepted: frozenset[str]
    nested: Mapping[str, _Node]


def _unknown_in(
    node: _Node, value: object, location: Location
) -> Iterator[Problem]:
    if isinstance(value, list):
        if node.items is not None:
            for index, item in enumerate(value):
                yield from _unknown_in(node.items, item, (*location, index))
    elif isinstance(value, dict):
        if node.members is not None:
            for name, member in value.items():
                yield from _unknown_in(node.members, member, (*location, name))
        elif node.models:
            yield from _unknown_names(node.models, value, location)


def _unknown_names(
    models: tuple[type[BaseModel], ...],
    value: dict[str, object],
    location: Location,
) -> Iterator[Problem]:
    names = _names_of(models)
    if not value.keys() <= names.accepted:
        for name in value:
            if name not in names.accepted:
                yield _problem("field", (*location, name), name, names.shown)
    for name, node in names.nested.items():
        if name in value:
            yield from _unknown_in(node, value[name], (*location, name))


@functools.cache
def _names_of(models: tuple[type[BaseModel], ...]) -> _Names:
    shown, accepted = set[str](), set[str]()
    nested: dict[str, _Node] = {}
    for model in models:
        for name, field in model.model_fields.items():
            wire = field.alias or name
            shown.add(wire)
            accepted |= {wire, name}
            node = _node_of(field.annotation)
            if node != _Node():
                nested |= {wire: node, name: node}
    return _Names(frozenset(shown), frozenset(accepted), nested)


def _node_of(annotation: object) -> _Node:
    """Find the models in a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _Node(models=(annotation,))
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _node_of(inner[0])
    if origin in _UNIONS:
        return functools.reduce(_either, map(_node_of, inner))
    if origin is dict:
        return _Node(members=_some(_node_of(inner[1])))
    if origin in (list, tuple):
        return _Node(items=_some(_node_of(inner[0])))
    return _Node()


def _some(node: _Node) -> _Node | None:
    return node if node != _Node() else None


def _either(left: _Node, right: _Node) -> _Node:
    return _Node(
        left.models + right.models,
        left.items or right.items,
        left.members or right.members,
    )
