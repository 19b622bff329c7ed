import io
from typing import Any

import pytest

from cli.optimize_display import run_display, show
from cli.terminal import Terminal
from tests.unit.llm_optimizers.report.test_words import (
    decided,
    measured,
    report,
    scores,
)

USED = {"totalCost": 0.5, "currency": "USD"}


def console(*, terminal: bool, width: int = 120) -> Terminal:
    return Terminal(file=io.StringIO(), force_terminal=terminal, width=width)


def printed(to: Terminal) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def looked_at(count: int, score: float | None) -> dict[str, Any]:
    best = {"validation": None if score is None else measured(score)}
    return {"candidateCount": count, "modelResults": [{"best": best}]}


def test_without_a_terminal_each_gain_is_a_line() -> None:
    to = console(terminal=False)
    with run_display({"maxJobs": 1000}, to) as display:
        display.update({}, 3, USED)
        for jobs in (10, 20):
            display.update(looked_at(1, 0.5), jobs, USED)
        display.update(looked_at(2, 0.75), 30, USED)
    assert printed(to).splitlines() == [
        "0 candidates · 3/1,000 jobs · 0.50 USD",
        "1 candidate · best 50.0 % (40.0 to 50.0) · 10/1,000 jobs · 0.50 USD",
        "2 candidates · best 75.0 % (65.0 to 75.0) · 30/1,000 jobs · 0.50 USD",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_all_facts_fit(width: int) -> None:
    to = console(terminal=True, width=width)
    with run_display({}, to) as display:
        display.update(looked_at(12, None), 3, USED)
        display.update(looked_at(12, 0.755), 1_234, USED)
    words = (
        "12 candidates · best 75.5 % (65.5 to 75.5) · 1,234 jobs · 0.50 USD"
    )
    assert words in printed(to)


def test_the_result_is_a_table_and_a_sentence() -> None:
    to = console(terminal=False)
    run = decided("improved", 0.5, 0.75).run
    shown = run.model_dump(mode="json", by_alias=True)
    show({**shown, "warnings": ["few [bold]items"]}, to)
    said = printed(to)
    assert "│ best     │ m     │     75.0 % │" in said
    assert "The best prompt is better." in said
    assert "Note: few [bold]items" in said


def test_an_untested_result_has_dashes() -> None:
    to = console(terminal=False)
    untested = {**scores(0, 0.5), "test": None}
    run = report(datasetId="d", baseline=untested, best=untested).run
    show(run.model_dump(mode="json", by_alias=True), to)
    assert "│ - │" in " ".join(printed(to).split())
    assert "There is no verdict." in printed(to)


def test_a_failed_run_says_why() -> None:
    to = console(terminal=False)
    run = report(datasetId="d", status="FAILED", failureReason="gone").run
    show(run.model_dump(mode="json", by_alias=True), to)
    assert printed(to) == "The run has failed.\ngone\n"
