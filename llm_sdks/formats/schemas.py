"""JSON Schemas as providers take them for structured answers."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

# Keywords that every strict mode knows; with others it may refuse a call.
_STRICT = frozenset(
    {
        "$defs", "$ref", "additionalProperties", "anyOf", "const",
        "default", "definitions", "description", "enum", "examples",
        "exclusiveMaximum", "exclusiveMinimum", "format", "items",
        "maxItems", "maximum", "minItems", "minimum", "multipleOf",
        "pattern", "properties", "required", "title", "type",
    }
)  # fmt: skip
_ANNOTATIONS = frozenset({"$schema", "$id", "$comment"})
# They only narrow what is allowed: without them more is, never less.
_NARROWING = frozenset(
    {
        "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems",
        "maxLength", "maximum", "minItems", "minLength", "minimum",
        "multipleOf", "pattern", "uniqueItems", "maxProperties",
        "minProperties", "examples", "default",
    }
)  # fmt: skip
_MAPS = ("properties", "$defs", "definitions")
_DEEPEST = 10


def name_of(schema: Schema) -> str:
    """Return a name for a schema: its title, as far as names go."""
    title = str(schema.get("title") or "")
    words = re.sub(r"\W+", "_", title, flags=re.ASCII)
    return words.strip("_")[:64] or "answer"


def is_strict(schema: Schema) -> bool:
    """Tell whether a provider can promise to keep to a schema.

    Every object must be closed and need all of its fields, the root must
    be an object, and only widely known keywords may occur.
    """
    return (
        schema.get("type") == "object"
        and _depth(schema) <= _DEEPEST
        and all(_is_closed(part) for part in _parts(schema))
    )


def is_closed(schema: Schema) -> bool:
    """Tell whether every object of a schema allows named fields only."""
    return all(
        part.get("additionalProperties") is False
        for part in _parts(schema)
        if _is_object(part)
    )


def bare(schema: Schema) -> dict[str, Any]:
    """Leave out what only narrows a schema.

    For providers that refuse such keywords; the answer is checked against
    the whole schema elsewhere.
    """
    return _map_parts(
        schema,
        lambda part: {
            name: value
            for name, value in part.items()
            if name not in _NARROWING | _ANNOTATIONS
        },
    )


def _is_closed(part: Schema) -> bool:
    if not part.keys() <= _STRICT | _ANNOTATIONS:
        return False
    if not _is_object(part):
        return True
    fields = part.get("properties", {})
    return part.get("additionalProperties") is False and set(
        part.get("required", ())
    ) == set(fields)


def _is_object(part: Schema) -> bool:
    kind = part.get("type")
    named = kind == "object" or (isinstance(kind, list) and "object" in kind)
    return named or "properties" in part


def _parts(schema: Schema) -> Iterator[Schema]:
    yield schema
    for child in _children(schema):
        yield from _parts(child)


def _children(schema: Schema) -> Iterator[Schema]:
    for name, value in schema.items():
        if name in _MAPS and isinstance(value, Mapping):
            values = list(value.values())
        elif isinstance(value, list) and name not in ("enum", "examples"):
            values = value
        else:
            values = [value] if name not in ("const", "default") else []
        yield from (item for item in values if isinstance(item, Mapping))


def _depth(schema: Schema) -> int:
    return 1 + max((_depth(child) for child in _children(schema)), default=0)


def _map_parts(
    schema: Schema, change: Callable[[Schema], dict[str, Any]]
) -> dict[str, Any]:
    changed = change(schema)
    for name, value in changed.items():
        if name in _MAPS and isinstance(value, Mapping):
            changed[name] = {
                key: _map_one(item, change) for key, item in value.items()
            }
        elif name not in ("enum", "const"):
            changed[name] = _map_one(value, change)
    return changed


def _map_one(value: Any, change: Callable[[Schema], dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON is any of six types
    if isinstance(value, Mapping):
        return _map_parts(value, change)
    if isinstance(value, list):
        return [_map_one(item, change) for item in value]
    return value
