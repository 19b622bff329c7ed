"""Output for people: text of others cannot steer the terminal.

Names, answers and error messages come from files, servers and providers.
A control character in them could move the cursor, rewrite the screen or
the window's title, or hide what was printed before.
"""

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

# Control characters but tab and line feed, what reorders or breaks a line
# without being seen, and halves of surrogate pairs.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff]"
)
_BREAKS = re.compile("[\t\n]")
_BYTE = 0xFF
_MINUTE, _HOUR = 60.0, 3600.0


def printable(text: str) -> str:
    """Replace characters that steer a terminal by their escape sequences.

    Tabs and line feeds stay.
    """
    return _CONTROLS.sub(_escaped, text)


def one_line(text: str) -> str:
    """Do the same for a text that must stay within its line."""
    return _BREAKS.sub(_escaped, printable(text.strip()))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in "\t\n\r":
        return {"\t": r"\t", "\n": r"\n", "\r": r"\r"}[match[0]]
    return f"\\x{code:02x}" if code <= _BYTE else f"\\u{code:04x}"


class Terminal(Console):
    """A console on which every text is printable."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's own options
        """Turn a string into rich's `Text`; all strings come through here."""
        return super().render_str(printable(text), **options)

    def render(
        self,
        renderable: RenderableType,
        options: ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Render; texts that were no strings are made printable as well."""
        for segment in super().render(renderable, options):
            if segment.control or not _CONTROLS.search(segment.text):
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def span(seconds: float) -> str:
    """Write a duration as people say it."""
    if seconds >= _HOUR:
        return f"{seconds / _HOUR:.1f} h"
    if seconds >= _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds:.0f} s"


def say(console: Console, text: str) -> None:
    """Print a message of any length as it is, without markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def say_error(text: str) -> None:
    """Print why a command cannot continue."""
    Terminal(stderr=True).print(
        f"Error: {text}",
        style="red",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
