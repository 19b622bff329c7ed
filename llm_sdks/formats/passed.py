"""What can be read of an answer to a request of any kind.

The provider's interfaces that answer with a usage are known by the ends of
their paths. Of other answers nothing is read.
"""

from collections.abc import Collection
from contextlib import suppress

from llm_sdks.formats.decoding import read_json
from llm_sdks.formats.metering import (
    WHOLE_READ,
    AnswerMeter,
    Reads,
    UsageReader,
)
from llm_sdks.formats.reading import WRONG_SHAPE
from llm_sdks.forwarding import Interface

# Read by any plug-in's provider in the same way.
_SHARED = (
    Interface.RESPONSES,
    Interface.EMBEDDINGS,
    Interface.COUNT_TOKENS,
)
# Only the plug-in knows the answers.
_OWN = (Interface.CHAT, Interface.MESSAGES)
_GOOGLES = (":generateContent", ":streamGenerateContent")
_WITH_USAGE = (
    "/audio/transcriptions",
    "/audio/translations",
    "/chat/completions",
    "/completions",
    "/images/edits",
    "/images/generations",
    "/messages",
)
_TAIL = 4096


def interface_of(
    path: str, interfaces: Collection[Interface]
) -> Interface | None:
    """Tell which of the interfaces is at a path, if it is one."""
    for interface in _SHARED:
        if path.endswith(interface.value):
            return interface
    for interface in _OWN:
        if interface in interfaces and path.endswith(interface.value):
            return interface
    return None


def is_known(path: str) -> bool:
    """Tell whether the answers of a path have a usage that can be read."""
    known = (*_SHARED, *_OWN, *_GOOGLES, *_WITH_USAGE)
    return path.endswith(tuple(str(each) for each in known))


def answer_meter(
    path: str,
    interfaces: Collection[Interface],
    plugin: Reads,
    texts: list[str],
    key: str,
    *,
    hides_usage: bool = False,
) -> AnswerMeter | None:
    """Give what reads the answers to a path; None: nothing is known.

    `interfaces` are the plug-in's own; see `AnswerMeter` for the rest.
    """
    interface = interface_of(path, interfaces)
    reads: Reads = plugin
    if interface is None and not path.endswith(_GOOGLES):
        if not path.endswith(_WITH_USAGE):
            return None
        reads = UsageReader()
    return AnswerMeter(interface, reads, texts, key, hides_usage=hides_usage)


class WholeReader:
    """Takes a whole answer piece by piece; reads it at its end.

    Of a large one it keeps only what the usage is in.
    """

    def __init__(self, meter: AnswerMeter) -> None:
        self._meter = meter
        self._kept = bytearray()
        self._is_large = False

    def feed(self, chunk: bytes) -> None:
        """Take a piece."""
        self._kept += chunk
        if self._is_large or len(self._kept) > WHOLE_READ:
            self._is_large = True
            del self._kept[:-_TAIL]

    def close(self) -> None:
        """Read it."""
        content = bytes(self._kept)
        if self._is_large:
            self._meter.end_of_whole(content)
        elif content.lstrip().startswith(b"["):
            self._read_list(content)
        else:
            self._meter.whole(content)

    def _read_list(self, content: bytes) -> None:
        # Google's stream, where no events are asked for.
        with suppress(*WRONG_SHAPE):
            for part in read_json(content):
                self._meter.value(part)
