"""Metrics as they are written on the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.text_file import read_text
from utilities import payload

Json = dict[str, Any]
_FORMS = (
    "exact, contains, f1, regex:PATTERN, jsonField:PATH, "
    "numeric:TOLERANCE, numeric:PATH:TOLERANCE, schema:FILE, "
    "labelProbability:LABEL,LABEL, labelProbability:PATH:LABEL,LABEL, "
    "judge:PROMPT_FILE:MODEL, entryPoint:NAME, or a JSON object"
)


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge's prompt, whose id is not known yet, and its model."""

    prompt: str
    model: str


def read_metrics(texts: Sequence[str]) -> list[Json | Judge]:
    """Read what `--metric` gave, once or several times.

    Raises:
        CommandError: says which forms there are.
    """
    return [_read(text.strip()) for text in texts]


def _read(text: str) -> Json | Judge:
    if text.startswith("{"):
        return _json(text)
    name, _, rest = text.partition(":")
    reader = _READERS.get(name)
    if reader is None or bool(rest) != (name not in _WITHOUT_MORE):
        raise CommandError(f"--metric {text}: must be one of {_FORMS}")
    return reader(rest)


def _json(text: str) -> Json:
    try:
        fields = payload.load(text)
    except ValueError as error:
        raise CommandError(f"--metric is not JSON: {error}") from None
    return dict(fields)


def _numeric(rest: str) -> Json:
    path, colon, tolerance = rest.rpartition(":")
    try:
        fields: Json = {"type": "numeric", "tolerance": float(tolerance)}
    except ValueError:
        raise CommandError(
            f"--metric numeric: {tolerance!r} is no number"
        ) from None
    return {**fields, "path": path} if colon else fields


def _schema(rest: str) -> Json:
    try:
        schema = payload.load(read_text(Path(rest)))
    except ValueError as error:
        raise CommandError(f"{rest} is not JSON: {error}") from None
    return {"type": "schema", "schema": schema}


def _label_probability(rest: str) -> Json:
    path, colon, listed = rest.rpartition(":")
    labels = [each.strip() for each in listed.split(",")]
    fields: Json = {"type": "labelProbability", "labels": labels}
    return {**fields, "path": path} if colon else fields


def _judge(rest: str) -> Judge:
    file, _, model = rest.partition(":")
    if not model:
        raise CommandError("--metric judge needs judge:PROMPT_FILE:MODEL")
    return Judge(read_text(Path(file)), model)


_WITHOUT_MORE = ("exact", "contains", "f1")
_READERS: Mapping[str, Callable[[str], Json | Judge]] = {
    "exact": lambda _: {"type": "exact"},
    "contains": lambda _: {"type": "contains"},
    "f1": lambda _: {"type": "f1"},
    "regex": lambda rest: {"type": "regex", "pattern": rest},
    "jsonField": lambda rest: {"type": "jsonField", "path": rest},
    "numeric": _numeric,
    "schema": _schema,
    "labelProbability": _label_probability,
    "judge": _judge,
    "entryPoint": lambda rest: {"type": "entryPoint", "name": rest},
}
