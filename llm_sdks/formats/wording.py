"""The provider's own words in an error's body, wherever they stand.

Bodies are hostile: any JSON, any text, any size. Nothing here raises, and
nothing reads more than the first kilobytes.
"""

import re
from collections.abc import Iterator, Mapping
from html import unescape
from itertools import islice
from typing import Any
from urllib.parse import quote, quote_plus

from llm_sdks.formats.decoding import read_json, storable
from llm_sdks.formats.reading import items_of, section
from llm_sdks.usage import COUNT_LIMIT

LONGEST_MESSAGE = 1000
_LONGEST_READ = 6000
_MOST_DEPTH = 6
_MOST_ITEMS = 5
_MOST_SAYINGS = 20
_MOST_FIELDS = 50
_SHORTEST_KEY = 6
# Where providers put their words; the first that has some is taken. They
# are compared without regard to capitals and underscores.
_NAMES = (
    "message",
    "error",
    "detail",
    "errors",
    "msg",
    "errormessage",
    "errormsg",
    "errmsg",
    "errordescription",
    "errorinfo",
    "statusmsg",
    "baseresp",
    "fault",
    "faultstring",
    "err",
    "title",
    "description",
    "reason",
)
_CODE_NAMES = ("code", "type", "status", "reason", "errorcode", "errcode")
_CODE_PLACES = ("error", "details", "innererror", "errors")
_KEY_LIKE = re.compile(
    r"\b(?:sk|gsk|xai|hf|nvapi|pplx|r8|csk|tgp)[-_]"
    r"[A-Za-z0-9_\-.*…]{8,}"
    r"|\bAIza[A-Za-z0-9_\-]{16,}"
    r"|(?<=[Bb]earer )[A-Za-z0-9_\-.~+/=*]{8,}",
)
_INVISIBLE = re.compile(
    r"<!--.{0,2000}?-->|<(script|style|svg)\b.{0,2000}?</\1\s*>",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,2000}>")
_SPACE = re.compile(r"\s+")


def message_of(body: object, key: str) -> str:
    """Return what an error's body says, without the key, shortened."""
    text = "; ".join(_unique(islice(_sayings(body, key, 0), _MOST_SAYINGS)))
    return scrub(text, key)


def scrub(text: str, key: str, longest: int = LONGEST_MESSAGE) -> str:
    """Take out the key, and whatever looks like one, and cut the text."""
    return storable(_without_key(text, key))[:longest]


def words_of(body: object) -> str:
    """Return an error's codes and types, for comparing; lower case."""
    return " ".join(filter(None, _codes(body, 0))).lower()


def problem_of(body: object) -> Mapping[str, Any]:
    """Return the object that describes the error; an empty one if none.

    `{"error": {...}}`, `[{"error": {...}}]`, or the error itself.
    """
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, str):
        return {"message": body}
    if not isinstance(body, Mapping):
        return {}
    inner = body.get("error") or body
    if isinstance(inner, str):
        return {**body, "message": inner}
    return inner if isinstance(inner, Mapping) else {}


def _without_key(text: str, key: str) -> str:
    # No provider's key is so short; a stand-in's may be a common letter.
    if len(key) >= _SHORTEST_KEY:
        # Addresses that are quoted have it encoded.
        for form in {key, quote(key, safe=""), quote_plus(key)}:
            text = text.replace(form, "[key]")
    return _KEY_LIKE.sub("[key]", text)


def _sayings(value: object, key: str, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        return
    match value:
        case str():
            yield from _sayings_of_text(value, key, depth)
        case list():
            for item in value[:_MOST_ITEMS]:
                yield from _sayings(item, key, depth + 1)
        case Mapping() if isinstance(value.get("loc"), list):
            yield _of_field(value)
        case Mapping():
            yield from _sayings_of_object(value, key, depth)
            yield from _deeper(value, key, depth)


def _sayings_of_object(
    value: Mapping[str, Any], key: str, depth: int
) -> Iterator[str]:
    fields = _plain_fields(value)
    for name in _NAMES:
        found = list(_sayings(fields.get(name), key, depth + 1))
        if any(found):
            yield from found
            return
    # Under names that nobody could know: whatever has several words.
    for inner in islice(value.values(), _MOST_FIELDS):
        if not isinstance(inner, str) or " " in inner.strip():
            yield from _sayings(inner, key, depth + 1)


def _plain_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object's fields by names without capitals and underscores."""
    return {
        str(name).lower().replace("_", ""): inner
        for name, inner in islice(value.items(), _MOST_FIELDS)
    }


def _deeper(value: Mapping[str, Any], key: str, depth: int) -> Iterator[str]:
    # What the provider behind a gateway said, and Azure's inner error.
    raw = section(value, "metadata").get("raw")
    yield from _sayings(raw, key, depth + 1)
    inner = value.get("innererror") or value.get("inner_error")
    if isinstance(inner, Mapping):
        yield from _sayings(inner, key, depth + 1)
    # The fields that are wrong; Google's details are of other kinds.
    for detail in items_of(value.get("details"))[:_MOST_ITEMS]:
        if isinstance(section(detail).get("loc"), list):
            yield _of_field(detail)


def _sayings_of_text(text: str, key: str, depth: int) -> Iterator[str]:
    stripped = text.strip()
    if stripped[:1] in ("{", "[") and len(stripped) <= 4 * _LONGEST_READ:
        try:
            value = read_json(stripped)
        except ValueError:
            pass
        else:
            inner = list(_sayings(value, key, depth + 1))
            if any(inner):
                yield from inner
                return
    # The key goes first: half of it would not be found after a cut.
    yield _plain(_without_key(text, key)[:_LONGEST_READ])


def _plain(text: str) -> str:
    if "<" in text:
        text = _TAG.sub(" ", _INVISIBLE.sub(" ", text))
        text = unescape(text)
    return _SPACE.sub(" ", text).strip()


def _of_field(item: Mapping[str, Any]) -> str:
    """Word one error of pydantic's: where, and what."""
    path = [_short(part) for part in item["loc"][:10] if part != "body"]
    said = _short(item.get("msg") or item.get("message"))
    where = ".".join(path)
    return f"{where}: {said}" if where else said


def _unique(texts: Iterator[str]) -> list[str]:
    kept: list[str] = []
    for text in texts:
        if text and not any(text in other for other in kept):
            kept.append(text)
    return kept


def _codes(body: object, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        return
    if isinstance(body, list):
        for item in body[:_MOST_ITEMS]:
            yield from _codes(item, depth + 1)
        return
    if not isinstance(body, Mapping):
        return
    fields = _plain_fields(body)
    for name in _CODE_NAMES:
        yield _short(fields.get(name))
    for name in _CODE_PLACES:
        yield from _codes(fields.get(name), depth + 1)


def _short(value: object) -> str:
    """Return a text, or a whole number as text; else nothing."""
    if isinstance(value, str):
        return value[:LONGEST_MESSAGE]
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write numbers of thousands of digits.
        return str(value) if abs(value) < COUNT_LIMIT else ""
    return ""
