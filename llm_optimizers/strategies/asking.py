"""What models are asked for new prompts, and how answers are read."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llm_optimizers.strategies.protocol import Ask, Outcome, Purpose
from llm_optimizers.strategies.search import Search
from llm_optimizers.strategies.shown import shown

# How many rejected changes an ask names.
_MOST_REJECTED = 8
_LONGEST_REJECTED = 500
_MARKED = re.compile(r"<prompt>\n?(.*?)\s*</prompt>", re.DOTALL)
_FENCED = re.compile(r"\A```[a-z]*\n(.*?)\n?```\Z", re.DOTALL)

_ANSWER = (
    "Answer with the complete new prompt and nothing else, between <prompt> "
    "and </prompt>."
)
PROMPTS: Mapping[Purpose, str] = {
    Purpose.REFLECT: (
        "You improve the system prompt of a language model. You are given, "
        "as JSON, the current prompt and inputs that were answered wrong "
        "with it: each with the answer, the score from 0 to 1 and, where it "
        "is known, the answer that was expected.\n"
        "Find out which knowledge or which rule the prompt is missing, so "
        "that inputs of this kind are answered right, also those that you "
        "do not see. Keep what the prompt says already and how it says it; "
        "add or correct only what is needed. State rules in general terms: "
        "never copy an input. `didNotHelp` lists changes that were tried "
        f"and made nothing better: try another one.\n{_ANSWER}"
    ),
    Purpose.MERGE: (
        "You join several versions of a system prompt. You are given, as "
        "JSON, the original prompt and versions of it, each of which was "
        "measured to be better than the original. Write one prompt that "
        "has the improvements of all of them, without repetition or "
        f"contradiction, and keeps everything else.\n{_ANSWER}"
    ),
    Purpose.META: (
        "You improve the system prompt of a language model. You are given, "
        "as JSON, the original prompts, their score from 0 to 1 and the "
        "failures that matter. Write a better prompt that takes their "
        "place. State rules in general terms: never copy an input. "
        "`didNotHelp` lists prompts that were tried and were not better."
        f"\n{_ANSWER}"
    ),
}


def new_text(answer: str | None) -> str | None:
    """Take the prompt out of an answer; None if there is none."""
    if answer is None:
        return None
    if marked := _MARKED.findall(answer):
        return str(marked[-1]).strip() or None
    text = answer.strip()
    if fenced := _FENCED.match(text):
        text = fenced[1].strip()
    return text or None


def reflect(search: Search, parent: int, items: Sequence[str]) -> Ask:
    """Ask for a prompt without these failures."""
    data = {
        "currentPrompt": search.pool.candidates[parent].instruction,
        "failures": failures(search, parent, items),
        **_rejected(search, parent),
    }
    return Ask(Purpose.REFLECT, parent, data)


def meta(search: Search, parent: int, items: Sequence[str]) -> Ask:
    """Ask as the meta step of a job does, with what was measured."""
    failed = failures(search, parent, items)
    data = {
        "evaluation": {
            "score": round(search.pool.score(parent), 4),
            "failures": failed,
        },
        "original_prompts": list(search.pool.candidates[parent].texts),
        "working_result": failed[0]["answer"] if failed else None,
        **_rejected(search, parent),
    }
    return Ask(Purpose.META, parent, data)


def join(base: str, versions: Sequence[str], parent: int) -> Ask:
    """Ask for one prompt that has the changes of all versions."""
    data = {"originalPrompt": base, "versions": list(versions)}
    return Ask(Purpose.MERGE, parent, data)


def failures(
    search: Search, number: int, items: Sequence[str]
) -> list[dict[str, Any]]:
    """Describe training items that were answered wrong."""
    known = search.pool.known(number)
    return [
        {
            "input": shown(search.items[each].request_data),
            **_answer(known.get(each)),
            **_expected(search.items[each].expected),
        }
        for each in items
    ]


def _answer(outcome: Outcome | None) -> dict[str, Any]:
    if outcome is None:
        return {"answer": None}
    found = {
        "answer": shown(outcome.answer),
        "score": round(outcome.score, 4),
    }
    return found | ({"error": outcome.error} if outcome.error else {})


def _expected(expected: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON is any of six types
    return {} if expected is None else {"expected": shown(expected)}


def _rejected(search: Search, parent: int) -> dict[str, Any]:
    tried = search.rejected.get(parent, [])[-_MOST_REJECTED:]
    if not tried:
        return {}
    return {"didNotHelp": [each[:_LONGEST_REJECTED] for each in tried]}
