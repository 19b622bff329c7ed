"""JSON Schema: whether a schema is one, and whether a value fits it.

Schemas come from clients: references to other documents are not followed,
patterns are matched in linear time, and what a schema may cost is known
before it is used: see `is_light`.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema_rs

from utilities import payload
from utilities.schema_size import SchemaError, SchemaWork, measure

__all__ = [
    "SchemaError",
    "check_schema",
    "first_fitting",
    "is_light",
    "is_schema",
]

# Compiled, a schema takes up to a few hundred times its text.
_COMPILED_BYTES = 256 * 1024
_MEASURED_BYTES = 4 * 1024 * 1024
_LONGEST_PROBLEM = 500
_PATTERN_BYTES = 1_000_000
# Below both, validating takes well under a millisecond.
_LIGHT_PARTS = 300
_LIGHT_VALUE = 16 * 1024
_DRAFTS = frozenset(
    {
        "http://json-schema.org/draft-04/schema",
        "http://json-schema.org/draft-06/schema",
        "http://json-schema.org/draft-07/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    }
)
# Each may compare or search for longer than the sizes tell.
_HEAVY_WORDS = ('"uniqueItems"', '"pattern"', '"patternProperties"')


def check_schema(schema: dict[str, Any]) -> None:
    """Make sure that a schema can be used.

    Raises:
        SchemaError: it cannot.
    """
    schema_json = payload.dump(schema)
    _measured(schema_json)
    _compiled(schema_json)


def is_schema(schema: Mapping[str, Any]) -> bool:
    """Tell whether keywords have the values that JSON Schema wants there.

    Much cheaper than `check_schema`, for schemas that are handed on only.
    """
    plain = dict(schema)
    # Of others, the text would be asked for at their address.
    if str(plain.get("$schema")).removesuffix("#") not in _DRAFTS:
        plain.pop("$schema", None)
    return bool(jsonschema_rs.meta.is_valid(plain))


def is_light(value_json: str, schema_json: str) -> bool:
    """Tell whether validating surely takes little time.

    Raises:
        SchemaError: the schema cannot be used.
    """
    work = _measured(schema_json)
    return (
        len(value_json) <= _LIGHT_VALUE
        and work.size <= _LIGHT_PARTS
        and not work.is_recursive
        and not any(word in schema_json for word in _HEAVY_WORDS)
    )


def problem_of(value_json: str, schema_json: str) -> str | None:
    """Say why a value does not fit a schema; None if it does.

    Raises:
        SchemaError: the schema cannot be used.
    """
    value = payload.load(value_json)
    schema = _compiled(schema_json)
    # Far cheaper than to say what is wrong.
    if schema.is_valid(value):
        return None
    try:
        schema.validate(value)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(str(part) for part in error.instance_path)
        return f"at /{where}: {error.message}"[:_LONGEST_PROBLEM]
    return None


def first_fitting(
    values_json: Sequence[str], schema_json: str
) -> tuple[int, str | None]:
    """Find the first of some values that fits a schema.

    Gives its place, or 0 and why the first value does not fit.

    Raises:
        SchemaError: the schema cannot be used.
    """
    schema = _compiled(schema_json)
    for place, value_json in enumerate(values_json):
        if schema.is_valid(payload.load(value_json)):
            return place, None
    return 0, problem_of(values_json[0], schema_json)


class _Cache:
    """What was made of texts, bounded by the bytes of the texts."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._made: OrderedDict[str, Any] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, text: str) -> Any:  # noqa: ANN401 - what was put
        with self._guard:
            if text not in self._made:
                return None
            self._made.move_to_end(text)
            return self._made[text]

    def put(self, text: str, made: object) -> None:
        with self._guard:
            if text in self._made or len(text) > self._limit:
                return
            self._made[text] = made
            self._bytes += len(text)
            while self._bytes > self._limit:
                oldest, _ = self._made.popitem(last=False)
                self._bytes -= len(oldest)


_validators = _Cache(_COMPILED_BYTES)
_measures = _Cache(_MEASURED_BYTES)


def _measured(schema_json: str) -> SchemaWork:
    known = _measures.get(schema_json)
    if isinstance(known, SchemaWork):
        return known
    work = measure(payload.load(schema_json))
    _measures.put(schema_json, work)
    return work


def _compiled(schema_json: str) -> jsonschema_rs.Validator:
    known = _validators.get(schema_json)
    if isinstance(known, jsonschema_rs.Validator):
        return known
    validator = _compile(schema_json)
    _validators.put(schema_json, validator)
    return validator


def _compile(schema_json: str) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(
            payload.load(schema_json),
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(
                size_limit=_PATTERN_BYTES
            ),
        )
    except (jsonschema_rs.ValidationError, ValueError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise SchemaError(
            f"is no usable JSON Schema: {reason[:_LONGEST_PROBLEM]}"
        ) from None
