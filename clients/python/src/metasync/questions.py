"""What `map` asks of every row, and how a row becomes a job.

A job's idempotency key is made of all that makes its answer: the same
question about the same row is the same job, in whichever program.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from pydantic import PydanticSchemaGenerationError, TypeAdapter

from metasync.errors import ConfigurationError
from metasync.options import MapOptions
from metasync.requests import Json, camel, dump
from metasync.rows import Row, to_json

T = TypeVar("T")

# As the command line tells a prompt with columns from one without.
_NAMED = re.compile(r"\{\{-?\s*[A-Za-z_]|\{%")
# A new rule for keys needs another version: old answers are not found then.
_KEY_VERSION = "map-1"
_DIGITS = 32
_ANSWER = "answer"


class Form(Generic[T]):
    """The form of the answers: a type, a JSON schema, or plain text."""

    def __init__(self, schema: Any) -> None:
        """Take what was given as `schema`.

        Raises:
            ConfigurationError: it is no type of which there is a schema.
        """
        self.is_text = schema is None
        # Providers take the schemas of objects only.
        self._is_wrapped = False
        self._adapter: TypeAdapter[Any] | None = None
        self.json_schema: Json | None = None
        if isinstance(schema, Mapping):
            self.json_schema = dict(schema)
        elif schema is not None:
            self._adapter, plain = _of_type(schema)
            self._is_wrapped = bool(plain) and not _is_object(plain)
            self.json_schema = _wrapped(plain) if self._is_wrapped else plain

    @property
    def fields(self) -> Json:
        """Give the fields of a job that ask for it."""
        if self.is_text:
            return {"responseFormat": "text"}
        return {"responseSchema": self.json_schema} if self.json_schema else {}

    def read(self, answer: Any) -> T:
        """Turn an answer into a value.

        Raises:
            ValidationError: it does not fit the type.
        """
        if self.is_text:
            answer = answer.get("text") if isinstance(answer, dict) else answer
        if self._is_wrapped and isinstance(answer, dict):
            answer = answer.get(_ANSWER, answer)
        if self._adapter is not None:
            answer = self._adapter.validate_python(answer)
        return cast("T", answer)

    def plain(self, value: T) -> Any:
        """Turn a value into what tables can hold."""
        if self._adapter is None:
            return value
        return self._adapter.dump_python(value)


def _of_type(schema: Any) -> tuple[TypeAdapter[Any], Json]:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(schema)
        return adapter, adapter.json_schema()
    except PydanticSchemaGenerationError:
        raise ConfigurationError(
            f"schema must be a pydantic model, another type that pydantic "
            f"knows, or a JSON schema, not {schema!r}"
        ) from None


def _is_object(schema: Json) -> bool:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    meant = schema.get("$defs", {}).get(name, schema)
    return bool(meant.get("type") == "object")


def _wrapped(schema: Json) -> Json:
    """Give the schema of an object whose only field is the answer."""
    inner = dict(schema)
    definitions = inner.pop("$defs", None)
    outer = {
        "type": "object",
        "properties": {_ANSWER: inner},
        "required": [_ANSWER],
        "additionalProperties": False,
    }
    return outer if definitions is None else {**outer, "$defs": definitions}


@dataclass(frozen=True)
class Question(Generic[T]):
    """What is asked of every row."""

    prompt: str
    model: str
    form: Form[T]
    options: MapOptions = field(default_factory=MapOptions)

    @property
    def is_template(self) -> bool:
        """Whether the prompt names columns."""
        texts = [self.prompt, self.options.system or ""]
        return any(_NAMED.search(text) for text in texts)

    @property
    def stored_text(self) -> str:
        """The text that the server keeps once for all jobs."""
        return (
            self.prompt if self.options.system is None else self.options.system
        )

    def jobs_fields(self, prompt_id: str) -> Json:
        """Give what all jobs have in common."""
        return {
            "operation": self.options.operation,
            "model": self.model,
            "temperature": self.options.temperature,
            "workingPrompts": [prompt_id],
            **self.form.fields,
            **camel(self.options.job),
        }

    def job(self, common: Json, row: Row) -> Json:
        """Give the job of a row, without its key.

        Raises:
            RowError: the row cannot be sent.
        """
        data = to_json(row, self.options.columns)
        if self.is_template:
            asked: Json = {"variables": data}
        else:
            asked = {"requestData": data}
        if self.options.system is not None:
            asked["messages"] = [{"role": "user", "content": self.prompt}]
        return {**common, **asked}

    def batch_key(self, common: Json) -> str:
        """Name the question: its jobs can be found by this name."""
        return self._digest({"question": common, "prompt": self.prompt})

    def key(self, job: Json, number: int = 1) -> str:
        """Name a job; a `number` above 1 is another job of the same row."""
        digest = self._digest(job)
        return digest if number == 1 else f"{digest}.{number}"

    def _digest(self, value: Json) -> str:
        body = dump({"asked": value, "sample": self.options.sample})
        digest = hashlib.sha256(body).hexdigest()[:_DIGITS]
        return f"{_KEY_VERSION}-{digest}"
