"""Text files as editors and shells write them: with or without a mark."""

import codecs
from pathlib import Path

from cli.errors import CommandError, reason

# UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text, or of what its byte order mark names.

    The mark is taken off; lines end with a line feed.

    Raises:
        CommandError: it cannot be read, or is no text.
    """
    try:
        text = decode(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {path}: {reason(error)}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode(content: bytes) -> str:
    """Decode text by its byte order mark; without one it is UTF-8.

    Raises:
        UnicodeDecodeError: it is no such text.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    if b"\x00" in content[:4]:
        # UTF-16 without a mark reads as UTF-8 full of null characters.
        raise UnicodeDecodeError("utf-8", content, 0, 1, "null characters")
    return content.decode("utf-8")
