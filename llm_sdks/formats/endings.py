"""Why answers end: the finish reasons of all formats, in one table.

Gateways pass on the words of the provider behind them, so no format has a
table of its own. Words are compared without regard to capitals, hyphens
and spaces.
"""

import re
from enum import Enum, auto
from functools import lru_cache

from llm_sdks.formats.decoding import storable


class Ending(Enum):
    """What a finish reason says of an answer."""

    WHOLE = auto()
    CUT = auto()
    FILTERED = auto()
    OVERLOADED = auto()
    FAILED = auto()
    TOOL = auto()
    MALFORMED = auto()
    # No finish reason stands for it: all that came are thoughts.
    THOUGHTS = auto()
    UNKNOWN = auto()


_WORDS = {
    Ending.WHOLE: (
        "stop end_turn stop_sequence stop_token stop_word stop_str"
        " eos eos_token end_of_sequence end_of_text end_of_turn endoftext"
        " end complete completed completion done finish finished success"
        " succeeded normal"
    ),
    Ending.CUT: (
        "length max_length model_length max_tokens max_token"
        " max_output_tokens max_completion_tokens max_new_tokens"
        " max_tokens_reached token_limit token_limit_reached"
        " model_context_window_exceeded context_window_exceeded"
        " context_length_exceeded context_length incomplete truncated"
        " continuation pause_turn"
    ),
    Ending.FILTERED: (
        "content_filter content_filtered content_filtering filtered"
        " filter safety recitation blocklist prohibited_content spii"
        " language refusal refused blocked moderation moderated sensitive"
        " image_safety image_recitation image_prohibited_content"
        " guardrail_intervened guardrails guardrail error_toxic toxic"
        " content_policy_violation policy_violation"
    ),
    Ending.OVERLOADED: (
        "insufficient_system_resource resource_exhausted rate_limit"
    ),
    Ending.FAILED: "killed preempted abort aborted load",
    Ending.TOOL: "tool_calls tool_call tool_use function_call function_calls",
    Ending.MALFORMED: (
        "malformed_function_call unexpected_tool_call malformed_response"
        " too_many_tool_calls missing_thought_signature"
    ),
}
_TABLE = {
    word: ending for ending, words in _WORDS.items() for word in words.split()
}
# For what the table does not have.
_SIGNS = (
    (re.compile("capacity|overload|insufficient|unavailable"), "OVERLOADED"),
    (re.compile("safety|content_filter|prohibited|blocked"), "FILTERED"),
    (
        re.compile("error|fail|abort|cancel|timeout|interrupt|exception"),
        "FAILED",
    ),
    (re.compile("malformed"), "MALFORMED"),
)
_NONE = frozenset({"", "null", "none"})
_PREFIX = re.compile(r"^(finish_?reason[._]?)")
_LONGEST = 100


def reason_of(value: object) -> str | None:
    """Return a finish reason as the provider wrote it; None for none."""
    if not isinstance(value, str) or value.strip().lower() in _NONE:
        return None
    return storable(value.strip()[:_LONGEST])


@lru_cache(maxsize=256)
def ending_of(reason: str) -> Ending:
    """Tell what a finish reason says."""
    word = re.sub(r"[\s-]+", "_", reason.strip().lower())
    word = _PREFIX.sub("", word).strip("_<|>")
    if word in _TABLE:
        return _TABLE[word]
    for sign, name in _SIGNS:
        if sign.search(word):
            return Ending[name]
    return Ending.UNKNOWN
