"""Each metric, at its edges."""

import asyncio
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api.models.dataset_models import DatasetItem
from api.models.metric_models import (
    AnyMetric,
    Metric,
    WeightedMetrics,
    judges_of,
    needs_expected,
    parts_of,
)
from llm_optimizers.evaluation import metrics
from llm_optimizers.evaluation.metrics import ScoringError, labels, score
from llm_optimizers.evaluation.scoring import Scorer, score_json
from utilities.foreign_calls import ForeignCalls
from utilities.limited import (
    CallFailedError,
    LimitedCalls,
    LimitExceededError,
)

ADAPTER: TypeAdapter[AnyMetric | WeightedMetrics] = TypeAdapter(Metric)


def metric(type_: str, **fields: Any) -> AnyMetric | WeightedMetrics:
    return ADAPTER.validate_python({"type": type_, **fields})


def value(
    which: AnyMetric | WeightedMetrics, expected: Any, answer: Any
) -> float:
    return score(which, {"q": 1}, expected, answer).value


@pytest.mark.parametrize(
    ("expected", "answer", "same"),
    [
        ("yes", "yes", 1),
        ("yes", " yes\n", 1),
        ("yes", "Yes", 0),
        ("yes", {"text": "yes"}, 1),
        ("yes", {"label": "yes"}, 1),
        ("yes", {"label": "yes", "why": "so"}, 0),
        ({"a": 1, "b": [1, 2.0]}, {"b": [1, 2], "a": 1.0}, 1),
        ({"a": 1}, {"a": 1, "b": 2}, 0),
        (1, True, 0),
        (True, {"happy": True}, 1),
        (3, "3", 1),
        ("yes", ["yes"], 0),
        ([1], [1, 2], 0),
    ],
)
def test_exact(expected: Any, answer: Any, same: int) -> None:
    assert value(metric("exact"), expected, answer) == same


def test_case_counts_unless_it_shall_not() -> None:
    assert value(metric("exact", ignoreCase=True), "Yes", "YES") == 1
    contains = metric("contains", ignoreCase=True)
    assert value(contains, "PARIS", "in Paris, of course") == 1


def test_contains_and_regex_read_the_text() -> None:
    assert value(metric("contains"), "Paris", {"text": "It is Paris."}) == 1
    assert value(metric("contains"), "Rome", {"text": "It is Paris."}) == 0
    assert value(metric("regex", pattern=r"^\d{3}$"), None, "123") == 1
    assert value(metric("regex", pattern=r"^\d{3}$"), None, "1234") == 0


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=x)"])
def test_a_pattern_that_cannot_be_matched_in_linear_time_is_refused(
    pattern: str,
) -> None:
    with pytest.raises(ValidationError, match="usable"):
        metric("regex", pattern=pattern)


@pytest.mark.parametrize(
    ("path", "expected", "answer", "same"),
    [
        ("a.b", 2, {"a": {"b": 2}}, 1),
        ("$.a.1", "x", {"a": ["w", "x"]}, 1),
        ("/a~1b/0", 1, {"a/b": [1]}, 1),
        ("a", {"a": "x"}, {"a": "x", "other": 1}, 1),
        ("a.2", 1, {"a": [1]}, 0),
        ("gone", 1, {"a": 1}, 0),
    ],
)
def test_json_field(path: str, expected: Any, answer: Any, same: int) -> None:
    assert value(metric("jsonField", path=path), expected, answer) == same


@pytest.mark.parametrize(
    ("answer", "near"),
    [(10.5, 1), ("10.4", 1), ({"n": 9.5}, 1), (11, 0), ("ten", 0)],
)
def test_numeric(answer: Any, near: int) -> None:
    assert value(metric("numeric", tolerance=0.5), 10, answer) == near


def test_f1_counts_common_words() -> None:
    f1 = metric("f1")
    assert value(f1, "the cat sat", "A cat sat!") == 1
    assert value(f1, "cat sat down", "cat ran") == pytest.approx(0.4)
    assert value(f1, "cat", "dog") == 0
    assert value(f1, "", "dog") == 0


def test_a_schema() -> None:
    schema = metric("schema", schema={"type": "object", "required": ["a"]})
    assert value(schema, None, {"a": 1}) == 1
    found = score(schema, {}, None, {"b": 1})
    assert found.value == 0
    assert found.detail is not None
    assert '"a" is a required property' in found.detail


def test_the_sum_of_several_by_their_weights() -> None:
    both = ADAPTER.validate_python(
        [
            {"metric": {"type": "exact"}, "weight": 3},
            {"type": "contains"},
        ]
    )
    assert [share for _, share in parts_of(both)] == [0.75, 0.25]
    assert value(both, "a", "a b") == 0.25
    assert value(both, "a", "a") == 1


