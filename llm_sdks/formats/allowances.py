"""What a provider says, with an answer, of the limits of an account.

OpenAI and those who speak its language send `x-ratelimit-remaining-requests`
and the like, Anthropic `anthropic-ratelimit-requests-remaining`. An answer
costs a few look-ups.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from llm_sdks.formats.waiting import moment_or_duration, number

Headers = Mapping[str, str]
# Takes the headers of the answer to the call that is being made.
headers_of_answer: ContextVar[Callable[[Headers], None] | None] = ContextVar(
    "headers_of_answer", default=None
)


class Counted(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"


_PARTS = ("limit", "remaining", "reset")
_NAMES: Mapping[Counted, Sequence[Mapping[str, str]]] = {
    kind: (
        {part: f"x-ratelimit-{part}-{kind}" for part in _PARTS},
        {part: f"anthropic-ratelimit-{kind}-{part}" for part in _PARTS},
    )
    for kind in Counted
}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit, of how much, and the seconds until reset.

    None: the provider does not say.
    """

    remaining: float
    limit: float | None = None
    reset: float | None = None


def tell(headers: Headers) -> None:
    """Pass the headers of an answer to who makes the call, if he listens."""
    if (take := headers_of_answer.get()) is not None:
        take(headers)


def allowance(
    headers: Headers, counted: Counted, below: float, usual: float = 0.0
) -> Allowance | None:
    """Read what is left; the reset only where it matters.

    If less than `below` is left, or the limit is less than `usual`.
    """
    for names in _NAMES[counted]:
        left = number(headers.get(names["remaining"]))
        if left is None:
            continue
        limit = number(headers.get(names["limit"]))
        if left >= below and (limit is None or limit >= usual):
            return Allowance(left, limit)
        reset = headers.get(names["reset"])
        return Allowance(left, limit, moment_or_duration(reset, time.time()))
    return None
