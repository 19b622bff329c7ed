"""Prompts of `metasync run` that name columns: `{{column}}`."""

import re
from collections.abc import Sequence
from typing import Any

from cli.errors import CommandError
from utilities import templates

_NAMED = re.compile(r"\{\{-?\s*[@A-Za-z_]|\{%")

Fields = dict[str, Any]


def is_template(*texts: str) -> bool:
    """Tell whether one of the texts names a column."""
    return any(_NAMED.search(text) for text in texts)


def check_templates(
    texts: Sequence[str], rows: Sequence[tuple[int, Fields]]
) -> None:
    """Check that every row has the columns that the texts name.

    Raises:
        CommandError: names the first line that lacks one.
    """
    checked: set[frozenset[str]] = set()
    for line, fields in rows:
        names = frozenset(fields)
        if names in checked:
            continue
        checked.add(names)
        for text in texts:
            try:
                templates.check_names(text, names)
            except templates.TemplateError as error:
                raise CommandError(
                    f"The prompt cannot be filled from line {line}: {error}"
                ) from None
