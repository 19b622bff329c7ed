"""What searches for worked examples have in common: task, prompt, result.

All who are measured write the same prompt for the same examples, so only
the search for them differs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_HEAD = "Examples of inputs and their right answers:"


@dataclass(frozen=True)
class Search:
    """A search for one of DSPy's programs; items are texts with labels."""

    base_url: str
    model: str
    instruction: str
    response_format: dict[str, Any]
    train: list[list[str]]
    validation: list[list[str]]
    calls: int
    concurrency: int
    most_tokens: int


@dataclass(frozen=True)
class Step:
    """The best prompt so far, by its score on validation."""

    calls: int
    score: float
    prompt: str


@dataclass(frozen=True)
class Found:
    """The calls and the time of a search, and its best prompts in turn."""

    calls: int
    seconds: float
    steps: list[Step]


def schema(labels: Sequence[str]) -> dict[str, Any]:
    """Give the JSON Schema of an answer."""
    return {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }


def user_text(text: str) -> str:
    """Write an input."""
    return _compact({"text": text})


def shown(text: str, label: str) -> str:
    """Write a worked example."""
    return f"{user_text(text)}\n{_compact({'label': label})}"


def system_text(instruction: str, examples: Sequence[str]) -> str:
    """Write an instruction with worked examples."""
    if not examples:
        return instruction
    return "\n\n".join([instruction, _HEAD, *examples])


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
