"""Read answers and check them against schemas, in bounded time.

Small answers and simple schemas, nearly all, are read at once. What may
take long is read in a process that can be ended: see `utilities.limited`.
"""

import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from llm_workers.execution.answers import NoJsonError, json_texts, to_json_text
from utilities import json_schema
from utilities.limited import (
    CallFailedError,
    LimitedCalls,
    LimitExceededError,
)

# What is longer is read elsewhere: a few milliseconds of work.
_INLINE_CHARACTERS = 32 * 1024
# A schema that went beyond the limit is not tried again for so long.
_BLOCKED_SECONDS = 60.0
_BLOCKED_KEPT = 256
_HERE = __name__


class SchemaMismatchError(Exception):
    """No value of the answer fits the schema; says why."""


class ReadingLimitError(Exception):
    """Reading or checking the answer took too long; says what to do."""


class AnswerReader:
    """Finds the JSON of an answer; one is shared by a process."""

    def __init__(
        self,
        limited: LimitedCalls,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limited = limited
        self._clock = clock
        self._blocked: OrderedDict[str, float] = OrderedDict()

    async def json_of(self, answer: str, echoes: Sequence[str] = ()) -> str:
        """Find the JSON of an answer, as compact text.

        Raises:
            NoJsonError: there is none.
            ReadingLimitError: it took too long.
        """
        if len(answer) <= _INLINE_CHARACTERS:
            return to_json_text(answer, echoes)
        return str((await self._texts_elsewhere(answer, echoes))[0])

    async def fitting_json_of(
        self, answer: str, schema_json: str, echoes: Sequence[str] = ()
    ) -> str:
        """Find the JSON of an answer that fits a schema.

        Raises:
            NoJsonError: there is no JSON.
            SchemaMismatchError: none of it fits.
            ReadingLimitError: it took too long.
            SchemaError: the schema cannot be used.
        """
        if len(answer) <= _INLINE_CHARACTERS:
            texts = list(json_texts(answer, echoes))
        else:
            texts = await self._texts_elsewhere(answer, echoes)
        if all(json_schema.is_light(text, schema_json) for text in texts):
            place, problem = json_schema.first_fitting(texts, schema_json)
        else:
            place, problem = await self._first_fitting(texts, schema_json)
        if problem is not None:
            raise SchemaMismatchError(problem)
        return texts[place]

    async def _texts_elsewhere(
        self, answer: str, echoes: Sequence[str]
    ) -> list[str]:
        try:
            texts = await self._limited.run(
                f"{_HERE}:texts_or_reason", answer, list(echoes)
            )
        except LimitExceededError as error:
            raise ReadingLimitError(f"Reading the answer {error}") from None
        if isinstance(texts, str):
            raise NoJsonError(texts)
        return list(texts)

    async def _first_fitting(
        self, texts: Sequence[str], schema_json: str
    ) -> tuple[int, str | None]:
        if self._blocked.get(schema_json, 0.0) > self._clock():
            raise ReadingLimitError(_TOO_LONG)
        try:
            place, problem = await self._limited.run(
                "utilities.json_schema:first_fitting", texts, schema_json
            )
        except LimitExceededError as error:
            self._block(schema_json)
            raise ReadingLimitError(f"{_TOO_LONG} ({error})") from None
        except CallFailedError as error:
            raise json_schema.SchemaError(str(error)) from None
        return int(place), problem

    def _block(self, schema_json: str) -> None:
        self._blocked[schema_json] = self._clock() + _BLOCKED_SECONDS
        self._blocked.move_to_end(schema_json)
        if len(self._blocked) > _BLOCKED_KEPT:
            self._blocked.popitem(last=False)


_TOO_LONG = (
    "Checking the answer against responseSchema took too long: make the "
    "schema simpler"
)


def texts_or_reason(answer: str, echoes: list[str]) -> list[str] | str:
    """Give an answer's JSON values, or why there are none."""
    try:
        return list(json_texts(answer, echoes))
    except NoJsonError as error:
        return str(error)


@functools.cache
def shared_reader() -> AnswerReader:
    """Return the reader that all workers of this process share."""
    return AnswerReader(LimitedCalls([_HERE, "utilities.json_schema"]))
