from datetime import UTC, datetime
from typing import Any

import pytest

from api.models.run_models import Run
from llm_optimizers.report import words
from llm_optimizers.report.values import RunReport, Step
from llm_optimizers.report.words import Tone, headline

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def measured(score: float) -> dict[str, Any]:
    return {"score": score, "interval": [score - 0.1, score], "count": 50}


def scores(candidate: int, score: float) -> dict[str, Any]:
    return {
        "promptIds": ["p"],
        "model": "m",
        "candidate": candidate,
        "validation": measured(score),
        "test": measured(score),
    }


def report(steps: list[Step] | None = None, **fields: Any) -> RunReport:
    made = {
        "_metadata": {"createdAt": NOW, "updatedAt": NOW},
        "runId": "r",
        "clientId": "c",
        "status": "COMPLETED",
        "initialWorkingPromptIds": ["p"],
        "workingModels": ["m"],
        "maxIterations": 3,
        "temperature": 0,
        "priority": 100,
        "modelRuns": [],
        **fields,
    }
    return RunReport(Run.model_validate(made), NOW, steps=steps or [])


def decided(verdict: str, before: float, after: float) -> RunReport:
    difference = after - before
    return report(
        datasetId="d",
        verdict=verdict,
        baseline=scores(0, before),
        best=scores(3, after),
        test={
            "difference": difference,
            "interval": [difference - 0.1, difference + 0.1],
            "pValue": 0.0004,
            "count": 50,
        },
    )


def test_the_verdict_in_one_sentence() -> None:
    found = headline(decided("improved", 0.5, 0.75))
    assert (found.tone, found.title) == (
        Tone.GOOD,
        "The best prompt is better",
    )
    assert found.sentence.replace("\u00a0", " ") == (
        "On 50 test items that the search has not seen, the score went from "
        "50.0 % to 75.0 %: +25.0 points (95 % interval +15.0 to +35.0, "
        "p < 0.001)."
    )
    assert headline(decided("worse", 0.5, 0.25)).tone is Tone.BAD
    unsure = headline(decided("no difference", 0.5, 0.5))
    assert unsure.title == "No difference is shown"
    assert unsure.sentence.endswith("That may be chance.")


@pytest.mark.parametrize(
    ("fields", "title", "sentence"),
    [
        (
            {"status": "FAILED", "failureReason": "gone"},
            "The run has failed",
            "gone",
        ),
        (
            {"datasetId": "d", "status": "RUNNING"},
            "The run is running",
            "Nothing is measured yet.",
        ),
        (
            {"datasetId": "d", "status": "CANCELLED"},
            "The run was cancelled",
            "Nothing is measured yet.",
        ),
        (
            {"datasetId": "d"},
            "There is no verdict",
            "Nothing is measured yet.",
        ),
        (
            {"status": "PAUSED"},
            "The run is paused",
            "0 of 3 iterations are done.",
        ),
    ],
)
def test_other_outcomes(
    fields: dict[str, Any], title: str, sentence: str
) -> None:
    found = headline(report(**fields))
    assert (found.title, found.sentence) == (title, sentence)


def test_the_initial_prompt_may_be_the_best() -> None:
    found = decided("no difference", 0.5, 0.5)
    best = found.run.baseline
    run = found.run.model_copy(update={"best": best})
    said = headline(RunReport(run, NOW))
    assert said.title == "No better prompt was found"


def test_iterations_with_a_number_say_how_it_went() -> None:
    steps = [
        Step("m", number, "j", "PROCESSED", "text", score=score)
        for number, score in enumerate((3.0, None, 7.5))
    ]
    assert headline(report(steps)).sentence == (
        "3 of 3 iterations are done. The evaluation went from 3 to 7.5."
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.money(0.0012345, "USD"), "0.0012 USD"),
        (words.money(1234.5, "EUR"), "1,234.50 EUR"),
        (words.money(None, None), "-"),
        (words.seconds(0.5), "0.50 s"),
        (words.seconds(75), "1 min 15 s"),
        (words.seconds(3700), "1 h 1 min"),
        (words.count(1234), "1,234"),
        (words.count(123456), "123 k"),
        (words.count(0.25), "0.25"),
        (words.shortened("abcdef", 4), "abcd … (2 more)"),
        (words.p_value(0.0421), "p = 0.042"),
        (words.finish_reason(report().run), None),
    ],
)
def test_values(said: str | None, expected: str | None) -> None:
    assert said == expected
