"""Ending a command in the middle, so that nothing is left running."""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from rich.console import Console

# What a shell reports of a process that a signal has ended.
_STATUS_OF_SIGNALS = 128


class _SignalledError(KeyboardInterrupt):
    """A signal came that ends the command as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def stoppable(console: Console, advice: str) -> Iterator[None]:
    """Let signals unwind the stack; say `advice` and end the command.

    Left alone, SIGTERM, and SIGHUP when the terminal closes, end a
    process on the spot, with what it has started still running.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `nohup` has SIGHUP ignored, a shell's `&` SIGINT: both on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _unwind)
    try:
        yield
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        console.print(f"\nStopped. {advice}", highlight=False)
        raise typer.Exit(_STATUS_OF_SIGNALS + number) from None


def _unwind(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        _leave_terminal()
    raise _SignalledError(number)


def _leave_terminal() -> None:
    # It is gone: what is still said to it must not fail on the way out.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
