"""The process in which limited calls run: `python -m` this module.

It reads calls from its standard input and answers on its standard output,
one after another, until its input ends. See `utilities.limited`.
"""

import contextlib
import importlib
import os
import sys
from typing import IO, Any

from pydantic_core import from_json, to_json

# The length of a message stands before it.
PREFIX_BYTES = 8
READY = b"ready"
_NICE = 5


def send(pipe: IO[bytes], message: bytes) -> None:
    """Write one message."""
    pipe.write(len(message).to_bytes(PREFIX_BYTES, "big"))
    pipe.write(message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes | None:
    """Read one message; None if the other side is gone."""
    prefix = pipe.read(PREFIX_BYTES)
    if len(prefix) < PREFIX_BYTES:
        return None
    length = int.from_bytes(prefix, "big")
    message = pipe.read(length)
    return message if len(message) == length else None


def main() -> None:
    """Answer calls until there are no more."""
    _limit(int(sys.argv[1]))
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # What a library prints must not come between two answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for module in sys.argv[2:]:
        importlib.import_module(module)
    send(output, READY)
    while (message := receive(sys.stdin.buffer)) is not None:
        send(output, to_json(_answer(from_json(message))))


def _limit(memory: int) -> None:
    # Not every system has these limits.
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - POSIX only

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    with contextlib.suppress(OSError):
        os.nice(_NICE)


def _answer(call: dict[str, Any]) -> dict[str, Any]:
    module, _, name = call["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        return {"value": function(*call["arguments"])}
    except ValueError as error:
        return {"error": type(error).__name__, "message": str(error)}


if __name__ == "__main__":
    main()
