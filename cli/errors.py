"""The errors that end a command, in words for the person who typed it."""


class CommandError(Exception):
    """The command cannot continue; the message says what to do."""


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Say why a file cannot be read or written, without its name."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text at byte {error.start}; save it as UTF-8"
    return error.strerror or str(error)
