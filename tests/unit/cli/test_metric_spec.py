from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError
from cli.metric_spec import Judge, read_metrics
from llm_optimizers.evaluation.scoring import METRIC_ADAPTER


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("exact", {"type": "exact"}),
        ("regex:a:b", {"type": "regex", "pattern": "a:b"}),
        ("jsonField:a.b", {"type": "jsonField", "path": "a.b"}),
        ("numeric:0.5", {"type": "numeric", "tolerance": 0.5}),
        ("numeric:a:1", {"type": "numeric", "tolerance": 1, "path": "a"}),
        (
            "labelProbability:a:yes, no",
            {"type": "labelProbability", "labels": ["yes", "no"], "path": "a"},
        ),
        (
            "labelProbability:yes,no",
            {"type": "labelProbability", "labels": ["yes", "no"]},
        ),
        ("entryPoint:x", {"type": "entryPoint", "name": "x"}),
        ('{"type":"exact"}', {"type": "exact"}),
    ],
)
def test_a_metric_is_what_the_server_takes(text: str, fields: Any) -> None:
    assert read_metrics([text]) == [fields]
    METRIC_ADAPTER.validate_python(fields)


def test_metrics_of_files(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type":"object"}')
    (tmp_path / "p.txt").write_text("Judge.")
    schema, judge = read_metrics(
        [f"schema:{tmp_path}/s.json", f"judge:{tmp_path}/p.txt:gpt"]
    )
    assert schema == {"type": "schema", "schema": {"type": "object"}}
    assert judge == Judge("Judge.", "gpt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("magic", "must be one of exact"),
        ("exact:x", "must be one of"),
        ("regex", "must be one of"),
        ("numeric:x", "is no number"),
        ("judge:p.txt", "PROMPT_FILE:MODEL"),
        ("{", "not JSON"),
        ("schema:/gone.json", "Cannot read"),
    ],
)
def test_what_is_no_metric(text: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        read_metrics([text])
