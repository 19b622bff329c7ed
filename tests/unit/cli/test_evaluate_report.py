import io
from typing import Any

import pytest
from rich.console import Console

from api.models.evaluation_models import (
    Cell,
    ClassResult,
    Confusion,
    EvaluationComparison,
    EvaluationResult,
    Latency,
)
from api.models.metrics import ProcessingMetrics
from cli.evaluate_report import show

PROMPTS = {"p1": "[a].txt", "p2": "b.txt"}


def result(prompt_id: str, **fields: Any) -> Any:
    made = EvaluationResult(
        prompt_id=prompt_id,
        model="m",
        score=0.5,
        interval=(0.25, 0.75),
        count=1234,
        processing_metrics=ProcessingMetrics(total_tokens=9999),
        **fields,
    )
    return made.model_dump(by_alias=True)


def shown(done: Any, width: int = 80) -> str:
    file = io.StringIO()
    show(done, PROMPTS, Console(file=file, width=width, color_system=None))
    return file.getvalue()


def test_every_table() -> None:
    classes = [
        ClassResult(label="[x]", count=2, precision=None, recall=0.5, f1=None)
    ]
    confusion = Confusion(
        rows=["[x]"], columns=["[x]", "(other)"], counts=[[1, 1]]
    )
    compared = EvaluationComparison(
        first=Cell(prompt_id="p1", model="m"),
        second=Cell(prompt_id="p2", model="m"),
        difference=0.125,
        interval=(-0.01, 0.25),
        p_value=0.01,
        adjusted_p_value=0.02,
        verdict="improved",
    )
    latency = Latency(mean=1, p50=1, p90=2, p95=2.5, p99=3)
    done = {
        "status": "COMPLETED",
        "results": [
            result("p1", classes=classes, confusion=confusion),
            result("p2", latency=latency, error_types={"B": 2, "A": 1}),
        ],
        "comparisons": [compared.model_dump(by_alias=True)],
    }
    text = shown(done)
    for words in (
        "│ [a].txt │ m     │ 50.0 % │  25.0 to 75.0 │ 1,234 │",
        "│ [x]   │     2 │         - │ 50.0 % │  - │",
        "│ [x] │   1 │       1 │",
        "+12.5 │ -1.0 to +25.0 │ 0.02 │ improved │",
        "Errors of b.txt · m: 1 A, 2 B",
    ):
        assert words in text, text
    assert "9,999" not in text
    assert "2.50 s │      0 │  9,999 │" in shown(done, 120)


@pytest.mark.parametrize(
    ("reason", "words"),
    [(None, "CANCELLED: it was cancelled"), ("Gone", "CANCELLED: Gone")],
)
def test_one_without_results(reason: str | None, words: str) -> None:
    assert words in shown({"status": "CANCELLED", "failureReason": reason})


def test_many_labels_have_no_matrix() -> None:
    names = [f"l{n}" for n in range(12)]
    confusion = Confusion(
        rows=names, columns=[*names, "(other)"], counts=[[0] * 13] * 12
    )
    classes = [ClassResult(label=name, count=0) for name in names]
    done = {
        "status": "COMPLETED",
        "results": [result("p1", classes=classes, confusion=confusion)],
        "comparisons": [],
    }
    assert "l11" in shown(done)
    assert "(other)" not in shown(done)
