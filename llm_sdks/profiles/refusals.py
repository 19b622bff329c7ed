"""Reads from a refused call which of our options the provider refused.

Providers have no common code for it: they say it in words. A message counts
only if one sentence of it names an option that the call carried and says
that it cannot be used, or if the error's `param` names it. A value out of
its range ("must be at most 1") is no refused option. What is read here is
a guess until the call without the option succeeds.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llm_sdks import errors
from llm_sdks.formats import schemas
from llm_sdks.profiles.profile import (
    NEWER_LIMIT,
    NOTHING,
    OLDER_LIMIT,
    Profile,
)

Json = Mapping[str, Any]


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# How providers say that something cannot be used.
_REFUSAL = _words(
    r"\b(not|n't|cannot|can't|never)\s+(\w+\s+){0,3}(support|allow|permit"
    r"|accept|avail|enabl|implement|configur|adjust|set\b|recogni[sz]|compat"
    r"|work|possible|used?\b|specif|be\b|customi[sz]|valid\b|modif|take)",
    r"unsupported|unrecogni[sz]ed|unknown|unexpected|unavailable|deprecated",
    r"disabled|no longer|\bfixed\b|forbidden|reject|refus|illegal",
    r"incompatible|extra (inputs|fields|arguments|parameters)|cannot find",
    r"only (the )?default|only\b.{0,40}\b(support|allow|accept|permit|valid)",
    r"(supports?|allows?|accepts?|takes?)\s+only|may only be|can only be",
    r"must (only )?be (omitted|removed|unset|absent|null|none|the default)",
    r"(must|should|has to|needs to) (be|equal|be set to) 1(\.0)?\b"
    r"(?!\s*(or|and|to|<|-|\d)|\.\d)",
    r"(should|must) (not be|be) (set|sent|given|provided|unset|omitted)",
    r"\b(please )?(remove|omit|drop)\b|does not exist|does not take",
    r"(invalid|bad|wrong) (parameter|argument|option|field|property|keyword)",
    r"must alternate|不支持|不允许|不可用|无效|未开启|サポートされて",
)
# How they say that a form of answers, or a schema, cannot be used.
_REFUSAL_OF_FORM = _words(
    _REFUSAL.pattern,
    r"invalid (json )?schema|invalid.{0,20}(response|json|output|format)",
    r"must be|should be|one of|expected|is required|too complex|too many",
    r"\b(no|without) (support|endpoints?)|is missing|must contain",
)
_RANGE = _words(
    r"\b(at most|at least|(less|greater|more|fewer|higher|lower|larger"
    r"|smaller) than|between|exceeds?|out of range|in the range|too (large"
    r"|high|big|low|small|long|many)|maximum (value|of)|minimum (value|of))",
    r"[<>]=?\s*-?\d",
)
_ABOUT_CONTENT = _words(
    r"^\W{0,5}(invalid\s+(value\s+(for|in|of)\s+)?)?\W{0,5}(body\.)?"
    r"(messages|contents|inputs?|prompt)\b(?!.{0,12}role)"
)
# What follows is a list of what would be right.
_LIST = _words(
    r"did you mean",
    r"(?<!not )(?<!n't )\b(supported|allowed|valid|known|permitted)\b"
    r"[^.:]{0,24}(:|\bare\b)",
)
_SENTENCES = re.compile(r"(?<=[.;!?])\s+|\n+")
_PREFIX = re.compile(r"^HTTP \d+:\s*")
# The provider's own check of what the model wrote: chance decides again.
_GENERATION_FAILED = _words(
    "failed_generation", "json_validate_failed", "tool_use_failed"
)


@dataclass(frozen=True, slots=True)
class _Option:
    """One option: its names in messages and in bodies, and what to do."""

    names: re.Pattern[str]
    keys: frozenset[str]
    lesson: Profile


def _option(names: str, keys: str, **lesson: Any) -> _Option:  # noqa: ANN401 - fields of a profile
    return _Option(
        re.compile(names, re.IGNORECASE),
        frozenset(keys.split()),
        Profile(**lesson),
    )


_TEMPERATURE = _option(
    "temperature", "temperature", supports_temperature=False
)
_OPTIONS = (
    _TEMPERATURE,
    _option(r"\btop[_ -]?p\b", "top_p", supports_top_p=False),
    _option(r"\btop[_ -]?k\b", "top_k", supports_top_k=False),
    _option(r"\b(random_?)?seed\b", "seed", supports_seed=False),
    _option(
        r"(presence|frequency)[_ ]?penalty|penalties",
        "presence_penalty frequency_penalty",
        supports_penalties=False,
    ),
    _option(
        r"\breasoning[_. ]?effort|thinking[_ ]?(config|budget|level)|\beffort",
        "reasoning_effort thinking_config output_config.effort",
        supports_reasoning_effort=False,
    ),
    _option(
        "parallel_tool_calls|disable_parallel_tool_use|parallel tool",
        "parallel_tool_calls tool_choice.disable_parallel_tool_use",
        supports_parallel_tool_calls=False,
    ),
    _option(
        "stream[_ ]?options|include_usage",
        "stream_options",
        supports_stream_usage=False,
    ),
    _option(
        r"\bmax_?tokens\b",
        "max_tokens",
        token_limit_field=NEWER_LIMIT,
    ),
    _option(
        r"\bmax_?completion_?tokens\b",
        "max_completion_tokens",
        token_limit_field=OLDER_LIMIT,
    ),
    _option(
        r"\b(system|developer)[ _'\"`]*(role|message|prompt|instruction)"
        r"|\brole\b.{0,40}\b(system|developer)\b|'system'|messages.{0,6}role"
        r"|\bonly\W+user\b.{0,20}\bassistant\W+roles?\b"
        r"|^system\b|conversation roles|system_?instruction",
        "system system_instruction messages.system",
        supports_system=False,
    ),
)
_FORM = re.compile(
    r"response[_ ]?format|json[_ ]?schema|structured[_ ]?outputs?"
    r"|output[_ ]?(config|format)|response_?(json_?)?schema"
    r"|response_?mime_?type|json[_ ]mode|json_object"
    r"|guided[_ ](json|decoding|generation)|constrained[_ ]decoding",
    re.IGNORECASE,
)
_FORM_KEYS = frozenset(
    {
        "response_format",
        "output_config.format",
        "response_json_schema",
        "response_mime_type",
    }
)
_STRICTNESS = re.compile(
    r"\bstrict\b|additionalProperties|\brequired\b", re.IGNORECASE
)


def is_failed_generation(error: errors.LLMError) -> bool:
    """Tell whether the provider refused what its own model wrote."""
    return bool(_GENERATION_FAILED.search(str(error)))


def lesson_of(error: errors.LLMError, body: Json) -> Profile:
    """Return what a refused call teaches; `NOTHING` if that is nothing.

    `body` is what was sent.
    """
    if is_failed_generation(error):
        return NOTHING
    text = _PREFIX.sub("", str(error))
    sent = _keys_of(body)
    lesson = NOTHING
    for option in _named(error.param, text, sent):
        lesson = option.lesson.over(lesson)
    if lesson == NOTHING and sent & _FORM_KEYS:
        return _lesson_of_form(error.param, text, body)
    return lesson


def _named(
    param: str | None, text: str, sent: frozenset[str]
) -> list[_Option]:
    options = [each for each in _OPTIONS if each.keys & sent]
    if param and any(each.names.search(param) for each in _OPTIONS):
        named = [each for each in options if each.names.search(param)]
        return named if _refuses(text, lambda _: True) else []
    if _FORM.match(param or "") or _ABOUT_CONTENT.match(param or text):
        return []
    named = [each for each in options if _refuses(text, each.names.search)]
    if "both" in text and len(named) > 1:
        # One of them may stay: the temperature is what was asked for.
        named = [each for each in named if each is not _TEMPERATURE]
    return named


def _refuses(
    text: str,
    names: Callable[[str], object],
    refusal: re.Pattern[str] = _REFUSAL,
) -> bool:
    for sentence in _SENTENCES.split(text):
        said = _LIST.split(sentence, maxsplit=1)[0]
        if names(said) and refusal.search(said) and not _RANGE.search(said):
            return True
    return False


def _lesson_of_form(param: str | None, text: str, body: Json) -> Profile:
    is_named = bool(_FORM.match(param or "")) or _refuses(
        text, _FORM.search, _REFUSAL_OF_FORM
    )
    schema = _schema_in(body)
    keywords = _keywords_in(text, schema) if schema is not None else ()
    if keywords and (is_named or _refuses(text, lambda _: True)):
        return Profile(schema_keywords_refused=keywords)
    if not is_named or _ABOUT_CONTENT.match(text):
        return NOTHING
    if schema is None:
        return Profile(supports_json_object=False)
    if _is_strict(body) and _STRICTNESS.search(text):
        return Profile(supports_strict_schema=False)
    return Profile(supports_json_schema=False)


def _keywords_in(text: str, schema: Json) -> tuple[str, ...]:
    # The names of properties stand in the context.
    text = re.sub(r"context=\([^)]*\)", "", text)
    text = re.sub(r"For '\w+' types?,", "", text)
    used = schemas.keywords_of(schema) & schemas.REFUSABLE
    return tuple(sorted(each for each in used if _is_named(each, text)))


def _is_named(keyword: str, text: str) -> bool:
    # Many keywords are words of English.
    name = re.escape(keyword)
    is_word = keyword.islower()
    if not is_word and re.search(rf"\b{name}\b", text):
        return True
    return bool(
        re.search(
            rf"['\"`]{name}['\"`]"
            rf"|\b{name}s?( values?| keywords?)? (is|are) (not|un)"
            rf"|\b(propert(y|ies)|keywords?|fields?|names?|constraints?):? "
            rf"([\w'\"`]+(,|,? and|,? or) )*['\"`]?{name}\b",
            text,
        )
    )


def _keys_of(body: Json) -> frozenset[str]:
    """Name the options that a body carries, in any of the formats."""
    config = body.get("config")
    fields = config if isinstance(config, Mapping) else body
    keys = {key for key, value in fields.items() if value is not None}
    for outer in ("output_config", "tool_choice"):
        inner = body.get(outer)
        if isinstance(inner, Mapping):
            keys |= {f"{outer}.{key}" for key in inner}
    messages = body.get("messages")
    if isinstance(messages, list) and messages:
        keys.add(f"messages.{messages[0].get('role')}")
    return frozenset(keys)


def _schema_in(body: Json) -> Json | None:
    form = body.get("response_format") or {}
    output = (body.get("output_config") or {}).get("format") or {}
    config = body.get("config") or {}
    for schema in (
        (form.get("json_schema") or {}).get("schema"),
        output.get("schema"),
        config.get("response_json_schema"),
    ):
        if isinstance(schema, Mapping):
            return schema
    return None


def _is_strict(body: Json) -> bool:
    form = body.get("response_format") or {}
    return bool((form.get("json_schema") or {}).get("strict"))


class Negotiation:
    """What one call learns while its options are refused one by one.

    `profile` is what the next try is rendered by.
    """

    MOST_TRIES = 8

    def __init__(
        self, profile: Profile, whole: Callable[[Profile], Profile]
    ) -> None:
        # By which the call was last rendered. Meanwhile other calls may
        # have learnt the same.
        self.profile = profile
        # Gives the model's whole profile with what is just being learnt.
        self._whole = whole
        self._tries = 0
        self._has_repeated = False
        # Whether the next try is the same as the last.
        self.repeats = False
        self.pending = NOTHING
        # For this call only.
        self._without_form = False

    def refused(self, error: errors.LLMError, body: Json) -> bool:
        """Tell whether another try, by `profile`, may be taken."""
        self._tries += 1
        self.repeats = False
        if self._tries >= self.MOST_TRIES:
            return False
        if is_failed_generation(error):
            return self._after_failed_generation(body)
        lesson = lesson_of(error, body)
        if _swaps_back(lesson, self.pending):
            return False
        self.pending = lesson.over(self.pending)
        before, self.profile = self.profile, self._next()
        return self.profile != before

    def _next(self) -> Profile:
        whole = self._whole(self.pending)
        if self._without_form:
            return replace(
                whole, supports_json_schema=False, supports_json_object=False
            )
        return whole

    def _after_failed_generation(self, body: Json) -> bool:
        if not self._has_repeated:
            self._has_repeated = self.repeats = True
            return True
        had_form = not self._without_form and bool(_keys_of(body) & _FORM_KEYS)
        self._without_form = True
        self.profile = self._next()
        return had_form


def _swaps_back(lesson: Profile, pending: Profile) -> bool:
    # Both names of the limit are refused: without one, nothing limits cost.
    return bool(lesson.token_limit_field and pending.token_limit_field)
