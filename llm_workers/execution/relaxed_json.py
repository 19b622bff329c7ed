"""Read JSON that has a defect, as models write it, in linear time.

This grammar is what "clearly JSON" means. Beyond JSON it takes:

- strings in single or typographic quotes, with line breaks, with quotes
  that should have been escaped, or with escapes that JSON does not have;
- keys without quotes; `True`, `False`, `None`; `+1`, `.5`, `5.`;
- comments (`//`, `#`, `/* */`);
- a comma too many at the end, or one missing between two members;
- closing brackets that are missing, at the end or within.

It takes no names, calls, operators, `...` or elements of a set: code and
prose are not JSON. Nothing is made up: what was cut off is left out.
"""

import functools
import re
from dataclasses import dataclass
from enum import Enum, auto

_LITERALS = {
    "true": "true",
    "false": "false",
    "null": "null",
    "none": "null",
}
_LITERAL = re.compile(
    r"(?:true|false|null|True|False|None|TRUE|FALSE|NULL)(?![\w.(\[])"
)
_CUT_LITERAL = re.compile(r"(?:t(?:ru?)?|f(?:al?s?)?|nu?l?)\Z", re.IGNORECASE)
_NUMBER = re.compile(
    r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.%/])"
)
_STRICT_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_BARE_KEY = re.compile(r"[A-Za-z_$][\w$-]{0,200}(?=\s*[:：])")  # noqa: RUF001 - as below
_SPACE = re.compile(
    r"(?:\s++|//[^\n]*+|#[^\n]*+|/\*(?:[^*]|\*(?!/)){0,300}+\*/)*+"
)
# What may come after a value that lacks its closing brackets.
_PARAGRAPH = re.compile(r"[ \t]*+(?:\r?\n[ \t]*+\r?\n|(?:\r?\n)?[ \t]*+```)")

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}  # noqa: RUF001 - they are meant
_OPEN = "[\"'“‘]"  # noqa: RUF001 - as above
_TRIPLE = '"""'
_COMMENT = r"//|/\*|#"
# Those of Chinese and Japanese keyboards, too.
_COLONS, _COMMAS = ":：", ",，"  # noqa: RUF001 - they are meant
_END = r"\Z|[ \t]*+\r?\n[ \t]*+\r?\n|[ \t]*+\r?\n[ \t]*+```"
# What follows a quote that closes a string, by the string's role.
_AFTER_KEY = rf"\s*+(?:[{_COLONS}]|\Z)"
_AFTER_MEMBER = (
    rf"(?:{_END})|\s*+(?:[}}\]]|\Z|{_COMMENT}|"
    rf"[{_COMMAS}]\s*+(?:{_OPEN}|[}}]|{_COMMENT}"
    rf"|[A-Za-z_$][\w$-]{{0,100}}\s*+:|\Z)|"
    rf"{_OPEN}[^\"'”’\n]{{1,100}}[\"'”’]\s*+[{_COLONS}])"  # noqa: RUF001 - as above
)
_AFTER_ELEMENT = (
    rf"(?:{_END})|\s*+(?:[}}\]]|\Z|{_COMMENT}|"
    rf"[{_COMMAS}]\s*+(?:{_OPEN}|[\[{{\]\d+.-]|{_COMMENT}|true|false|null|True|False"
    r"|None|\Z))|\s++[\"“\[{]"
)
_ESCAPED = re.compile(
    r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\(.)|(["\x00-\x1f])|\\$', re.DOTALL
)
_CONTROLS = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"'}
_DEEPEST = 300


@dataclass(frozen=True, slots=True)
class Broken:
    """No value: where the reader failed, and in how many open brackets.

    `has_content` says that part of a value had been read by then.
    """

    position: int
    depth: int
    has_content: bool


class _Expect(Enum):
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    NEXT = auto()


@dataclass(slots=True)
class _Frame:
    closer: str
    # How many pieces there were before this container was opened.
    opened_at: int
    expect: _Expect
    members: int = 0
    # How many pieces there were before the member that is being read.
    member_at: int = 0


class RelaxedReader:
    """Reads values of one text; remembers what a search has found."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._pieces: list[str] = []
        self._stack: list[_Frame] = []
        self._has_content = False
        # Where a quote closes a string: the last search of each kind.
        self._closings: dict[tuple[str, str], tuple[int, int]] = {}

    @functools.cached_property
    def _last_quote(self) -> int:
        found = self._text.rfind('"')
        while found > 0 and self._text[found - 1] == "\\":
            found = self._text.rfind('"', 0, found)
        return found

    def read(self, start: int) -> tuple[int, str] | Broken:
        """Read the value that opens at `start`.

        Gives where it ends and the same value as valid JSON.
        """
        self._position = start
        self._pieces, self._stack = [], []
        self._has_content = False
        self._open()
        while self._stack:
            before = self._position
            space = _SPACE.match(self._text, self._position)
            self._position = space.end() if space else self._position
            if self._position >= len(self._text):
                return self._cut(before)
            if len(self._stack) > _DEEPEST or not self._step(before):
                at_end = self._position >= len(self._text)
                if at_end or self._is_cut_at(before):
                    return self._cut(before)
                depth = len(self._stack)
                return Broken(
                    max(self._position, start + 1), depth, self._has_content
                )
        return self._position, "".join(self._pieces)

    def _step(self, before: int) -> bool:
        frame = self._stack[-1]
        match frame.expect:
            case _Expect.KEY:
                return self._close() or self._key()
            case _Expect.COLON:
                return self._colon()
            case _Expect.VALUE:
                return self._value()
            case _Expect.NEXT:
                return self._next(before)

    def _open(self) -> None:
        opening = self._text[self._position]
        expect = _Expect.KEY if opening == "{" else _Expect.VALUE
        closer = "}" if opening == "{" else "]"
        self._stack.append(_Frame(closer, len(self._pieces), expect))
        self._pieces.append(opening)
        self._position += 1

    def _close(self) -> bool:
        """Close what is open; an inner bracket may be missing."""
        character = self._text[self._position]
        if character not in "}]":
            return False
        frame = self._stack[-1]
        if frame.closer != character:
            parent = self._stack[-2] if len(self._stack) > 1 else None
            if parent is None or parent.closer != character:
                return False
            self._end_frame()
        self._end_frame()
        self._position += 1
        return True

    def _end_frame(self) -> None:
        self._pieces.append(self._stack.pop().closer)
        self._end_member()

    def _end_member(self) -> None:
        self._has_content = True
        if self._stack:
            self._stack[-1].members += 1
            self._stack[-1].expect = _Expect.NEXT

    def _begin_member(self) -> None:
        frame = self._stack[-1]
        frame.member_at = len(self._pieces)
        if frame.members:
            self._pieces.append(",")

    def _key(self) -> bool:
        text = self._string(_AFTER_KEY)
        if text is None:
            bare = _BARE_KEY.match(self._text, self._position)
            if bare is None:
                return False
            self._position = bare.end()
            text = f'"{bare[0]}"'
        self._begin_member()
        self._pieces.append(text)
        self._stack[-1].expect = _Expect.COLON
        return True

    def _colon(self) -> bool:
        if self._text[self._position] not in _COLONS:
            return False
        self._position += 1
        self._pieces.append(":")
        self._has_content = True
        self._stack[-1].expect = _Expect.VALUE
        return True

    def _value(self) -> bool:
        frame = self._stack[-1]
        is_array = frame.closer == "]"
        if is_array and self._close():
            return True
        if self._text[self._position] in "{[":
            if is_array:
                self._begin_member()
            self._open()
            return True
        role = _AFTER_ELEMENT if is_array else _AFTER_MEMBER
        scalar = self._string(role) or self._scalar()
        if scalar is None:
            return False
        if is_array:
            self._begin_member()
        self._pieces.append(scalar)
        self._end_member()
        return True

    def _next(self, before: int) -> bool:
        if self._close():
            return True
        frame = self._stack[-1]
        is_array = frame.closer == "]"
        expect = _Expect.VALUE if is_array else _Expect.KEY
        if self._text[self._position] in _COMMAS:
            self._position += 1
            frame.expect = expect
            return True
        if _PARAGRAPH.match(self._text, before):
            return False
        if is_array and self._text[self._position] not in '{["“':
            return False
        frame.expect = expect
        return self._value() if is_array else self._key()

    def _scalar(self) -> str | None:
        if literal := _LITERAL.match(self._text, self._position):
            self._position = literal.end()
            return _LITERALS[literal[0].lower()]
        number = _NUMBER.match(self._text, self._position)
        if number is None:
            if cut := _CUT_LITERAL.match(self._text, self._position):
                # The text ends here; `_cut` drops what is incomplete.
                self._position = cut.end()
            return None
        text = number[0].removeprefix("+")
        if not _STRICT_NUMBER.fullmatch(text):
            text = re.sub(r"\.(?!\d)", ".0", re.sub(r"(?<!\d)\.", "0.", text))
        if not _STRICT_NUMBER.fullmatch(text):
            return None
        self._position = number.end()
        return text

    def _string(self, after: str) -> str | None:
        quote = self._text[self._position]
        closing = _QUOTES.get(quote)
        if closing is None:
            return None
        start = self._position + 1
        if self._text.startswith(_TRIPLE, self._position):
            return self._triple_string(closing, after)
        end = self._closing(closing, after, start)
        if end is None:
            return None
        self._position = end + 1
        return _encoded(self._text[start:end])

    def _triple_string(self, closing: str, after: str) -> str | None:
        """Read a string of several lines, as Python writes it."""
        start = self._position + len(_TRIPLE)
        end = self._closing(closing, after, start)
        # Its own end is the last of three quotes.
        if end is None or self._text[end - 2 : end] != '""' or end - 2 < start:
            return None
        self._position = end + 1
        return _encoded(self._text[start : end - 2])

    def _closing(self, quote: str, after: str, start: int) -> int | None:
        """Find the quote that closes a string that begins at `start`."""
        since, end = self._closings.get((quote, after), (0, -1))
        if not since <= start <= end:
            found = _closing_pattern(quote, after).match(self._text, start)
            end = found.end() - 1 if found else len(self._text)
            self._closings[quote, after] = start, end
        return end if end < len(self._text) else None

    def _is_cut_at(self, before: int) -> bool:
        """Tell whether the rest of a value is missing here."""
        frame = self._stack[-1]
        if frame.expect is _Expect.NEXT:
            return bool(_PARAGRAPH.match(self._text, before))
        return self._ends_in_string()

    def _ends_in_string(self) -> bool:
        """Tell whether the text ends within a string that is a value."""
        frame = self._stack[-1]
        if self._text[self._position] != '"' or not (
            frame.closer == "}" or frame.members
        ):
            return False
        return self._position >= self._last_quote

    def _cut(self, before: int) -> tuple[int, str] | Broken:
        """Close what is open where the text, or the value, ends."""
        end = len(self._text)
        frame = self._stack[-1]
        at_text = self._position < end
        if at_text and frame.expect is _Expect.NEXT:
            end = before
        elif at_text and frame.expect is _Expect.VALUE:
            self._keep_cut_string()
        while self._stack:
            self._drop_unfinished()
            if not self._stack:
                return Broken(end, 0, has_content=False)
            self._end_frame()
        return end, "".join(self._pieces)

    def _keep_cut_string(self) -> None:
        if self._stack[-1].closer == "]":
            self._begin_member()
        rest = self._text[self._position + 1 :]
        self._pieces.append(_encoded(rest.rstrip().rstrip("`").rstrip()))
        self._end_member()

    def _drop_unfinished(self) -> None:
        """Drop a key without its value, and containers with nothing."""
        while self._stack:
            frame = self._stack[-1]
            if frame.closer == "}" and frame.expect in {
                _Expect.COLON,
                _Expect.VALUE,
            }:
                del self._pieces[frame.member_at :]
            if frame.members:
                return
            self._stack.pop()
            del self._pieces[frame.opened_at :]
            if self._stack and self._stack[-1].closer == "]":
                del self._pieces[self._stack[-1].member_at :]


_PATTERNS: dict[tuple[str, str], re.Pattern[str]] = {}


def _closing_pattern(quote: str, after: str) -> re.Pattern[str]:
    pattern = _PATTERNS.get((quote, after))
    if pattern is None:
        pattern = re.compile(
            rf"(?:[^{quote}\\]++|\\.|{quote}(?!{after}))*+{quote}", re.DOTALL
        )
        _PATTERNS[quote, after] = pattern
    return pattern


def _encoded(content: str) -> str:
    return f'"{_ESCAPED.sub(_escaped, content)}"'


def _escaped(match: re.Match[str]) -> str:
    if character := match[2]:
        return _CONTROLS.get(character) or f"\\u{ord(character):04x}"
    if (escaped := match[1]) is None:
        return "\\\\" if match[0] == "\\" else match[0]
    if escaped in "'’”“‘":  # noqa: RUF001 - they are meant
        return escaped
    if escaped < " ":
        return _CONTROLS.get(escaped) or f"\\u{ord(escaped):04x}"
    return f"\\\\{escaped}"
