"""Turns a report into one page of HTML that needs nothing else.

Everything in a report that comes from data, prompts or models is hostile:
the templates escape every value, the page has no script, and its policy
allows none, nor anything from elsewhere.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.models.metric_models import AnyMetric, WeightedMetrics
from api.models.run_models import Run
from api.services.runs.run_report import ReportPage
from llm_optimizers.report import charts, contract, words
from llm_optimizers.report.models_compared import Compared, compare_models
from llm_optimizers.report.tree import branches
from llm_optimizers.report.values import RunReport, TriedPrompt
from llm_optimizers.report.word_diff import Piece, word_diff

_TEMPLATES = Path(__file__).parent / "templates"
# More of them nobody reads, and the page stays below some megabytes.
_MOST_CANDIDATES, _MOST_STEPS = 300, 500
_LONGEST_PROMPT, _LONGEST_VALUE = 20_000, 4_000
_LONGEST_TOGETHER = 1_000_000
# A difference in more pieces tells less than the text.
_MOST_PIECES = 500
# The prompts whose difference is shown may be longer.
_LONGEST_COMPARED = 200_000
_POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    "style-src 'sha256-{digest}'"
)


def page_of(report: RunReport) -> ReportPage:
    """Write the page of a report."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = hashlib.sha256(style.encode()).digest()
    policy = _POLICY.format(digest=base64.b64encode(digest).decode())
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            # As read from our own package, and hashed in the policy.
            style=Markup(style),  # noqa: S704
            policy=policy,
            report=report,
            run=report.run,
            headline=words.headline(report),
            finish_reason=words.finish_reason(report.run),
            **_parts(report),
        )
    )
    # A meta element cannot say who may frame the page.
    return ReportPage(html, f"{policy}; frame-ancestors 'none'")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "interval": words.interval,
        "seconds": words.seconds,
        "count": words.count,
        "cost": words.cost,
        "value": lambda value: words.shortened(
            words.as_text(value), _LONGEST_VALUE
        ),
        "brief": lambda value: words.shortened(words.as_text(value), 60),
        "prompt": lambda text: words.shortened(text, _LONGEST_PROMPT),
    }
    environment.globals |= {"money": words.money, "diff": _diff}
    return environment


def _parts(report: RunReport) -> dict[str, Any]:
    run, by_number = report.run, {e.number: e for e in report.candidates}
    best = run.best.candidate if run.best else _best_so_far(run)
    lineage = _lineage(best, by_number)
    shown = _shown(report.candidates, lineage)
    compared = compare_models(run, by_number)
    accepted = frozenset(e.number for e in report.candidates if e.accepted)
    return {
        "course": _course(report, accepted),
        "in_money": charts.is_priced(report.history),
        "branches": branches(shown),
        "hidden_candidates": len(report.candidates) - len(shown),
        "by_number": by_number,
        "best": best,
        "lineage": lineage,
        "compared": compared,
        "front": _front(compared),
        "difference": _difference(report),
        "steps": report.steps[:_MOST_STEPS],
        "settings": _settings(run),
        "warnings": [*(run.warnings or ()), *report.unread],
    }


def _course(
    report: RunReport, accepted: frozenset[int]
) -> charts.Chart | None:
    if report.run.dataset_id is None:
        return charts.over_iterations(contract.scores(report.steps))
    return charts.over_cost(report.history, accepted)


def _best_so_far(run: Run) -> int | None:
    known = [
        (each.best.validation.score, -each.best.candidate)
        for each in run.model_results or ()
        if each.best.validation is not None
    ]
    return -max(known)[1] if known else None


def _lineage(
    number: int | None, candidates: Mapping[int, TriedPrompt]
) -> frozenset[int]:
    """Give a candidate with all that it was made of."""
    found: set[int] = set()
    waiting = [] if number is None else [number]
    while waiting:
        each = waiting.pop()
        if each in candidates and each not in found:
            found.add(each)
            waiting += candidates[each].parents
    return frozenset(found)


def _shown(
    candidates: Sequence[TriedPrompt], lineage: frozenset[int]
) -> list[TriedPrompt]:
    """Choose those that are shown: the way to the best, then the first."""
    ordered = sorted(
        candidates, key=lambda each: (each.number not in lineage, each.number)
    )
    lengths = accumulate(
        min(len(each.text or ""), _LONGEST_PROMPT) for each in ordered
    )
    shown = [
        each
        for each, length in zip(ordered, lengths, strict=True)
        if length <= _LONGEST_TOGETHER
    ]
    return sorted(shown[:_MOST_CANDIDATES], key=lambda each: each.number)


def _front(compared: Iterable[Compared]) -> charts.Chart | None:
    return charts.quality_and_cost(
        [
            (number, each.cost, each.score.score, each.on_front)
            for number, each in enumerate(compared, 1)
            if each.cost is not None
        ]
    )


def _difference(report: RunReport) -> list[Piece] | None:
    first, last = report.first, report.last
    if first is None or last is None:
        return None
    return word_diff(first[:_LONGEST_COMPARED], last[:_LONGEST_COMPARED])


def _diff(first: str | None, second: str | None) -> list[Piece] | None:
    """Compare a candidate with its parent, where that can be read."""
    if first is None or second is None:
        return None
    if max(len(first), len(second)) > _LONGEST_PROMPT:
        return None
    pieces = word_diff(first, second)
    return pieces if len(pieces) <= _MOST_PIECES else None


def _settings(run: Run) -> list[tuple[str, object]]:
    limits = {
        "Jobs at most": run.max_jobs,
        "Tokens at most": run.max_tokens,
        "Cost at most": run.max_cost
        and words.money(run.max_cost.amount, run.max_cost.currency),
        "Target score": run.target_score,
        "Patience": run.patience,
    }
    found: list[tuple[str, object]] = [
        ("Models", ", ".join(run.working_models)),
        ("Model that writes prompts", run.meta_model),
        ("Model that evaluates", run.eval_model),
        ("Strategy", run.strategy),
        ("Metric", _metric(run.metric)),
        ("Dataset", run.dataset_id),
        ("Split", run.split and _split(run)),
        ("Seed", run.seed),
        ("Iterations at most", run.max_iterations),
        *limits.items(),
        ("Temperature", run.temperature),
        ("Unfinished jobs at once", run.parallelism),
        ("Input", run.request_data and words.as_text(run.request_data)),
    ]
    return [pair for pair in found if pair[1] is not None]


def _split(run: Run) -> str:
    assert run.split is not None  # noqa: S101 - the caller has looked
    sides = (run.split.train, run.split.validation, run.split.test)
    return " / ".join(f"{100 * each:.0f} %" for each in sides)


def _metric(metric: AnyMetric | WeightedMetrics | None) -> str | None:
    if metric is None:
        return None
    fields = metric.model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    text = json.dumps({"type": metric.type, **fields}, ensure_ascii=False)
    return words.shortened(text, _LONGEST_VALUE)
