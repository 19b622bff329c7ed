"""Answers that cannot be used: which calls get one, and which kind.

The text of a conversation's first user message decides, so that the same
input has the same defect in every process. A further user message, which
says what was wrong, cures it, but for some inputs and some of the times.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from pydantic_core import to_json

from provider_simulator.settings import SimulatorSettings
from provider_simulator.values import Answer, Call, count_tokens

_KINDS = ("prose", "fields", "cut", "empty")
_PROSE = "I am sorry to say that this is not so easy to answer."
_OTHER = to_json({"unexpected": True}).decode()


def with_defect(
    call: Call, answer: Answer, settings: SimulatorSettings
) -> Answer:
    """Spoil an answer, if its input's draw says so."""
    share, incurable = settings.defect_share, settings.incurable_share
    if not (share or incurable):
        return answer
    first = call.of_user[0] if call.of_user else ""
    draw = _draw(first, settings.seed)
    if draw >= share + incurable:
        return answer
    is_incurable = draw < incurable
    # Each time it is told, it may be cured, or not.
    if len(call.of_user) > 1 and not is_incurable:
        told = _draw(f"{first}\n{len(call.of_user)}", settings.seed)
        if told < settings.cured_share:
            return answer
    kind = _KINDS[int(draw * 1e6) % len(_KINDS)]
    text, finish = _spoiled(answer)[kind]
    if not is_incurable and text:
        # Only who does not understand says the same again.
        text += "." * len(call.of_user)
    output = count_tokens(text) + answer.tokens.reasoning
    tokens = replace(answer.tokens, output=output)
    return replace(answer, text=text, finish=finish, calls=(), tokens=tokens)


def _spoiled(answer: Answer) -> Mapping[str, tuple[str, str]]:
    half = answer.text[: len(answer.text) // 2]
    return {
        "prose": (_PROSE, "stop"),
        "fields": (_OTHER, "stop"),
        "cut": (half, "length"),
        "empty": ("", "stop"),
    }


def _draw(text: str, seed: int) -> float:
    digest = sha256(f"{seed}\n{text}".encode(errors="replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
