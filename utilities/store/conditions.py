"""Conditions that `Documents` adds to a filter, or takes out of it."""

from collections.abc import Mapping
from typing import Any


def living(where: Mapping[str, Any]) -> dict[str, Any]:
    """Add the condition that a document is not deleted."""
    return {**where, "_metadata.isDeleted": False}


def unchanged(
    where: Mapping[str, Any], fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the conditions that stay true when `fields` are set."""
    return {
        name: wanted
        for name, wanted in where.items()
        if not name.startswith("$")
        and not any(_overlap(name, field) for field in fields)
    }


def _overlap(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return f"{longer}.".startswith(f"{shorter}.")
