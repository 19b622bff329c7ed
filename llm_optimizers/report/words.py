"""What a report says in words; pure functions of its values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from api.models.optimization_models import MeasuredScore, RunScores, RunTest
from api.models.run_models import FinishReason, Run, RunStatus
from llm_optimizers.report.contract import scores
from llm_optimizers.report.values import RunReport, Used
from utilities import payload

# No line breaks there.
_SPACE = "\u00a0"
_LEAST_P = 0.001
_MINUTE, _HOUR = 60, 3600
_SMALL_COST = 0.01
_THOUSAND = 1_000
_GOING_ON = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED)

_REASONS: Mapping[FinishReason, str] = {
    FinishReason.MAX_ITERATIONS: "All rounds that were asked for are done.",
    FinishReason.TARGET_SCORE: "The target score was reached on validation.",
    FinishReason.PATIENCE: "Several rounds in a row found nothing better.",
    FinishReason.NO_FAILURES: "No training item was answered wrong: there "
    "was nothing to learn from.",
    FinishReason.MAX_JOBS: "The limit of jobs was reached.",
    FinishReason.MAX_TOKENS: "The limit of tokens was reached.",
    FinishReason.MAX_COST: "The limit of cost was reached.",
    FinishReason.FAILED: "It failed; it can be resumed.",
    FinishReason.CANCELLED: "It was cancelled.",
}


class Tone(StrEnum):
    """How a headline is to be taken."""

    GOOD = "good"
    NEUTRAL = "neutral"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Headline:
    """The outcome of a run in a few words, and in one sentence."""

    tone: Tone
    title: str
    sentence: str


def headline(report: RunReport) -> Headline:
    """Say what came of a run."""
    run = report.run
    if run.status is RunStatus.FAILED:
        return Headline(Tone.BAD, "The run has failed", _failure(run))
    if run.dataset_id is None:
        return _of_iterations(report)
    if run.status in _GOING_ON:
        title = f"The run is {run.status.lower()}"
        return Headline(Tone.NEUTRAL, title, _so_far(run))
    if run.status is RunStatus.CANCELLED:
        return Headline(Tone.NEUTRAL, "The run was cancelled", _so_far(run))
    return _verdict(run)


def _verdict(run: Run) -> Headline:
    baseline, best, test = run.baseline, run.best, run.test
    if baseline is None or best is None or test is None or not run.verdict:
        return Headline(Tone.NEUTRAL, "There is no verdict", _so_far(run))
    if baseline.candidate == best.candidate:
        return Headline(
            Tone.NEUTRAL,
            "No better prompt was found",
            f"The initial prompt scores {_measured(best.test)} on the test.",
        )
    sentence = _tested(baseline, best, test)
    if run.verdict == "improved":
        return Headline(Tone.GOOD, "The best prompt is better", sentence)
    if run.verdict == "worse":
        return Headline(Tone.BAD, "The best prompt is worse", sentence)
    return Headline(
        Tone.NEUTRAL,
        "No difference is shown",
        f"{sentence} That may be chance.",
    )


def _tested(baseline: RunScores, best: RunScores, test: RunTest) -> str:
    low, high = test.interval
    return (
        f"On {test.count:,} test items that the search has not seen, the "
        f"score went from {_test(baseline)} to {_test(best)}: "
        f"{points(test.difference)} points (95 % interval {points(low)} to "
        f"{points(high)}, {p_value(test.p_value)})."
    )


def _test(scores: RunScores) -> str:
    return "?" if scores.test is None else percent(scores.test.score)


def _measured(score: MeasuredScore | None) -> str:
    if score is None:
        return "?"
    return f"{percent(score.score)} (95 % interval {interval(score)})"


def _so_far(run: Run) -> str:
    known = [
        (each.baseline, each.best)
        for each in run.model_results or ()
        if each.best.validation is not None
    ]
    if not known:
        return "Nothing is measured yet."
    baseline, best = max(
        known,
        key=lambda pair: pair[1].validation.score,  # type: ignore[union-attr] # see above
    )
    return (
        f"The best prompt so far scores {_measured(best.validation)} on "
        f"validation, the initial one {_measured(baseline.validation)}."
    )


def _failure(run: Run) -> str:
    return run.failure_reason or "The reason is not known."


def _of_iterations(report: RunReport) -> Headline:
    run, done = report.run, len(report.steps)
    most = run.max_iterations * len(run.working_models)
    title = f"The run is {run.status.lower()}"
    if run.status is RunStatus.COMPLETED:
        title = "The loop has ended"
    sentence = f"{done:,} of {most:,} iterations are done."
    found = scores(report.steps)
    if len(found) > 1:
        sentence += (
            f" The evaluation went from {found[0][1]:g} to {found[-1][1]:g}."
        )
    return Headline(Tone.NEUTRAL, title, sentence)


def finish_reason(run: Run) -> str | None:
    """Say why a run ended; None while it has not."""
    return None if run.finish_reason is None else _REASONS[run.finish_reason]


def percent(share: float | None) -> str:
    """Give a share as a percentage."""
    return "-" if share is None else f"{100 * share:.1f}{_SPACE}%"


def points(share: float) -> str:
    """Give a difference of shares in percentage points."""
    return f"{100 * share:+.1f}"


def interval(score: MeasuredScore) -> str:
    """Give the interval of a score."""
    low, high = score.interval
    return f"{100 * low:.1f} to {100 * high:.1f}{_SPACE}%"


def p_value(value: float) -> str:
    """Give a p-value, small ones as below a bound."""
    return "p < 0.001" if value < _LEAST_P else f"p = {value:.3f}"


def money(amount: float | None, currency: str | None) -> str:
    """Give an amount; small ones with two digits that count."""
    if amount is None:
        return "-"
    text = f"{amount:,.2f}"
    if 0 < amount < _SMALL_COST:
        text = f"{amount:.2g}"
    return f"{text} {currency or ''}".strip()


def cost(used: Used) -> str:
    """Give what something cost."""
    if used.cost is None:
        return "not known"
    return money(used.cost, used.currency)


def seconds(value: float | None) -> str:
    """Give a time in the unit that suits it."""
    if value is None:
        return "-"
    if value < _MINUTE:
        return f"{value:.2f} s"
    if value < _HOUR:
        return f"{int(value) // _MINUTE} min {int(value) % _MINUTE} s"
    return f"{int(value) // _HOUR} h {int(value) % _HOUR // _MINUTE} min"


def count(number: float) -> str:
    """Give a number with separators, large ones shortened."""
    if abs(number) >= 100 * _THOUSAND:
        return f"{number / _THOUSAND:,.0f} k"
    return f"{number:,.6g}" if number != int(number) else f"{int(number):,}"


def as_text(value: object) -> str:
    """Give a JSON value for reading: texts as they are."""
    return value if isinstance(value, str) else payload.dump(value)


def shortened(text: str, longest: int) -> str:
    """Cut a text, and say how much is left out."""
    left = len(text) - longest
    return text if left <= 0 else f"{text[:longest]} … ({left:,} more)"
