"""What ends a command early, in words for the person who typed it."""


class CommandError(Exception):
    """The command cannot go on; the message says what to do."""
