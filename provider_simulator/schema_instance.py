"""A value that satisfies a JSON schema, the same one every time.

It knows what vendors take for structured outputs: types, properties, enum,
const, references, bounds, formats. Not `pattern`, `not` and conditions.
Gemini's dialect (`"type": "STRING"`, `nullable`) is understood as well.
"""

import math
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

# Deeper than this, an object has its required properties only, so that a
# schema which refers to itself has an end; then even those are left out.
_DEPTH_OF_OPTIONAL = 4
_DEEPEST = 40
# Lengths beyond these, and more values, are for no test worth its memory.
_MOST_ITEMS = 1000
_LONGEST_TEXT = 100_000
_MOST_VALUES = 10_000
_WRONG = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
_FORMATS = {
    "date": "2024-01-01",
    "date-time": "2024-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_WORD = "text"


class SchemaError(Exception):
    """The schema is none; says why."""


def instance(schema: Schema) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Return a value that satisfies the schema where reasonably possible.

    Raises:
        SchemaError: a keyword has a value that it cannot have.
    """
    try:
        return _Maker(schema).make(schema, 0, 0)
    except _WRONG as error:
        # Whatever a keyword may be instead of what it should be.
        raise SchemaError(f"{type(error).__name__}: {error}") from None


class _Maker:
    """Makes values; `variant` tells apart the items of a set."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._left = _MOST_VALUES

    def make(self, schema: object, depth: int, variant: int) -> Any:  # noqa: ANN401
        # A schema may demand more and more of itself.
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            return None
        if not isinstance(schema, Mapping):
            return None
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if options := schema.get("enum"):
            return options[variant % len(options)]
        return self._of_type(_type_of(schema), schema, depth, variant)

    def _of_type(
        self, kind: str, schema: Schema, depth: int, variant: int
    ) -> Any:  # noqa: ANN401
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return _string(schema, variant)
            case "integer" | "number":
                return _number(schema, kind, variant)
            case "boolean":
                return variant % 2 == 0
        return None

    def _resolved(self, schema: Schema) -> Schema:
        """Follow references, take the first option, join all parts."""
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                schema = _joined(self._target(schema["$ref"]), schema, "$ref")
            elif options := schema.get("anyOf") or schema.get("oneOf"):
                rest = _without(schema, "anyOf", "oneOf")
                schema = _joined(options[0], rest)
            elif parts := schema.get("allOf"):
                schema = _without(schema, "allOf")
                for part in parts:
                    schema = _joined(self._resolved(part), schema)
            else:
                break
        return schema

    def _target(self, reference: str) -> Schema:
        target: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, Mapping) else None
        return target if isinstance(target, Mapping) else {}

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties: Schema = schema.get("properties") or {}
        required = schema.get("required") or []
        names = [*properties] if depth < _DEPTH_OF_OPTIONAL else []
        names += [name for name in required if name not in names]
        extra = schema.get("additionalProperties")
        value = {
            name: self.make(properties.get(name, extra), depth + 1, 0)
            for name in names
        }
        missing = schema.get("minProperties", 0) - len(value)
        for number in range(min(missing, _MOST_ITEMS)):
            value[f"key{number}"] = self.make(extra, depth + 1, number)
        return value

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        first = list(schema.get("prefixItems") or [])
        wanted = 1 if depth < _DEPTH_OF_OPTIONAL else 0
        length = max(int(schema.get("minItems", 0)), wanted, len(first))
        length = min(length, int(schema.get("maxItems", length)), _MOST_ITEMS)
        items = schema.get("items", {})
        rest = [items] * (length - len(first))
        return [
            self.make(item, depth + 1, number)
            for number, item in enumerate([*first, *rest][:length])
        ]


def _type_of(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _string(schema: Schema, variant: int) -> str:
    if (form := schema.get("format")) in _FORMATS:
        return _FORMATS[form]
    text = f"{_WORD}{variant}" if variant else _WORD
    shortest = min(int(schema.get("minLength", 0)), _LONGEST_TEXT)
    text = text.rjust(shortest, "x")
    # The end is what tells variants apart.
    longest = int(schema.get("maxLength", len(text)))
    return text[len(text) - longest :] if longest < len(text) else text


def _number(schema: Schema, kind: str, variant: int) -> float:
    step: float = schema.get("multipleOf") or 1
    lowest, highest = _bounds(schema, kind)
    if lowest is None:
        lowest = 0 if highest is None or highest >= 0 else highest
    value = math.ceil(lowest / step) * step + variant * step
    if highest is not None and value > highest:
        value = lowest
    return int(value) if kind == "integer" else value


def _bounds(schema: Schema, kind: str) -> tuple[float | None, float | None]:
    """Return the least and the greatest value that may be taken."""
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    below = schema.get("exclusiveMaximum")
    if above is not None and (lowest is None or above >= lowest):
        lowest = _beyond(above, below, kind, 1)
    if below is not None and (highest is None or below <= highest):
        highest = _beyond(below, above, kind, -1)
    if kind == "integer":
        lowest = None if lowest is None else math.ceil(lowest)
        highest = None if highest is None else math.floor(highest)
    return lowest, highest


def _beyond(
    bound: float, other: float | None, kind: str, direction: int
) -> float:
    if kind == "integer":
        whole = math.floor(bound) if direction > 0 else math.ceil(bound)
        return whole + direction
    return bound + direction if other is None else (bound + other) / 2


def _joined(first: object, second: Schema, *dropped: str) -> Schema:
    base = first if isinstance(first, Mapping) else {}
    joined = {**base, **_without(second, *dropped)}
    if "properties" in base and "properties" in second:
        joined["properties"] = {**base["properties"], **second["properties"]}
    if "required" in base and "required" in second:
        joined["required"] = [*base["required"], *second["required"]]
    return joined


def _without(schema: Schema, *names: str) -> Schema:
    return {key: item for key, item in schema.items() if key not in names}
