"""Scores of answers: pure functions of metric, item and answer."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from api.models.metric_models import (
    AnyMetric,
    ContainsMetric,
    EntryPointMetric,
    ExactMetric,
    F1Metric,
    JsonFieldMetric,
    JudgeMetric,
    LabelProbabilityMetric,
    NumericMetric,
    RegexMetric,
    SchemaMetric,
    WeightedMetrics,
    parts_of,
)
from llm_optimizers.evaluation.label_probability import label_chances
from llm_optimizers.evaluation.values import (
    equal,
    number_of,
    plain,
    shown,
    text_of,
    word_f1,
)
from utilities import json_schema, payload
from utilities.json_path import NoValueError, value_at

ENTRY_POINTS = "metasync.metrics"
_NO_JUDGEMENTS: Mapping[int, Any] = {}
_LONGEST_DETAIL = 500
_LONGEST_LABEL = 100

_COMPARING = ExactMetric | JsonFieldMetric | LabelProbabilityMetric
MetricFunction = Callable[[Mapping[str, Any], Any, Any], float]


@dataclass(frozen=True, slots=True)
class Score:
    """From 0 to 1; `detail` says why it is not 1."""

    value: float
    detail: str | None = None


class ScoringError(Exception):
    """An answer cannot be scored; `error_type` is its kind."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


NO_EXPECTED, JUDGE_ERROR = "NO_EXPECTED", "JUDGE_ERROR"
METRIC_ERROR = "METRIC_ERROR"


def score(
    metric: AnyMetric | WeightedMetrics,
    request_data: Mapping[str, Any],
    expected: Any,  # noqa: ANN401 - JSON
    answer: Any,  # noqa: ANN401 - JSON
    judgements: Mapping[int, Any] = _NO_JUDGEMENTS,
    logprobs: Sequence[Any] | None = None,
) -> Score:
    """Score the answer to one item.

    `judgements` has the judges' answers, by the positions of their metrics
    among the parts: see `judges_of`. `logprobs` are the answer's, as a job
    has them.

    Raises:
        ScoringError: it cannot be scored, which is not the answer's fault.
    """
    total, details = 0.0, []
    for position, (part, share) in enumerate(parts_of(metric)):
        if isinstance(part, JudgeMetric):
            one = _by_judge(part, judgements.get(position))
        elif isinstance(part, EntryPointMetric):
            one = _by_entry_point(part, request_data, expected, answer)
        elif isinstance(part, LabelProbabilityMetric) and logprobs:
            one = _by_probability(part, expected, answer, logprobs)
        else:
            one = _by_value(part, expected, answer)
        total += share * one.value
        if one.detail is not None:
            details.append(one.detail)
    detail = "; ".join(details)[:_LONGEST_DETAIL] or None
    # Shares may add up to a little more than 1.
    return Score(min(total, 1.0), detail)


def labels(
    metric: AnyMetric | WeightedMetrics,
    expected: Any,  # noqa: ANN401 - JSON
    answer: Any,  # noqa: ANN401 - JSON
) -> tuple[str | None, str | None]:
    """Give the expected and the answered label, where there are any.

    Labels are the values that the first `exact`, `jsonField` or
    `labelProbability` metric compares, if they are texts, numbers or truth
    values.
    """
    for part, _ in parts_of(metric):
        if isinstance(part, _COMPARING):
            wanted = _wanted(part, expected)
            try:
                found = _found(part, expected, answer)
            except NoValueError:
                found = None
            pair = (_label(wanted), _label(found))
            if isinstance(part, LabelProbabilityMetric) or part.ignore_case:
                return _folded(pair[0]), _folded(pair[1])
            return pair
    return None, None


def check_entry_points(metric: AnyMetric | WeightedMetrics) -> None:
    """Make sure that the entry points that a metric names are installed.

    Raises:
        ScoringError: one is not, or cannot be imported.
    """
    for part, _ in parts_of(metric):
        if isinstance(part, EntryPointMetric):
            _function(part.name)


def _by_value(part: AnyMetric, expected: Any, answer: Any) -> Score:  # noqa: ANN401 - JSON
    if isinstance(part, RegexMetric):
        return _by_pattern(part, answer)
    if isinstance(part, SchemaMetric):
        return _by_schema(part.json_schema, answer, "the answer does not fit")
    if expected is None:
        raise ScoringError(
            NO_EXPECTED,
            f"The metric {part.type} needs to know what is expected",
        )
    try:
        return _compared(part, expected, answer)
    except NoValueError as error:
        return Score(0.0, str(error))


def _compared(part: AnyMetric, expected: Any, answer: Any) -> Score:  # noqa: ANN401 - JSON
    if isinstance(part, ContainsMetric):
        return _contains(part, text_of(expected), text_of(answer))
    wanted = _wanted(part, expected)
    found = _found(part, expected, answer)
    if isinstance(part, LabelProbabilityMetric):
        same = equal(found, wanted, ignore_case=True)
        return _score(float(same), wanted, found)
    if isinstance(part, ExactMetric | JsonFieldMetric):
        same = equal(found, wanted, ignore_case=part.ignore_case)
        return _score(float(same), wanted, found)
    if isinstance(part, NumericMetric):
        number = _number_expected(wanted)
        near = abs(number_of(found) - number) <= part.tolerance
        return _score(float(near), wanted, found)
    return _score(word_f1(text_of(found), text_of(wanted)), wanted, found)


