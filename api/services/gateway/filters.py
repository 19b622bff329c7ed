"""Takes out of a request what its model's provider must not get."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from api.models.filter_models import Filters
from api.services.gateway.asked import Asked, Json

_ITEMS = "[]"


def filtered(asked: Asked, filters: Filters | None) -> Asked:
    """Give a request without what is to be removed."""
    if filters is None:
        return asked
    removed = set(filters.remove_headers)
    headers = {
        name: value
        for name, value in asked.headers.items()
        if name not in removed
    }
    body = without_fields(asked.body, filters.remove_fields)
    return replace(asked, body=body, headers=headers)


def without_fields(body: Json, fields: Iterable[str]) -> Json:
    """Give a body without some fields; the body itself is not changed."""
    for field in fields:
        body = _without(body, _steps(field))
    return body


def allows(filters: Filters | None, path: str) -> bool:
    """Tell whether a path of the provider may be used."""
    if filters is None or filters.allow_paths is None:
        return True
    return any(_matches(path, each) for each in filters.allow_paths)


def _matches(path: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern


def _steps(field: str) -> Sequence[str]:
    """Give the way to a field: names, and `[]` for all items of a list."""
    steps: list[str] = []
    for name in field.split("."):
        plain = name.rstrip(_ITEMS)
        steps += [plain, *[_ITEMS] * ((len(name) - len(plain)) // 2)]
    return steps


def _without(value: Any, steps: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    step, rest = steps[0], steps[1:]
    if step == _ITEMS:
        if not isinstance(value, list):
            return value
        return [_without(each, rest) for each in value]
    if not isinstance(value, dict) or step not in value:
        return value
    if rest:
        return {**value, step: _without(value[step], rest)}
    return {name: each for name, each in value.items() if name != step}
