"""The input of `metasync batch`: a file of either vendor's format."""

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from cli.errors import CommandError, reason
from cli.terminal import one_line

_MOST_PROBLEMS = 10


class Format(StrEnum):
    """Whose format a file has."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"


@dataclass
class BatchInput:
    """What is known of an input file; its lines stay in it.

    `endpoint` is the path that lines of OpenAI's format are for.
    """

    path: Path
    format: Format
    endpoint: str
    digest: str = ""
    ids: dict[str, int] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)

    def write_open(self, done: Collection[str], target: Path) -> None:
        """Write the lines that are still open, as they are uploaded.

        A line that is done leaves an empty one, so that numbers stay.
        """
        is_openai = self.format is Format.OPENAI
        with self.path.open("rb") as source, target.open("wb") as file:
            if is_openai:
                _write_lines(source, done, file)
            else:
                _write_requests(source, done, file)


def read_input(path: Path) -> BatchInput:
    """Look through a file.

    Raises:
        CommandError: it cannot be read, or names the lines that are wrong.
    """
    digest, found = hashlib.sha256(), None
    problems: list[str] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                digest.update(line)
                if not line.strip():
                    continue
                if found is None:
                    found = _begun(path, number, line)
                if problem := _note(found, number, line):
                    problems.append(f"line {number}: {problem}")
                if len(problems) == _MOST_PROBLEMS:
                    break
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {reason(error)}") from None
    if problems:
        listed = "\n".join(f"  {each}" for each in problems)
        raise CommandError(f"{path} cannot be sent:\n{listed}")
    if found is None:
        raise CommandError(f"{path} is empty")
    found.digest = digest.hexdigest()
    return found


def _begun(path: Path, number: int, line: bytes) -> BatchInput:
    """Recognise the format by the first line."""
    row = _row(line)
    if isinstance(row, dict) and "params" in row:
        return BatchInput(path, Format.ANTHROPIC, "/v1/messages")
    if isinstance(row, dict) and "url" in row:
        return BatchInput(path, Format.OPENAI, str(row["url"]))
    raise CommandError(
        f"{path}, line {number}: neither OpenAI's format "
        '({"custom_id", "method", "url", "body"}) nor Anthropic\'s '
        '({"custom_id", "params"})'
    )


def _note(found: BatchInput, number: int, line: bytes) -> str | None:
    """Take note of a line; say what is wrong with it."""
    row = _row(line)
    if not isinstance(row, dict):
        return "is no JSON object"
    custom_id = row.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        return "has no custom_id"
    if custom_id in found.ids:
        first = found.ids[custom_id]
        return f"custom_id {one_line(custom_id)} is that of line {first}, too"
    found.ids[custom_id] = number
    is_openai = found.format is Format.OPENAI
    if is_openai and row.get("url") != found.endpoint:
        return f"url is not {one_line(found.endpoint)}, as in the first line"
    asked = row.get("body" if is_openai else "params")
    model = asked.get("model") if isinstance(asked, dict) else None
    if not isinstance(model, str) or not model:
        return "names no model"
    found.models.add(model)
    return None


def _row(line: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _write_lines(
    source: IO[bytes], done: Collection[str], target: IO[bytes]
) -> None:
    for line in source:
        is_open = line.strip() and _row(line)["custom_id"] not in done
        target.write(line.rstrip(b"\r\n") + b"\n" if is_open else b"\n")


def _write_requests(
    source: IO[bytes], done: Collection[str], target: IO[bytes]
) -> None:
    target.write(b'{"requests":[')
    for number, line in enumerate(_open_lines(source, done)):
        target.write(b",\n" if number else b"\n")
        target.write(line.strip())
    target.write(b"\n]}")


def _open_lines(source: IO[bytes], done: Collection[str]) -> Iterator[bytes]:
    for line in source:
        if line.strip() and _row(line)["custom_id"] not in done:
            yield line
