"""Labels whose values others choose, kept few and short."""

import threading

OTHER = "other"
_LONGEST = 80


def short(value: str) -> str:
    """Make a value fit to be read in a legend."""
    text = "".join(each if each.isprintable() else " " for each in value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class FirstCome:
    """Knows the first `most` values; whatever comes later is `OTHER`.

    A counter cannot be taken from a series and given to another one, so
    the first are kept, not the largest. Safe from any thread.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def label(self, value: str, within: str = "") -> str:
        """Give the label for a value; `within` distinguishes equal ones."""
        known = self._known.get((within, value))
        if known is not None:
            return known
        with self._lock:
            if len(self._known) >= self._most:
                return OTHER
            return self._known.setdefault((within, value), short(value))
