"""The input of `metasync run`: rows that become jobs."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.models.job_fields import REQUEST_BYTES_LIMIT
from cli.attachments import (
    Attachment,
    Mark,
    Use,
    as_template,
    found_in,
    marks,
)
from cli.errors import CommandError
from cli.input_rows import STDIN, Fields, InputRow, Kind, read_rows
from cli.templates import check_templates
from utilities import payload

_PROBLEMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every line: it makes a line's answer its own.

    `form` holds the fields of a job that say more of its answer: its form,
    and what is done with one that cannot be used. With `is_template`, the
    prompt and the `user` text are filled from a line; otherwise the line
    itself is the user's message.
    """

    model: str
    sdk: str
    prompt: str
    temperature: float
    form: Fields = field(default_factory=dict)
    user: str | None = None
    is_template: bool = False

    @property
    def parts(self) -> list[Any]:
        """Give what makes it another question."""
        parts = [self.model, self.sdk, self.prompt, self.temperature]
        if self.form:
            parts.append(self.form)
        return [*parts, "template", self.user] if self.is_template else parts

    @property
    def templates(self) -> list[str]:
        """Give the texts that are filled from a line."""
        return list(map(as_template, self._texts))

    @property
    def marks(self) -> list[Mark]:
        """Give the places where files of a line belong."""
        return marks(self._texts)

    @property
    def has_images(self) -> bool:
        """Whether lines name images."""
        return any(each.use is Use.IMAGE for each in self.marks)

    @property
    def system(self) -> str:
        """The text of the prompt; empty if that is the user's message."""
        if not self.is_template:
            return self.prompt
        if self.user is None and self.has_images:
            return ""
        return as_template(self.prompt)

    @property
    def message(self) -> str | None:
        """The user's message, with marks; None if the prompt makes it."""
        if self.user is None and self.has_images:
            return self.prompt
        return self.user

    @property
    def _texts(self) -> list[str]:
        if not self.is_template:
            return []
        return [text for text in (self.prompt, self.user) if text]


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the input.

    `key` is the same whenever the same line is asked the same question,
    so that nothing is paid for twice. `size` is in bytes as JSON. `fields`
    are all of the line, `request_data` those that the model is shown.
    `file` is the name of its file if there are several.
    """

    line: int
    key: str
    own_id: str | None
    label: str | None
    request_data: Fields
    size: int
    fields: Fields = field(default_factory=dict)
    file: str | None = None
    # Where the answer stands that the label is compared with.
    answer_field: str | None = None
    # The files that it names.
    attachments: tuple[Attachment, ...] = ()
    # Counts the answers to it, from 0 on, if it gets several.
    sample: int | None = None


def read_items(
    source: Path | Sequence[Path],
    question: Question,
    *,
    label_field: str | None = None,
    answer_field: str | None = None,
    kind: Kind | None = None,
) -> list[Item]:
    """Read and check everything before anything is submitted.

    A line's `id` names it in the results; the label is what the answer
    is compared with. Neither is shown to the model.

    Raises:
        CommandError: names the lines that cannot be read.
    """
    sources = [source] if isinstance(source, Path) else list(source)
    name = _named(sources)
    rows, problems = [], []
    found: list[tuple[Attachment, ...]] = []
    wanted = question.marks
    for row in read_rows(sources, kind):
        problem = row.problem or _unfit(row)
        if problem is None:
            try:
                directory = _directory(row, sources)
                found.append(found_in(row.fields, wanted, directory))
            except CommandError as error:
                problem = str(error)
        if problem is None:
            rows.append(row)
        else:
            where = f"{row.file}, line" if row.file else "line"
            problems.append(f"{where} {row.line}: {problem}")
    _refuse(name, problems)
    if not rows:
        raise CommandError(f"{name} is empty: there is nothing to run")
    if label_field is not None:
        _check_label_field(name, rows, label_field)
    files = {each.variable: "" for each in wanted}
    check_templates(
        question.templates,
        [(each.line, {**each.fields, **files}) for each in rows],
    )
    return _items(rows, found, question, label_field, answer_field)


def _directory(row: InputRow, sources: Sequence[Path]) -> Path:
    """Give the directory to which a row's paths are relative."""
    source = Path(row.file) if row.file else sources[0]
    return Path() if source == STDIN else source.parent


def _named(sources: Sequence[Path]) -> str:
    if len(sources) > 1:
        return f"The input ({len(sources)} files)"
    return "Standard input" if sources[0] == STDIN else str(sources[0])


def _unfit(row: InputRow) -> str | None:
    """Say why a row cannot be a job's, if it cannot."""
    try:
        size = len(payload.dump(row.fields).encode())
    except payload.PayloadError as error:
        return str(error)
    if size <= REQUEST_BYTES_LIMIT:
        return None
    return f"{size:,} bytes; a job may have {REQUEST_BYTES_LIMIT:,}"


def _refuse(name: str, problems: list[str]) -> None:
    if not problems:
        return
    shown = "\n  ".join(problems[:_PROBLEMS_SHOWN])
    more = len(problems) - _PROBLEMS_SHOWN
    rest = f"\n  and {more} more" if more > 0 else ""
    raise CommandError(
        f"{name} must have one JSON object a line, or a table's row; nothing "
        f"was submitted.\n  {shown}{rest}"
    )


def _check_label_field(
    source: str, rows: Sequence[InputRow], name: str
) -> None:
    if any(row.fields.get(name) is not None for row in rows):
        return
    has = ", ".join(sorted(rows[0].fields))
    raise CommandError(
        f"No line of {source} has a label in {name!r}; the first line has: "
        f"{has}"
    )


def _items(
    rows: Iterable[InputRow],
    attachments: Iterable[tuple[Attachment, ...]],
    question: Question,
    label: str | None,
    answer_field: str | None,
) -> list[Item]:
    seen: Counter[tuple[str | None, str]] = Counter()
    items = []
    for row, files in zip(rows, attachments, strict=True):
        fields = dict(row.fields)
        own_id = _text(fields.pop("id", None))
        label_text = _text(fields.pop(label, None)) if label else None
        asked = payload.dump(fields)
        seen[own_id, asked] += 1
        digests = [each.digest for each in files]
        key = _key(question, own_id, asked, seen[own_id, asked], digests)
        size = len(asked.encode()) + sum(each.size for each in files)
        items.append(
            Item(
                row.line,
                key,
                own_id,
                label_text,
                fields,
                size,
                row.fields,
                row.file,
                answer_field,
                files,
            )
        )
    return items


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _key(
    question: Question,
    own_id: str | None,
    asked: str,
    occurrence: int,
    files: Sequence[str],
) -> str:
    parts = [*question.parts, own_id, asked, occurrence, *files]
    return hashlib.sha256(payload.dump(parts).encode()).hexdigest()[:40]
