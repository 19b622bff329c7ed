"""Separate a model's answer from its thinking.

Models that think mark their thoughts in several ways. Many templates open
the block themselves, so that only its end is in the answer; a model that
used up its tokens never ends it. Thoughts are never the answer.
"""

import re
from collections.abc import Iterator, Sequence

Span = tuple[int, int]

_NAMES = (
    "think|thinking|thought|thoughts|reasoning|reflection|scratchpad|"
    "seed:think|antthinking|inner_monologue"
)
# `<think>`, `[THINK]`, `◁think▷`, `<|START_THINKING|>`, `<|inner_prefix|>`;
# a closing one has `/` or its own word.
_TAG = re.compile(
    rf"<(?P<a>/?)(?:{_NAMES})(?:\s[^<>\n]{{0,100}})?>"
    r"|\[(?P<b>/?)THINK\]|◁(?P<c>/?)think▷"
    r"|<\|START_THINKING\|>|(?P<d><\|END_THINKING\|>)"
    r"|<\|inner_prefix\|>|(?P<e><\|inner_suffix\|>)",
    re.IGNORECASE,
)
# https://cookbook.openai.com/articles/openai-harmony
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w{1,40})[^<]{0,100}"
    r"(?:<\|constrain\|>[^<]{0,100})?<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
# The same with its special tokens lost.
_BARE_CHANNEL = re.compile(r"\s*analysis(?=[A-Z\s])")
_BARE_FINAL = "assistantfinal"
# What ends a turn; what a model writes after it is made up.
_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|return|"
    r"END_RESPONSE|END_OF_TURN_TOKEN)\|>|</s>|<end_of_turn>"
    r"|<｜end▁of▁sentence｜>"  # noqa: RUF001 - DeepSeek's own characters
)
_TURN_START = re.compile(r"<\|START_RESPONSE\|>")


def mentions(text: str) -> bool:
    """Tell whether there is anything that this module would take away."""
    return bool(
        _TAG.search(text)
        or _CHANNEL.search(text)
        or _TURN_END.search(text)
        or _TURN_START.search(text)
        or _is_bare_harmony(text)
    )


def outside(text: str, values: Sequence[Span] = ()) -> str:
    """Leave thoughts out, wherever they stand.

    For answers in which JSON is looked for: `values` are the places of
    JSON values, in whose strings a tag is only text.
    """
    if (final := _final_channel(text)) is not None:
        return final
    pieces: list[str] = []
    start: int | None = 0  # None within thoughts
    for tag in _tags(text, values):
        if not _closes(tag):
            if start is not None:
                pieces.append(text[start : tag.start()])
                start = None
        else:
            if start is not None:
                pieces.clear()  # the block was open from the beginning
            start = tag.end()
    if start is not None:
        pieces.append(_first_turn(text, start, values))
    return "".join(pieces)


def visible(text: str) -> str:
    """Leave out the thoughts before a text, for people or other models.

    Tags further on stay: a text may well speak of them ("reason between
    <think> and </think>").
    """
    if (final := _final_channel(text)) is not None:
        return final.strip()
    rest = _without_first_blocks(text.lstrip("\ufeff \t\r\n"))
    for tag in _TAG.finditer(rest):
        if not _closes(tag):
            break
        if _ends_its_line(rest, tag):
            rest = _without_first_blocks(rest[tag.end() :].lstrip())
            break
    if start := _TURN_START.match(rest):
        rest = rest[start.end() :]
    return _without_turn_end(rest.strip())


def _final_channel(text: str) -> str | None:
    channels = list(_CHANNEL.finditer(text))
    if channels:
        finals = [each for each in channels if each[1].lower() == "final"]
        if not finals:
            return ""
        start = finals[-1].end()
        end = _CHANNEL_END.search(text, start)
        return text[start : end.start() if end else len(text)]
    if _is_bare_harmony(text):
        return text.rpartition(_BARE_FINAL)[2]
    return None


def _is_bare_harmony(text: str) -> bool:
    return bool(_BARE_CHANNEL.match(text)) and _BARE_FINAL in text


def _tags(text: str, values: Sequence[Span]) -> Iterator[re.Match[str]]:
    for tag in _outside_of(values, _TAG.finditer(text)):
        # In backquotes it is spoken of, not used.
        if text[tag.start() - 1 : tag.start()] != "`":
            yield tag


def _outside_of(
    values: Sequence[Span], matches: Iterator[re.Match[str]]
) -> Iterator[re.Match[str]]:
    spans = iter(values)
    span = next(spans, None)
    for match in matches:
        while span is not None and span[1] <= match.start():
            span = next(spans, None)
        if span is None or match.start() < span[0]:
            yield match


def _closes(tag: re.Match[str]) -> bool:
    return any(tag.groupdict().values())


def _first_turn(text: str, start: int, values: Sequence[Span]) -> str:
    for end in _outside_of(values, _TURN_END.finditer(text, start)):
        if text[start : end.start()].strip():
            return text[start : end.start()]
    return text[start:]


def _without_first_blocks(text: str) -> str:
    while (tag := _TAG.match(text)) and not _closes(tag):
        for end in _TAG.finditer(text, tag.end()):
            if _closes(end):
                text = text[end.end() :].lstrip()
                break
        else:
            return ""
    return text


def _ends_its_line(text: str, tag: re.Match[str]) -> bool:
    after = text[tag.end() : tag.end() + 1]
    before = text[tag.start() - 1 : tag.start()]
    return before != "`" and (after in "\r\n" or before in "\r\n")


def _without_turn_end(text: str) -> str:
    shorter = text
    for end in _TURN_END.finditer(text):
        if not text[end.end() :].strip():
            shorter = text[: end.start()].rstrip()
            break
    return shorter
