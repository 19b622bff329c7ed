"""The results of `metasync batch`, in the vendor's own format."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cli.batch_input import BatchInput, Format
from cli.errors import CommandError, reason
from cli.terminal import one_line

_OK = 200


@dataclass
class Results:
    """Which lines of an input a file of results has answers to."""

    answered: set[str] = field(default_factory=set)
    # The others that it has, with what went wrong.
    failed: dict[str, str] = field(default_factory=dict)
    # Those that are none of the input's.
    foreign: int = 0


def read_results(path: Path, source: BatchInput) -> Results:
    """Look through a file of results; one that is not there has none.

    Raises:
        CommandError: it cannot be read, or has something else.
    """
    found = Results()
    if not path.exists():
        return found
    try:
        with path.open("rb") as file:
            for line in file:
                _note(found, line, source)
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {reason(error)}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise CommandError(
            f"{path} has something else than results; choose another --out"
        ) from None
    return found


@contextmanager
def rewritten(
    path: Path, kept: Callable[[str], bool], source: BatchInput
) -> Iterator[IO[bytes]]:
    """Yield a file that begins with the answers to be kept.

    It takes the place of the results when it is whole.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w+b") as target:
            if path.exists():
                with path.open("rb") as file:
                    for line in file:
                        row = json.loads(line)
                        if kept(row["custom_id"]) and _is_good(row, source):
                            target.write(line.rstrip(b"\n") + b"\n")
            yield target
            target.flush()
            os.fsync(target.fileno())
        part.replace(path)
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {reason(error)}") from None
    finally:
        part.unlink(missing_ok=True)


def _note(found: Results, line: bytes, source: BatchInput) -> None:
    row = json.loads(line)
    custom_id = row["custom_id"]
    if custom_id not in source.ids:
        found.foreign += 1
    elif _is_good(row, source):
        found.answered.add(custom_id)
    else:
        found.failed[custom_id] = _why(row, source)


def _is_good(row: Mapping[str, Any], source: BatchInput) -> bool:
    if source.format is Format.ANTHROPIC:
        return bool(row["result"]["type"] == "succeeded")
    response = row["response"]
    return bool(response) and response["status_code"] == _OK


def _why(row: Mapping[str, Any], source: BatchInput) -> str:
    """Say in a line what went wrong."""
    if source.format is Format.ANTHROPIC:
        error = (row["result"].get("error") or {}).get("error") or {}
        return one_line(str(error.get("message") or row["result"]["type"]))
    response = row["response"]
    body = response["body"] if response else row
    error = body.get("error") or {}
    return one_line(str(error.get("message") or "no answer"))