def _number_expected(wanted: Any) -> float:  # noqa: ANN401 - JSON
    try:
        return number_of(wanted)
    except NoValueError as error:
        raise ScoringError(NO_EXPECTED, f"Expected: {error}") from None


def _wanted(part: AnyMetric, expected: Any) -> Any:  # noqa: ANN401 - JSON
    """Give what is expected where a metric looks."""
    path = _path(part)
    if path is None or not isinstance(expected, dict):
        return expected
    try:
        return value_at(expected, path)
    except NoValueError as error:
        raise ScoringError(NO_EXPECTED, f"Expected: {error}") from None


def _found(part: AnyMetric, expected: Any, answer: Any) -> Any:  # noqa: ANN401 - JSON
    path = _path(part)
    if path is None:
        return plain(answer, expected)
    return value_at(answer, path)


def _path(part: AnyMetric) -> str | None:
    if isinstance(
        part,
        JsonFieldMetric | NumericMetric | F1Metric | LabelProbabilityMetric,
    ):
        return part.path
    return None


def _contains(part: ContainsMetric, wanted: str, text: str) -> Score:
    where = text
    if part.ignore_case:
        wanted, where = wanted.casefold(), text.casefold()
    found = wanted.strip() in where
    return (
        Score(1.0)
        if found
        else Score(0.0, f"{shown(wanted)} is not in {shown(text)}")
    )


def _by_pattern(part: RegexMetric, answer: Any) -> Score:  # noqa: ANN401 - JSON
    schema = {"type": "string", "pattern": part.pattern}
    return _by_schema(schema, text_of(answer), "the pattern is not found")


def _by_schema(schema: Mapping[str, Any], value: Any, what: str) -> Score:  # noqa: ANN401 - JSON
    problem = json_schema.problem_of(payload.dump(value), payload.dump(schema))
    return Score(1.0) if problem is None else Score(0.0, f"{what}: {problem}")


def _score(value: float, wanted: Any, found: Any) -> Score:  # noqa: ANN401 - JSON
    if value == 1.0:
        return Score(value)
    detail = f"expected {shown(wanted)}, got {shown(found)}"
    return Score(value, detail)


def _by_probability(
    part: LabelProbabilityMetric,
    expected: Any,  # noqa: ANN401 - JSON
    answer: Any,  # noqa: ANN401 - JSON
    logprobs: Sequence[Any],
) -> Score:
    plainly = _by_value(part, expected, answer)
    wanted = _label(_wanted(part, expected))
    try:
        found = _label(_found(part, expected, answer))
    except NoValueError:
        return plainly
    chances = found and label_chances(logprobs, found, part.labels)
    if not chances or wanted is None:
        return plainly
    for label, chance in chances.items():
        if label.casefold() == wanted.casefold():
            return _score(
                chance,
                wanted,
                f"{found} (probabilities: {wanted} {chance:.3f})",
            )
    raise ScoringError(
        NO_EXPECTED, f"Expected: {shown(wanted)} is not one of the labels"
    )


def _by_judge(part: JudgeMetric, judgement: Any) -> Score:  # noqa: ANN401 - JSON
    try:
        points = number_of(value_at(judgement, part.score_path))
    except NoValueError as error:
        raise ScoringError(
            JUDGE_ERROR, f"The judge gave no score: {error}"
        ) from None
    value = min(max(points / part.max_score, 0.0), 1.0)
    return Score(value, None if value == 1.0 else shown(judgement))


def _by_entry_point(
    part: EntryPointMetric,
    request_data: Mapping[str, Any],
    expected: Any,  # noqa: ANN401 - JSON
    answer: Any,  # noqa: ANN401 - JSON
) -> Score:
    function = _function(part.name)
    try:
        # Copies: what others' code changes must not change the data.
        given = copy.deepcopy((request_data, expected, answer))
        value = float(function(*given))
    except (Exception, SystemExit) as error:  # others' code may do anything
        raise ScoringError(
            METRIC_ERROR,
            f"The metric {part.name!r} failed: {type(error).__name__}",
        ) from error
    if not 0.0 <= value <= 1.0:
        raise ScoringError(
            METRIC_ERROR, f"The metric {part.name!r} gave {value}, not 0 to 1"
        )
    return Score(value)


@cache
def _function(name: str) -> MetricFunction:
    found = entry_points(group=ENTRY_POINTS, name=name)
    for each in found:
        try:
            function = each.load()
        except (Exception, SystemExit) as error:  # others' code, as above
            raise ScoringError(
                METRIC_ERROR,
                f"The metric {name!r} cannot be imported: "
                f"{type(error).__name__}",
            ) from error
        if callable(function):
            return function  # type: ignore[no-any-return]
    raise ScoringError(
        METRIC_ERROR,
        f"No installed package has a metric {name!r} (entry point group "
        f"{ENTRY_POINTS})",
    )


def _label(value: Any) -> str | None:  # noqa: ANN401 - JSON
    if value is None or isinstance(value, dict | list):
        return None
    return text_of(value).strip()[:_LONGEST_LABEL]


def _folded(label: str | None) -> str | None:
    return None if label is None else label.casefold()