def test_a_judge_scores_by_its_answer() -> None:
    judge = metric(
        "judge", promptId="p", model="m", scorePath="s", maxScore=10
    )
    assert [position for position, _ in judges_of(judge)] == [0]
    assert score(judge, {}, None, "x", {0: {"s": 7}}).value == 0.7
    assert score(judge, {}, None, "x", {0: {"s": "12"}}).value == 1
    for judgement in (None, {"s": "good"}, {"s": None}, {"s": True}, {}):
        with pytest.raises(ScoringError) as caught:
            score(judge, {}, None, "x", {0: judgement})
        assert caught.value.error_type == "JUDGE_ERROR"


def test_what_is_expected_must_be_known() -> None:
    assert needs_expected(metric("exact"))
    assert not needs_expected(metric("regex", pattern="x"))
    for which in (metric("exact"), metric("f1"), metric("numeric")):
        with pytest.raises(ScoringError) as caught:
            score(which, {}, None, "x")
        assert caught.value.error_type == "NO_EXPECTED"
    with pytest.raises(ScoringError):
        score(metric("jsonField", path="a"), {}, {"b": 1}, {"a": 1})


def test_a_metric_of_an_installed_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def half(request: Any, expected: Any, answer: Any) -> float:
        return 0.5 if (request, expected, answer) == ({"q": 1}, 2, 3) else 7

    found = SimpleNamespace(load=lambda: half)
    monkeypatch.setattr(
        metrics,
        "entry_points",
        lambda **names: [found] if names["name"] == "half" else [],
    )
    metrics._function.cache_clear()
    which = metric("entryPoint", name="half")
    metrics.check_entry_points(which)
    assert value(which, 2, 3) == 0.5
    with pytest.raises(ScoringError, match="not 0 to 1"):
        value(which, 2, 4)
    with pytest.raises(ScoringError, match="No installed package"):
        metrics.check_entry_points(metric("entryPoint", name="gone"))
    metrics._function.cache_clear()


def test_labels_are_what_is_compared() -> None:
    assert labels(metric("exact"), "a", {"x": "b"}) == ("a", "b")
    field = metric("jsonField", path="l", ignoreCase=True)
    assert labels(field, {"l": "A"}, {"l": "b "}) == ("a", "b")
    assert labels(field, "A", {}) == ("a", None)
    assert labels(metric("f1"), "a", "b") == (None, None)


ITEM = DatasetItem(id="1", request_data={}, expected="7")
HEAVY = [
    {"type": "contains"},
    {"type": "schema", "schema": {"uniqueItems": True}},
]


async def test_what_is_heavy_is_scored_elsewhere_with_the_same_result() -> (
    None
):
    which = ADAPTER.validate_python(HEAVY)
    answer = list(range(10))
    as_json = ADAPTER.dump_python(which, mode="json", by_alias=True)
    item = ITEM.model_dump(mode="json")
    assert score_json(as_json, item, answer, []) == [1.0, None, None]
    assert (await Scorer(which).score(ITEM, answer, {})).value == 1.0


class Limited(LimitedCalls):
    """Answers what it is told to."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    async def run(self, function: str, *arguments: object) -> Any:
        assert function.endswith(":score_json")
        assert arguments[2] == ["7"]
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (LimitExceededError("took too long"), "METRIC_ERROR"),
        (CallFailedError("ValueError", "no"), "METRIC_ERROR"),
        ([0.0, "unknown", "NO_EXPECTED"], "NO_EXPECTED"),
    ],
)
async def test_what_takes_too_long_is_an_error(
    outcome: Any, kind: str
) -> None:
    scorer = Scorer(ADAPTER.validate_python(HEAVY), Limited(outcome))
    with pytest.raises(ScoringError) as caught:
        await scorer.score(ITEM, ["7"], {})
    assert caught.value.error_type == kind


async def test_an_installed_metric_has_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def off_the_loop(*_: Any) -> float:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return 1.0

    found = SimpleNamespace(load=lambda: off_the_loop)
    monkeypatch.setattr(metrics, "entry_points", lambda **_: [found])
    metrics._function.cache_clear()
    scorer = Scorer(metric("entryPoint", name="x"))
    assert (await scorer.score(ITEM, "7", {})).value == 1.0
    metrics._function.cache_clear()


async def test_an_installed_metric_that_hangs_or_exits_ends_only_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def odd(request: Any, _expected: Any, answer: Any) -> float:
        if answer == "exit":
            sys.exit(3)
        if answer == "hang":
            release.wait()
        request.clear()
        return 1.0

    found = SimpleNamespace(load=lambda: odd)
    monkeypatch.setattr(metrics, "entry_points", lambda **_: [found])
    metrics._function.cache_clear()
    scorer = Scorer(metric("entryPoint", name="x"), foreign=ForeignCalls(0.01))
    item = DatasetItem(id="1", request_data={"q": 1})
    for answer in ("exit", "hang"):
        with pytest.raises(ScoringError) as caught:
            await scorer.score(item, answer, {})
        assert caught.value.error_type == "METRIC_ERROR"
    release.set()
    assert item.request_data == {"q": 1}
    metrics._function.cache_clear()
