"""The entry of `metasync`: light, so that it starts at once."""

import os
import signal
import sys

from cli.version import version

_STATUS_OF_CTRL_C = 130


def main() -> None:
    """Run the command line; expected failures are one message, status 2."""
    _end_at_once_on_ctrl_c()
    _print_any_character()
    if sys.argv[1:] == ["--version"]:
        print(f"metasync {version()}")  # noqa: T201 - rich takes longer
        return
    from cli.commands import execute  # noqa: PLC0415 - see above

    execute()


def _end_at_once_on_ctrl_c() -> None:
    # While modules are imported, nothing is there that needs an orderly
    # end, and KeyboardInterrupt inside an import makes a traceback. What a
    # command starts later handles signals in its own way.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_STATUS_OF_CTRL_C))


def _print_any_character() -> None:
    # A terminal that knows no UTF-8 gets escape sequences, not an error.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
