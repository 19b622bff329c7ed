"""Waves and their results as JSON, as they are stored."""

from collections.abc import Mapping
from typing import Any

from llm_optimizers.strategies.protocol import (
    Ask,
    Evaluate,
    Outcome,
    Purpose,
    Request,
    Results,
    Stop,
    Wave,
)
from llm_optimizers.strategies.session import Proposed, Stage
from utilities import payload

# Of longer answers the beginning is kept, to be shown to who reflects.
LONGEST_ANSWER = 4_000


def dump_plan(proposed: Proposed, limit: Stop | None) -> dict[str, Any]:
    """Give a wave as it is planned; `limit` says that it was cut."""
    return {
        "stage": proposed.stage,
        "limit": limit,
        "requests": [_dump_request(each) for each in proposed.wave],
    }


def load_plan(plan: Mapping[str, Any]) -> tuple[Proposed, Stop | None]:
    """Take back what `dump_plan` gave."""
    wave = tuple(_load_request(each) for each in plan["requests"])
    limit = plan["limit"]
    return Proposed(Stage(plan["stage"]), wave), limit and Stop(limit)


def _dump_request(request: Request) -> dict[str, Any]:
    if isinstance(request, Evaluate):
        return {"candidate": request.candidate, "items": list(request.items)}
    return {
        "purpose": request.purpose,
        "parent": request.parent,
        "data": dict(request.data),
    }


def _load_request(fields: Mapping[str, Any]) -> Request:
    if "items" in fields:
        return Evaluate(fields["candidate"], tuple(fields["items"]))
    return Ask(Purpose(fields["purpose"]), fields["parent"], fields["data"])


def dump_results(results: Results) -> dict[str, Any]:
    """Give what a wave has found; infinite `left` is null."""
    return {
        "outcomes": [
            [number, item, outcome.score, outcome.answer, outcome.error]
            for (number, item), outcome in results.outcomes.items()
        ],
        "texts": list(results.texts),
        "left": None if results.left == float("inf") else results.left,
        "tightest": results.tightest,
    }


def load_results(fields: Mapping[str, Any]) -> Results:
    """Take back what `dump_results` gave."""
    left = fields["left"]
    return Results(
        {
            (number, item): Outcome(score, answer, error)
            for number, item, score, answer, error in fields["outcomes"]
        },
        fields["texts"],
        float("inf") if left is None else left,
        Stop(fields["tightest"]),
    )


def shortened(answer: Any) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Give an answer, or the beginning of a long one as text."""
    text = payload.dump(answer)
    return answer if len(text) <= LONGEST_ANSWER else text[:LONGEST_ANSWER]


def same_wave(one: Wave, other: Wave) -> bool:
    """Tell whether a stored wave begins as the proposed one does.

    One that was cut has fewer items or requests.
    """
    return len(one) <= len(other) and all(
        _is_cut_of(a, b) for a, b in zip(one, other, strict=False)
    )


def _is_cut_of(cut: Request, whole: Request) -> bool:
    if isinstance(cut, Evaluate) and isinstance(whole, Evaluate):
        return (
            cut.candidate == whole.candidate
            and cut.items == whole.items[: len(cut.items)]
        )
    return cut == whole
