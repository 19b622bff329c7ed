"""Pages of reports that no run of a test would make."""

import base64
import hashlib
import re
from dataclasses import replace
from typing import Any

from markupsafe import escape

from llm_optimizers.report.page import page_of
from llm_optimizers.report.values import (
    RunReport,
    Step,
    Tried,
    TriedPrompt,
    Used,
)
from tests.unit.llm_optimizers.report.test_parts import candidate
from tests.unit.llm_optimizers.report.test_words import (
    decided,
    report,
    scores,
)


def with_candidates(found: list[TriedPrompt], **fields: Any) -> RunReport:
    return replace(report(datasetId="d", **fields), candidates=found)


def test_the_policy_allows_this_style_and_no_other() -> None:
    page = page_of(decided("improved", 0.5, 0.75))
    found = re.search(r"<style>(.*?)</style>", page.html, re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest())
    assert f"'sha256-{digest.decode()}'" in page.policy
    other = hashlib.sha256(f"{found[1]} ".encode()).digest()
    assert base64.b64encode(other).decode() not in page.policy
    assert page.policy.endswith("frame-ancestors 'none'")
    # A page that was saved to a file brings its policy along.
    own = page.policy.removesuffix("; frame-ancestors 'none'")
    assert str(escape(own)) in page.html
    assert "url(" not in found[1]


def test_of_many_candidates_the_way_to_the_best_is_shown() -> None:
    many = [candidate(n, 0) for n in range(1, 1000)]
    best = candidate(1000, 777)
    made = with_candidates(
        [candidate(0), *many, best],
        baseline=scores(0, 0.5),
        best=scores(1000, 0.75),
    )
    html = page_of(made).html
    assert html.count('<details id="candidate-') == 300
    for number in (0, 1, 777, 1000):
        assert f'id="candidate-{number}"' in html
    assert "And 701 more" in html


def test_long_texts_are_cut() -> None:
    long = replace(candidate(0), texts=("word " * 100_000,))
    html = page_of(with_candidates([long])).html
    assert len(html) < 100_000
    assert "… (480,000 more)" in html


def test_long_texts_of_many_candidates_stay_within_a_megabyte() -> None:
    texts = [f"{n} " + "word, word. " * 3_000 for n in range(100)]
    made = [
        replace(candidate(n, n - 1), texts=(text,))
        for n, text in enumerate(texts)
    ]
    html = page_of(with_candidates(made)).html
    assert html.count('<details id="candidate-') == 50
    assert "And 50 more" in html


def test_a_difference_in_too_many_pieces_is_not_shown() -> None:
    first = " ".join(f"same {n}" for n in range(600))
    second = " ".join(f"same {-n}" for n in range(600))
    made = [
        replace(candidate(n, n - 1), texts=(text,))
        for n, text in enumerate((first, second))
    ]
    html = page_of(with_candidates(made)).html
    assert "<ins>" not in html
    assert "same -5" in html


def test_what_was_spent_is_money_only_if_all_of_it_is() -> None:
    tried = [Tried(n, 0.5, Used(n + 1, cost=1.0 + n)) for n in (0, 1)]
    priced = with_candidates([candidate(0), candidate(1)])
    html = page_of(replace(priced, history=tried)).html
    assert "spent on all calls" in html
    tried.append(Tried(1, 0.5, Used(3)))
    html = page_of(replace(priced, history=tried)).html
    assert ">answers scored</text>" in html


def test_a_loop_that_failed() -> None:
    steps = [
        Step("m", 0, "j", "PROCESSED", None, {"score": 3}, 3.0),
        Step("m", 1, "j", "ERROR", "text", errors=["Meta step: <b>no</b>"]),
        Step("m", 2, "j", "PROCESSED", "text", {"score": 5}, 5.0),
    ]
    made = report(steps, status="FAILED", failureReason="no <answer>")
    html = page_of(made).html
    assert "no &lt;answer&gt;" in html
    assert "Meta step: &lt;b&gt;no&lt;/b&gt;" in html
    assert "It was deleted." in html
    assert html.count("<circle") == 2


def test_spending_in_several_currencies() -> None:
    usage = {"costByCurrency": {"USD": 1.5, "EUR": 0.25}}
    html = page_of(report(datasetId="d", usage=usage)).html
    assert "(1.50 USD, 0.25 EUR)" in html
