"""The entry of `metasync`: light, so that it starts at once."""

import os
import signal
import sys

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


def version() -> str:
    """Return the installed version."""
    from importlib import metadata  # noqa: PLC0415 - for one option only

    try:
        return metadata.version("metasync")
    except metadata.PackageNotFoundError:
        # Run from a checkout that is not installed.
        from config import VERSION  # noqa: PLC0415 - takes half a second

        return VERSION


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
