"""The probability of a label, from the alternatives of tokens."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.models.metric_models import LabelProbabilityMetric
from llm_optimizers.evaluation.label_probability import label_chances
from llm_optimizers.evaluation.metrics import ScoringError, score

LABELS = ["positive", "negative", "neutral"]


def row(token: str, chance: float, **others: float) -> list[Any]:
    top = [[token, math.log(chance)]]
    top += [[other, math.log(each)] for other, each in others.items()]
    return [token, math.log(chance), top]


def test_the_token_that_tells_the_labels_apart_decides() -> None:
    rows = [
        row('{"', 1.0),
        row("label", 0.9),
        row('":"', 1.0),
        row("pos", 0.6, neg=0.3, neut=0.06, other=0.04),
        row("itive", 1.0),
        row('"}', 1.0),
    ]
    chances = label_chances(rows, "positive", LABELS)
    assert chances is not None
    expected = [0.6 / 0.96, 0.3 / 0.96, 0.06 / 0.96]
    assert [chances[each] for each in LABELS] == pytest.approx(expected)


def test_labels_with_the_same_beginning_differ_in_a_later_token() -> None:
    rows = [row("card_", 1.0), row("lost", 0.7, stolen=0.2, x=0.1)]
    chances = label_chances(rows, "card_lost", ["card_lost", "card_stolen"])
    assert chances is not None
    assert list(chances.values()) == pytest.approx([7 / 9, 2 / 9])


def test_a_token_may_hold_more_than_the_label() -> None:
    rows = [
        [
            ' "Yes',
            math.log(0.8),
            [[' "Yes', math.log(0.8)], [' "No', math.log(0.2)]],
        ],
        row('"', 1.0),
    ]
    chances = label_chances(rows, "yes", ["Yes", "No"])
    assert chances is not None
    assert chances["Yes"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("rows", "answered"),
    [
        ([], "positive"),
        ([row("maybe", 1.0)], "positive"),
        ([row("pos", 1.0), row("itive", 1.0)], ""),
    ],
)
def test_without_the_label_nothing_is_known(
    rows: list[Any], answered: str
) -> None:
    assert label_chances(rows, answered, LABELS) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pos", "neg", "n", "ne", "x", ""]),
            st.floats(-30, 0),
        ),
        max_size=8,
    ),
    st.floats(-30, 0),
)
def test_probabilities_add_up_to_one(
    others: list[tuple[str, float]], own: float
) -> None:
    rows = [["positive", own, [list(each) for each in others]]]
    chances = label_chances(rows, "positive", LABELS)
    assert chances is not None
    assert sum(chances.values()) == pytest.approx(1)
    assert all(0 <= each <= 1 for each in chances.values())


METRIC = LabelProbabilityMetric(
    type="labelProbability", labels=LABELS, path="label"
)


def test_the_metric_is_the_chance_of_the_expected_label() -> None:
    rows = [row("pos", 0.6, neg=0.4), row("itive", 1.0)]
    answer = {"label": "positive"}
    right = score(METRIC, {}, "positive", answer, logprobs=rows)
    assert right.value == pytest.approx(0.6)
    wrong = score(METRIC, {}, {"label": "Negative"}, answer, logprobs=rows)
    assert wrong.value == pytest.approx(0.4)
    with pytest.raises(ScoringError, match="not one of the labels"):
        score(METRIC, {}, "unheard of", answer, logprobs=rows)


def test_without_probabilities_the_metric_compares() -> None:
    answer = {"label": "Positive"}
    assert score(METRIC, {}, "positive", answer).value == 1.0
    assert score(METRIC, {}, "negative", answer, logprobs=[]).value == 0.0
    assert score(METRIC, {}, "negative", {"x": 1}, logprobs=[1]).value == 0.0
