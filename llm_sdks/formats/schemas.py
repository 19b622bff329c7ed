"""JSON Schemas as providers take them for structured answers."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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
ANNOTATIONS = frozenset({"$schema", "$id", "$comment"})
# They only narrow what is allowed: without them more is, never less.
NARROWING = frozenset(
    {
        "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems",
        "maxLength", "maximum", "minItems", "minLength", "minimum",
        "multipleOf", "pattern", "uniqueItems", "maxProperties",
        "minProperties", "examples", "default",
    }
)  # fmt: skip
# Others that may be left out: more is allowed without them, too.
_LOOSENING = frozenset(
    {
        "additionalProperties", "const", "contains", "contentEncoding",
        "contentMediaType", "dependentRequired", "deprecated", "description",
        "enum", "maxContains", "minContains", "not", "propertyNames",
        "readOnly", "title", "unevaluatedItems", "unevaluatedProperties",
        "writeOnly",
    }
)  # fmt: skip
_DROPPABLE = NARROWING | ANNOTATIONS | _LOOSENING
# Without these there is no schema that means the same.
_NEEDED = frozenset(
    {
        "$ref", "allOf", "anyOf", "else", "if", "oneOf",
        "patternProperties", "prefixItems", "then",
    }
)  # fmt: skip
# What providers may refuse in a schema.
REFUSABLE = _DROPPABLE | _NEEDED
# Where less said in their parts means that they allow less.
_INVERTING = (
    ("not", ("not",)),
    ("if", ("if", "then", "else")),
    ("contains", ("contains", "minContains", "maxContains")),
)
# Their values are schemas by names, which are no keywords.
_MAPS = (
    "properties",
    "patternProperties",
    "dependentSchemas",
    "$defs",
    "definitions",
)
# Their values are no schemas, whatever they look like.
_VALUES = ("enum", "const", "default", "examples")
_ANY_FOR_ONE = {"oneOf": "anyOf"}
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


def without(schema: Schema, refused: Iterable[str]) -> dict[str, Any] | None:
    """Return a schema that does without some keywords.

    It allows what the schema allows, or more; the answer is checked against
    the whole schema elsewhere. None if there is no such schema.
    """
    banned = frozenset(refused)
    loose = _map_parts(schema, lambda part: _loosened(part, banned))
    return None if keywords_of(loose) & banned else loose


def keywords_of(schema: Schema) -> frozenset[str]:
    """Return the keywords that occur anywhere in a schema."""
    return frozenset(name for part in _parts(schema) for name in part)


def _loosened(part: Schema, banned: frozenset[str]) -> dict[str, Any]:
    loose = dict(part)
    for name, group in _INVERTING:
        if _mentions(part.get(name), banned):
            loose = {k: v for k, v in loose.items() if k not in group}
    if "anyOf" not in banned | part.keys() and (
        "oneOf" in banned or _mentions(part.get("oneOf"), banned)
    ):
        loose = {_ANY_FOR_ONE.get(k, k): v for k, v in loose.items()}
    if (
        "enum" not in banned | loose.keys()
        and "const" in banned & loose.keys()
    ):
        loose["enum"] = [loose.pop("const")]
    return {
        name: value
        for name, value in loose.items()
        if name not in banned or name not in _DROPPABLE
    }


def _mentions(value: Any, banned: frozenset[str]) -> bool:  # noqa: ANN401 - JSON is any of six types
    parts = value if isinstance(value, list) else [value]
    return any(
        keywords_of(part) & banned
        for part in parts
        if isinstance(part, Mapping)
    )


def _is_closed(part: Schema) -> bool:
    if not part.keys() <= _STRICT | ANNOTATIONS:
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
        elif name in _VALUES:
            values = []
        else:
            values = value if isinstance(value, list) else [value]
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
        elif name not in _VALUES:
            changed[name] = _map_one(value, change)
    return changed


def _map_one(value: Any, change: Callable[[Schema], dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON is any of six types
    if isinstance(value, Mapping):
        return _map_parts(value, change)
    if isinstance(value, list):
        return [_map_one(item, change) for item in value]
    return value
