"""Items from the rows of files: their columns, checked one by one."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.core import unknown_fields
from api.models.dataset_models import DatasetColumns, DatasetItemInput
from utilities import payload

Row = Mapping[str, Any]
_EXPECTED, _ID, _INPUT = "expected", "id", "requestData"


class ItemError(ValueError):
    """A row makes no item; says why."""


def item_of(row: Row, columns: DatasetColumns) -> DatasetItemInput:
    """Make an item of a row.

    One with `requestData` is an item as it is, if no column is named.

    Raises:
        ItemError: says what is wrong.
    """
    fields = row if _is_item(row, columns) else _by_columns(row, columns)
    unknown = unknown_fields.problems_of_body(DatasetItemInput, fields)
    if unknown:
        raise ItemError(unknown[0]["msg"])
    try:
        return DatasetItemInput.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ItemError(f"{where}: {problem['msg']}") from None


def reason_of(error: RequestValidationError) -> str:
    """Say what is wrong with a line that could not be read."""
    problem = error.errors()[0]
    return str(problem["msg"])


def _is_item(row: Row, columns: DatasetColumns) -> bool:
    return columns.is_default and isinstance(row.get(_INPUT), dict)


def _by_columns(row: Row, columns: DatasetColumns) -> dict[str, Any]:
    expected = _name(row, columns.expected, _EXPECTED)
    own_id = _name(row, columns.id, _ID)
    if columns.input is None:
        names = [name for name in row if name not in (expected, own_id)]
    else:
        names = [_known(row, name) for name in columns.input]
    if not names:
        raise ItemError("there is no column for the input")
    fields: dict[str, Any] = {_INPUT: {name: row[name] for name in names}}
    if expected is not None:
        fields[_EXPECTED] = row[expected]
    if own_id is not None and row[own_id] not in (None, ""):
        fields[_ID] = _text(row[own_id])
    return fields


def _name(row: Row, given: str | None, usual: str) -> str | None:
    if given is not None:
        return _known(row, given)
    return usual if usual in row else None


def _known(row: Row, name: str) -> str:
    if name not in row:
        known = ", ".join(sorted(row))[:200]
        raise ItemError(f"there is no column {name!r}, only: {known}")
    return name


def _text(value: object) -> str:
    return value if isinstance(value, str) else payload.dump(value)
