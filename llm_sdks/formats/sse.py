"""Server-sent events, and what comes in their place.

Some servers answer with one JSON value where events were asked for, or
with a JSON value a line. Both are read as well.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from typing import Any

from llm_sdks.formats.decoding import BYTE_ORDER_MARK, decode, read_json

# OpenAI's end mark, as the one event that is not JSON.
END = b"[DONE]"
_JSON_STARTS = (b"{", b"[")
# No event is as long; a server that sends more must not fill the memory.
_LONGEST_EVENT = 64 * 1024 * 1024
_KEPT = 64 * 1024


class NotAnEventError(ValueError):
    """What came is neither events nor JSON; `content` has what it is."""

    def __init__(self, content: bytes) -> None:
        super().__init__("neither events nor JSON")
        self.content = content


class EventReader:
    """Turns bytes into JSON values, however the bytes are split."""

    def __init__(self) -> None:
        self._is_first = True
        self._unfinished: list[bytes] = []
        self._data: list[bytes] = []
        # Whether the event that is being read is named an error.
        self._is_error = False
        # Lines that do not belong to any event.
        self._stray: list[bytes] = []
        # Bytes since the last event.
        self._pending = 0
        self._has_events = False
        # Whether OpenAI's end mark came.
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[Any]:
        """Yield the values that are complete after one more chunk.

        Raises:
            NotAnEventError: An event is not JSON.
        """
        self._pending += len(chunk)
        if self._pending > _LONGEST_EVENT:
            raise NotAnEventError(b"".join(self._unfinished)[:_KEPT])
        first, *others = chunk.split(b"\n")
        self._unfinished.append(first)
        for other in others:
            line = b"".join(self._unfinished)
            self._unfinished = [other]
            yield from self._line(line)

    def close(self) -> Iterator[Any]:
        """Yield the values that only the end completes.

        Raises:
            NotAnEventError: What came is not JSON.
        """
        line = b"".join(self._unfinished)
        self._unfinished = []
        yield from self._line(line)
        # The last event may lack the empty line that ends it.
        yield from self._event()
        yield from self._leftovers()

    def _line(self, line: bytes) -> Iterator[Any]:
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(BYTE_ORDER_MARK)
        line = line.removesuffix(b"\r")
        # A carriage return alone ends a line, too.
        for part in line.split(b"\r") if b"\r" in line else (line,):
            if part.startswith(b"data:"):
                self._data.append(part[5:].removeprefix(b" "))
            elif not part:
                yield from self._event()
            elif part.startswith(b"error:"):
                # Older llama.cpp servers: a field of their own.
                self._is_error = True
                self._data.append(part[6:].removeprefix(b" "))
            else:
                yield from self._other(part)

    def _event(self) -> Iterator[Any]:
        lines, is_error = self._data, self._is_error
        self._data, self._is_error = [], False
        if not lines or self.is_done:
            return
        try:
            values = list(self._values(b"\n".join(lines), is_error=is_error))
        except NotAnEventError:
            if len(lines) == 1:
                raise
            # Some servers leave out the empty lines between the events.
            values = [
                value
                for line in lines
                for value in self._values(line, is_error=is_error)
            ]
        yield from values

    def _values(self, event: bytes, *, is_error: bool) -> Iterator[Any]:
        if self.is_done or event.lstrip().startswith(END):
            self.is_done = True
            return
        value: Any
        try:
            value = read_json(event)
        except ValueError:
            if not is_error:
                if event.lstrip().startswith(_JSON_STARTS):
                    raise NotAnEventError(event) from None
                return  # a sign of life, such as "ping"
            value = decode(event)
        self._has_events, self._pending = True, 0
        yield _as_error(value) if is_error else value

    def _other(self, line: bytes) -> Iterator[Any]:
        if line.startswith(b"event:"):
            self._is_error = line[6:].strip().lower() == b"error"
        if line.startswith((b":", b"event:", b"id:", b"retry:")):
            return
        # One JSON value a line; but a line of a longer value is none.
        if not self._stray and line.startswith(b"{"):
            try:
                value = read_json(line)
            except ValueError:
                pass
            else:
                self._has_events, self._pending = True, 0
                yield value
                return
        self._stray.append(line)

    def _leftovers(self) -> Iterator[Any]:
        content = b"\n".join(self._stray)
        self._stray = []
        if not content.strip():
            return
        try:
            value = read_json(content)
        except ValueError:
            if self._has_events:
                return  # nothing of the answer
            raise NotAnEventError(content) from None
        # Google's streams are a list of answers if no events are asked for.
        yield from value if isinstance(value, list) else (value,)


def _as_error(value: object) -> object:
    """Return an error as failures are told elsewhere."""
    if isinstance(value, dict) and value.get("error"):
        return value
    return {"error": value or "The provider sent an error event"}


async def json_events(
    chunks: AsyncIterable[bytes], reader: EventReader | None = None
) -> AsyncGenerator[Any]:
    """Yield the JSON value of each event, up to OpenAI's end mark.

    Raises:
        NotAnEventError: What came is not JSON.
    """
    reader = reader or EventReader()
    async for chunk in chunks:
        for value in reader.feed(chunk):
            yield value
        if reader.is_done:
            return
    for value in reader.close():
        yield value
