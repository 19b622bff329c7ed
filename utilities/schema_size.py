"""How much work a JSON Schema is, found without compiling it.

A schema of a few kilobytes can stand for millions: references may name
the same part twice, again and again. Its size here is the number of its
parts with each reference written out; found in one pass over its text,
as the size of each part is remembered. A recursive reference counts once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

LARGEST = 20_000
# Each is compiled when the schema is checked.
MOST_PATTERN_PROPERTIES = 100

# Keywords whose value is a schema, a list of them, or schemas by name.
_ONE = frozenset(
    {
        "items", "additionalItems", "additionalProperties", "contains",
        "contentSchema", "else", "if", "not", "propertyNames", "then",
        "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_BY_NAME = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "dependencies"}
)
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class SchemaError(ValueError):
    """It is no schema that can be used; says why."""


@dataclass(frozen=True, slots=True)
class SchemaWork:
    """What validating against a schema may take."""

    size: int
    is_recursive: bool


def measure(schema: Any) -> SchemaWork:  # noqa: ANN401 - JSON
    """Count the parts of a schema with its references written out.

    Raises:
        SchemaError: there are too many of them, or of patterns, or a
            reference leads nowhere or out of the document.
    """
    return _Measurer(schema).work()


class _Measurer:
    def __init__(self, schema: Any) -> None:  # noqa: ANN401 - JSON
        self._root = schema
        self._sizes: dict[int, int] = {}
        # Parts that are being measured.
        self._open: set[int] = set()
        self._is_recursive = False
        self._patterns = 0
        self._anchors = dict(_anchors(schema))

    def work(self) -> SchemaWork:
        """Measure the whole schema."""
        try:
            size = self._size(self._root)
        except RecursionError:
            raise SchemaError("is nested too deeply") from None
        return SchemaWork(size, self._is_recursive)

    def _size(self, part: Any) -> int:  # noqa: ANN401 - JSON
        if not isinstance(part, Mapping):
            return 1
        if part is not self._root and _has_own_base(part):
            raise SchemaError("has an `$id` below its root; leave it out")
        key = id(part)
        if key in self._open:
            self._is_recursive = True
            return 1
        if (known := self._sizes.get(key)) is not None:
            return known
        self._open.add(key)
        self._count_patterns(part)
        total = 1
        for child in self._children(part):
            total += self._size(child)
            if total > LARGEST:
                raise SchemaError(
                    "is too large: with its references written out it has "
                    f"more than {LARGEST:,} parts"
                )
        self._open.discard(key)
        self._sizes[key] = total
        return total

    def _children(self, part: Mapping[str, Any]) -> Iterator[Any]:
        for keyword, value in part.items():
            if keyword in _REFERENCES and isinstance(value, str):
                yield self._target(value)
            elif keyword in _BY_NAME and isinstance(value, Mapping):
                yield from value.values()
            elif keyword in _LISTS and isinstance(value, list):
                yield from value
            elif keyword in _ONE:
                yield value

    def _count_patterns(self, part: Mapping[str, Any]) -> None:
        patterns = part.get("patternProperties")
        if isinstance(patterns, Mapping):
            self._patterns += len(patterns)
        if self._patterns > MOST_PATTERN_PROPERTIES:
            raise SchemaError(
                "has more than "
                f"{MOST_PATTERN_PROPERTIES} patterns in `patternProperties`"
            )

    def _target(self, reference: str) -> Any:  # noqa: ANN401 - JSON
        base, _, fragment = reference.partition("#")
        if base and base != self._root.get("$id"):
            raise SchemaError(
                f"refers to {reference[:100]!r}; only its own parts can be "
                "referred to (`#/$defs/...`)"
            )
        fragment = unquote(fragment)
        if not fragment:
            return self._root
        if not fragment.startswith("/"):
            return self._found(self._anchors.get(fragment), reference)
        return self._found(_at(self._root, fragment), reference)

    @staticmethod
    def _found(part: Any, reference: str) -> Any:  # noqa: ANN401 - JSON
        if part is None:
            raise SchemaError(f"has no part {reference[:100]!r}")
        return part


def _has_own_base(part: Mapping[str, Any]) -> bool:
    names = (part.get("$id"), part.get("id"))
    return any(isinstance(name, str) and name[:1] != "#" for name in names)


def _at(document: Any, pointer: str) -> Any:  # noqa: ANN401 - JSON
    """Follow a JSON pointer (RFC 6901); None if it leads nowhere."""
    part = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(part, Mapping):
            part = part.get(name)
        elif isinstance(part, list) and name.isdecimal():
            part = part[int(name)] if int(name) < len(part) else None
        else:
            return None
    return part


def _anchors(schema: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, Mapping):
            waiting.extend(part.values())
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(name := part.get(keyword), str):
                    yield name, part
            for keyword in ("$id", "id"):
                name = part.get(keyword)
                if isinstance(name, str) and name[:1] == "#":
                    yield name[1:], part
