"""Files that a row names: `{{@image:column}}`, `{{@file:column}}`.

A path is relative to the directory of the input file that names it. An
image may also be a URL, which the provider reads itself.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from api.models.job_fields import REQUEST_BYTES_LIMIT
from cli.errors import CommandError, reason
from cli.text_file import read_text

_MARK = re.compile(r"\{\{-?\s*@(\w+)\s*:\s*([^{}\s]+?)\s*-?\}\}")
_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_IMAGES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
_HEAD = 16

Fields = dict[str, Any]


class Use(StrEnum):
    """What is made of a file."""

    IMAGE = "image"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a text where a column's file belongs."""

    use: Use
    column: str

    @property
    def variable(self) -> str:
        """The name by which a template has the text of the file."""
        return f"file_of_{self.column}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A row's file, and what it was when the input was read.

    `place` is its path, or the URL of an image; `size` is in bytes as it
    is sent.
    """

    mark: Mark
    place: str
    size: int
    digest: str


def pieces(text: str) -> Iterator[str | Mark]:
    """Split a text at its marks.

    Raises:
        CommandError: there is no such mark.
    """
    start = 0
    for match in _MARK.finditer(text):
        try:
            mark = Mark(Use(match[1]), match[2])
        except ValueError:
            raise CommandError(
                f"{match[0]} is not known; there is {{{{@image:column}}}} "
                "and {{@file:column}}"
            ) from None
        yield text[start : match.start()]
        yield mark
        start = match.end()
    yield text[start:]


def marks(texts: Sequence[str]) -> list[Mark]:
    """Give the marks of some texts, each once."""
    found = (each for text in texts for each in pieces(text))
    return list(dict.fromkeys(e for e in found if isinstance(e, Mark)))


def check_places(prompt: str, user: str | None) -> None:
    """Make sure that images stand where models take them.

    Raises:
        CommandError: they do not.
    """
    if user is not None and any(
        each.use is Use.IMAGE for each in marks([prompt])
    ):
        raise CommandError(
            "Images belong into the user's message: move {{@image:...}} "
            "from the prompt into the file of --user"
        )


def as_template(text: str) -> str:
    """Put variables in place of files, and nothing in place of images."""
    return "".join(
        each if isinstance(each, str) else _filled(each)
        for each in pieces(text)
    )


def _filled(mark: Mark) -> str:
    """Give what stands in a template for a file; nothing for an image."""
    return f"{{{{ {mark.variable} }}}}" if mark.use is Use.FILE else ""


def found_in(
    fields: Mapping[str, Any], wanted: Sequence[Mark], directory: Path
) -> tuple[Attachment, ...]:
    """Look at the files that a row names.

    Raises:
        CommandError: says what is wrong with one.
    """
    return tuple(_attachment(fields, mark, directory) for mark in wanted)


def content_of(
    text: str, attachments: Sequence[Attachment]
) -> list[Fields] | str:
    """Give a message's content: a template, or parts with images.

    Raises:
        CommandError: a file has changed since it was looked at.
    """
    by_mark = {each.mark: each for each in attachments}
    parts: list[Fields] = []
    said = ""
    for each in pieces(text):
        if isinstance(each, str) or each.use is Use.FILE:
            said += each if isinstance(each, str) else _filled(each)
            continue
        if said.strip():
            parts.append({"type": "text", "text": said})
        said = ""
        url = _image_url(by_mark[each])
        parts.append({"type": "image_url", "image_url": {"url": url}})
    if not parts:
        return said
    return [*parts, {"type": "text", "text": said}] if said.strip() else parts


def texts_of(attachments: Sequence[Attachment]) -> Fields:
    """Read the text files, by the names of their variables.

    Raises:
        CommandError: one cannot be read any more.
    """
    return {
        each.mark.variable: read_text(Path(each.place))
        for each in attachments
        if each.mark.use is Use.FILE
    }


def _attachment(
    fields: Mapping[str, Any], mark: Mark, directory: Path
) -> Attachment:
    place = fields.get(mark.column)
    if not isinstance(place, str) or not place.strip():
        raise CommandError(
            f"the column {mark.column!r} names no file, and the question "
            f"needs {{{{@{mark.use}:{mark.column}}}}}"
        )
    if mark.use is Use.IMAGE and _URL.fullmatch(place.strip()):
        url = place.strip()
        return Attachment(mark, url, len(url), url)
    path = directory / place
    content = _read(path)
    if mark.use is Use.IMAGE:
        _media_type(path, content)
        size = len(content) * 4 // 3
    else:
        size = len(read_text(path).encode())
    if size > REQUEST_BYTES_LIMIT:
        raise CommandError(
            f"{path} is {size:,} bytes as it is sent; a job may have "
            f"{REQUEST_BYTES_LIMIT:,}"
        )
    return Attachment(mark, str(path), size, _digest(content))


def _image_url(attachment: Attachment) -> str:
    place = attachment.place
    if _URL.fullmatch(place):
        return place
    path = Path(place)
    content = _read(path)
    if _digest(content) != attachment.digest:
        raise CommandError(
            f"{path} has changed since the command began: run it again"
        )
    text = base64.b64encode(content).decode()
    return f"data:{_media_type(path, content)};base64,{text}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {reason(error)}") from None


def _media_type(path: Path, content: bytes) -> str:
    head = content[:_HEAD]
    for pattern, media_type in _IMAGES:
        if pattern.match(head):
            return media_type
    raise CommandError(f"{path} is no PNG, JPEG, GIF or WebP image")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
