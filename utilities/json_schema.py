"""JSON Schema: whether a schema is one, and whether a value fits it.

Schemas come from clients: references to other documents are not followed,
and patterns are matched in linear time.
"""

import functools
from typing import Any

import jsonschema_rs

from utilities import payload

_COMPILED_KEPT = 256
_LONGEST_PROBLEM = 500


class SchemaError(ValueError):
    """It is no schema that can be used; says why."""


def check_schema(schema: dict[str, Any]) -> None:
    """Make sure that a schema can be used.

    Raises:
        SchemaError: it cannot.
    """
    _compiled(payload.dump(schema))


def problem_of(value_json: str, schema_json: str) -> str | None:
    """Say why a value does not fit a schema; None if it does.

    Raises:
        SchemaError: the schema cannot be used.
    """
    value = payload.load(value_json)
    error = next(_compiled(schema_json).iter_errors(value), None)
    if error is None:
        return None
    where = "/".join(str(part) for part in error.instance_path)
    return f"at /{where}: {error.message}"[:_LONGEST_PROBLEM]


@functools.lru_cache(_COMPILED_KEPT)
def _compiled(schema_json: str) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(
            payload.load(schema_json),
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except (jsonschema_rs.ValidationError, ValueError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise SchemaError(
            f"is no usable JSON Schema: {reason[:_LONGEST_PROBLEM]}"
        ) from None
