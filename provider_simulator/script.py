"""Answers by pattern: a table of rules, the first that fits answers.

A file holds a JSON array of rules, or one rule a line.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import from_json, to_json

from provider_simulator.settings import (
    FailureKind,
    SimulatorError,
    problems,
)
from provider_simulator.values import Call

TokenCount = Annotated[int, Field(ge=0)]


class ScriptedUsage(BaseModel):
    """Tokens to report; those left out are counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    cached_tokens: TokenCount | None = None
    reasoning_tokens: TokenCount | None = None
    cache_write_tokens: TokenCount | None = None


class ScriptedCall(BaseModel):
    """A function that the model calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Rule(BaseModel):
    """One row of the table.

    `pattern` (a regular expression) is looked for in the user's last
    message, `model` in the model's name. An answer is a `text`, a `json`
    value, calls of tools (with or without a text), or an error: `status`
    with a `message` in the vendor's form, or with a `body` that is sent as
    it is. A rule with `times` serves so
    many calls, and then those below it are asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = ""
    model: str = ""
    text: str | None = None
    json_: Any = Field(default=None, alias="json")
    tool_calls: tuple[ScriptedCall, ...] = ()
    finish_reason: str | None = None
    usage: ScriptedUsage = ScriptedUsage()
    status: int = Field(default=200, ge=200, le=599)
    message: str | None = None
    body: Any = None
    headers: dict[str, str] = Field(default_factory=dict)
    retry_after: float | None = Field(default=None, ge=0)
    latency_ms: float | None = Field(default=None, ge=0)
    failure: FailureKind | None = None
    times: int | None = Field(default=None, ge=0)

    @field_validator("pattern", "model")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if self.text is not None and self.json_ is not None:
            raise ValueError("give either text or json")
        return self

    @property
    def answer_text(self) -> str | None:
        """The text to answer with, if the rule has one."""
        if self.json_ is not None:
            return to_json(self.json_).decode()
        return self.text


@dataclass(slots=True)
class _Row:
    rule: Rule
    pattern: re.Pattern[str]
    model: re.Pattern[str]
    left: int | None

    def fits(self, call: Call) -> bool:
        return (
            self.left != 0
            and self.pattern.search(call.text) is not None
            and self.model.search(call.model) is not None
        )


class Script:
    """The table, and how often its rules may still be used."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rows = [
            _Row(
                rule,
                re.compile(rule.pattern, re.DOTALL),
                re.compile(rule.model),
                rule.times,
            )
            for rule in rules
        ]

    @property
    def rules(self) -> list[Rule]:
        """The rules, in order."""
        return [row.rule for row in self._rows]

    def take(self, call: Call) -> Rule | None:
        """Return the first rule that fits, and count its use."""
        for row in self._rows:
            if row.fits(call):
                if row.left is not None:
                    row.left -= 1
                return row.rule
        return None


def read_rules(text: str | bytes) -> list[Rule]:
    """Read a JSON array of rules, or one rule a line.

    Raises:
        SimulatorError: says which rule is wrong, and why.
    """
    try:
        rows = from_json(text)
    except ValueError:
        rows = [_line(line) for line in text.splitlines() if line.strip()]
    if isinstance(rows, Mapping):
        rows = [rows]
    if not isinstance(rows, list):
        raise SimulatorError("a script is a JSON array of rules")
    return [_rule(number, row) for number, row in enumerate(rows, start=1)]


def read_script(path: Path) -> list[Rule]:
    """Read rules from a file.

    Raises:
        SimulatorError: the file or a rule in it is not as it must be.
    """
    try:
        return read_rules(path.read_bytes())
    except OSError as error:
        raise SimulatorError(
            f"Cannot read {path}: {error.strerror or error}"
        ) from None


def _line(line: str | bytes) -> Any:  # noqa: ANN401 - JSON is any of six types
    try:
        return from_json(line)
    except ValueError as error:
        raise SimulatorError(f"not JSON: {error}") from None


def _rule(number: int, row: object) -> Rule:
    try:
        return Rule.model_validate(row)
    except ValidationError as error:
        raise SimulatorError(f"rule {number}: {problems(error)}") from None
