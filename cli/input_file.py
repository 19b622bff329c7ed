"""The input of `metasync run`: one JSON object a line."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from utilities import payload

_PROBLEMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every line: it makes a line's answer its own."""

    model: str
    prompt: str
    temperature: float


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the input.

    `key` is the same whenever the same line is asked the same question,
    so that nothing is paid for twice.
    """

    line: int
    key: str
    own_id: str | None
    label: str | None
    request_data: dict[str, Any]


def read_items(
    path: Path, question: Question, *, label_field: str | None = None
) -> list[Item]:
    """Read and check the whole file before anything is submitted.

    A line's `id` names it in the results; the label is what the answer
    is compared with. Neither is shown to the model.

    Raises:
        CommandError: names the lines that are no JSON objects.
    """
    seen: Counter[str] = Counter()
    items, problems = [], []
    for number, text in enumerate(_lines(path), start=1):
        if not text.strip():
            continue
        try:
            fields = _read_line(text)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        seen[text] += 1
        key = _key(question, text, seen[text])
        items.append(_item(number, key, fields, label_field))
    _refuse(path, problems)
    if not items:
        raise CommandError(f"{path} is empty: there is nothing to run")
    return items


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {path}: {error}") from None


def _read_line(text: str) -> dict[str, Any]:
    fields = payload.load(text)
    if not isinstance(fields, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - as bad JSON
    return fields


def _key(question: Question, text: str, occurrence: int) -> str:
    parts = [
        question.model,
        question.prompt,
        question.temperature,
        text,
        occurrence,
    ]
    return hashlib.sha256(payload.dump(parts).encode()).hexdigest()[:40]


def _item(
    number: int, key: str, fields: dict[str, Any], label_field: str | None
) -> Item:
    own_id = fields.pop("id", None)
    label = fields.pop(label_field, None) if label_field else None
    return Item(
        line=number,
        key=key,
        own_id=None if own_id is None else str(own_id),
        label=None if label is None else str(label),
        request_data=fields,
    )


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
