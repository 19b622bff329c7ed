"""The input of `metasync run`: one JSON object a line."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.models.job_fields import REQUEST_BYTES_LIMIT
from cli.errors import CommandError
from cli.text_file import read_text
from utilities import payload

_PROBLEMS_SHOWN = 5
_PLACE = re.compile(r"(.*) at line \d+ column (\d+)")

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every line: it makes a line's answer its own.

    `form` holds the fields of a job that say more of its answer: its form,
    and what is done with one that cannot be used.
    """

    model: str
    sdk: str
    prompt: str
    temperature: float
    form: Fields = field(default_factory=dict)

    @property
    def parts(self) -> list[Any]:
        """Give what makes it another question."""
        parts = [self.model, self.sdk, self.prompt, self.temperature]
        return [*parts, self.form] if self.form else parts


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the input.

    `key` is the same whenever the same line is asked the same question,
    so that nothing is paid for twice. `size` is in bytes as JSON.
    """

    line: int
    key: str
    own_id: str | None
    label: str | None
    request_data: Fields
    size: int


def read_items(
    path: Path, question: Question, *, label_field: str | None = None
) -> list[Item]:
    """Read and check the whole file before anything is submitted.

    A line's `id` names it in the results; the label is what the answer
    is compared with. Neither is shown to the model.

    Raises:
        CommandError: names the lines that are no JSON objects.
    """
    lines, problems = [], []
    for number, text in _lines(path):
        try:
            lines.append((number, _read_line(text)))
        except ValueError as error:
            problems.append(f"line {number}: {_explain(error)}")
    _refuse(path, problems)
    if not lines:
        raise CommandError(f"{path} is empty: there is nothing to run")
    if label_field is not None:
        _check_label_field(path, [fields for _, fields in lines], label_field)
    return _items(lines, question, label_field)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Not splitlines(): JSON may hold what other alphabets end lines with.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line


def _read_line(text: str) -> Fields:
    fields = payload.load(text)
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - as bad JSON
    size = len(payload.dump(fields).encode())
    if size > REQUEST_BYTES_LIMIT:
        raise ValueError(
            f"{size:,} bytes; a job may have {REQUEST_BYTES_LIMIT:,}"
        )
    return fields


def _explain(error: ValueError) -> str:
    if place := _PLACE.fullmatch(str(error)):
        return f"not valid JSON at column {place[2]}: {place[1]}"
    return str(error)


def _refuse(path: Path, problems: list[str]) -> None:
    if not problems:
        return
    shown = "\n  ".join(problems[:_PROBLEMS_SHOWN])
    more = len(problems) - _PROBLEMS_SHOWN
    rest = f"\n  and {more} more" if more > 0 else ""
    raise CommandError(
        f"{path} must have one JSON object a line; nothing was submitted.\n"
        f"  {shown}{rest}"
    )


def _check_label_field(path: Path, lines: list[Fields], name: str) -> None:
    if any(fields.get(name) is not None for fields in lines):
        return
    has = ", ".join(sorted(lines[0]))
    raise CommandError(
        f"No line of {path} has a label in {name!r}; the first line has: {has}"
    )


def _items(
    lines: list[tuple[int, Fields]], question: Question, label: str | None
) -> list[Item]:
    seen: Counter[tuple[str | None, str]] = Counter()
    items = []
    for number, fields in lines:
        own_id = _text(fields.pop("id", None))
        label_text = _text(fields.pop(label, None)) if label else None
        asked = payload.dump(fields)
        seen[own_id, asked] += 1
        key = _key(question, own_id, asked, seen[own_id, asked])
        size = len(asked.encode())
        items.append(Item(number, key, own_id, label_text, fields, size))
    return items


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _key(
    question: Question, own_id: str | None, asked: str, occurrence: int
) -> str:
    parts = [*question.parts, own_id, asked, occurrence]
    return hashlib.sha256(payload.dump(parts).encode()).hexdigest()[:40]
