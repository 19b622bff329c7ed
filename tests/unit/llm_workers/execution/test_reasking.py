"""Who is asked next: from the answers so far alone."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from api.models.metrics import Metrics
from api.models.model_models import CostInput
from api.models.reask_models import RetryOnInvalid, UnusableAnswer
from api.services.calls.model_call import ModelCall
from api.services.limits.budgets import upper_bound
from api.services.queue.job_work import ClaimedJob, Failed, Requeued, Spent
from llm_workers.execution.reasking import (
    NextAsk,
    after,
    answers_of,
    next_ask,
    told,
)
from tests.support.limit_world import limited
from utilities import payload
from utilities.cosmos_connector import ObjectId

PRICE = CostInput(input=1, output=1)
KINDS = (
    "JSON_PARSING_ERROR",
    "SCHEMA_MISMATCH",
    "TRUNCATED",
    "NO_ANSWER",
    "TOOL_CALL_ERROR",
    "CONTENT_FILTERED",
)


def answer(text: str, kind: str = "SCHEMA_MISMATCH") -> UnusableAnswer:
    return UnusableAnswer(
        model="m",
        error_type=kind,
        message="'x' is missing",
        text=text,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def job(
    policy: RetryOnInvalid | None = None, spent: str | None = None
) -> ClaimedJob:
    made = ClaimedJob(
        ObjectId(), "c", "t", 1, "m", ("p",), 0.0, '{"n":1}', spent=spent
    )
    if policy is None:
        return made
    return replace(made, retry_on_invalid=policy.model_dump_json())


def failed(text: str = "no", kind: str = "JSON_PARSING_ERROR") -> Failed:
    error = {"errorType": kind, "message": "?", "failedResponseData": text}
    return Failed(error, Metrics(10, 5))


class TestNextAsk:
    def test_the_model_first_then_the_ladder(self) -> None:
        policy = RetryOnInvalid(max_reasks=1, ladder=("b", "c"))
        answers: list[UnusableAnswer] = []
        asked = []
        while (ask := next_ask(policy, answers)) is not None:
            asked.append((ask.model, len(ask.before)))
            answers.append(answer(str(len(answers))))
        assert asked == [
            (None, 0),
            (None, 1),
            ("b", 0),
            ("b", 1),
            ("c", 0),
            ("c", 1),
        ]

    def test_who_repeats_an_answer_is_not_asked_again(self) -> None:
        policy = RetryOnInvalid(max_reasks=5, ladder=("b",))
        assert next_ask(policy, [answer("x")] * 2) == NextAsk("b")
        # The next model may say the same.
        found = next_ask(policy, [answer("x")] * 3)
        assert found == NextAsk("b", (answer("x"),))

    def test_what_was_withheld_is_asked_of_others_only(self) -> None:
        withheld = answer("", "CONTENT_FILTERED")
        policy = RetryOnInvalid(max_reasks=3, ladder=("b",))
        assert next_ask(policy, [withheld]) == NextAsk("b")
        assert next_ask(RetryOnInvalid(max_reasks=3), [withheld]) is None

    @given(
        st.integers(0, 5),
        st.integers(0, 5),
        st.lists(
            st.tuples(st.sampled_from("abcd"), st.sampled_from(KINDS)),
            min_size=40,
            max_size=40,
        ),
    )
    def test_it_ends(
        self, reasks: int, rungs: int, drawn: list[tuple[str, str]]
    ) -> None:
        ladder = tuple(f"m{n}" for n in range(rungs))
        policy = RetryOnInvalid(max_reasks=reasks, ladder=ladder)
        answers: list[UnusableAnswer] = []
        models: list[str | None] = []
        while (ask := next_ask(policy, answers)) is not None:
            models.append(ask.model)
            assert len(ask.before) <= reasks
            answers.append(answer(*drawn[len(answers)]))
        assert len(answers) <= (reasks + 1) * (rungs + 1)
        # Every model is asked, in order, and none after the next one.
        assert list(dict.fromkeys(models)) == [None, *ladder]
        assert models == sorted(models, key=lambda m: m or "")


class TestAfter:
    def test_without_the_policy_the_job_fails(self) -> None:
        assert after(job(), [], failed(), lambda: 7) == failed()

    def test_other_failures_end_the_job(self) -> None:
        policy = RetryOnInvalid(max_reasks=1)
        other = failed(kind="VALIDATION_LIMIT")
        assert after(job(policy), [], other, lambda: 7) is other

    def test_the_job_goes_back_with_the_answer_and_its_cost(self) -> None:
        policy = RetryOnInvalid(max_reasks=1, ladder=("b",))
        first = job(policy, spent=Spent(Metrics(1, 1), refusals=2).dump())
        back = after(first, [], failed("no"), lambda: 7)
        assert isinstance(back, Requeued)
        assert (back.available_at, back.counted) == (7, False)
        assert Spent.load(back.spent) == Spent(Metrics(11, 6))
        again = replace(first, unusable=back.unusable, spent=back.spent)
        (kept,) = answers_of(again)
        assert (kept.text, kept.model, kept.input_tokens) == ("no", "m", 10)
        assert kept.cost is None

    def test_at_the_end_all_that_was_said_is_kept(self) -> None:
        policy = RetryOnInvalid(max_reasks=0, ladder=("b",))
        back = after(job(policy), [], failed("no"), lambda: 7)
        assert isinstance(back, Requeued)
        again = replace(job(policy), unusable=back.unusable)
        ended = after(again, answers_of(again), failed("neither"), lambda: 8)
        assert isinstance(ended, Failed)
        said = payload.load(str(ended.unusable))
        assert [(each["model"], each["text"]) for each in said] == [
            ("m", "no"),
            ("b", "neither"),
        ]

    def test_long_answers_are_cut(self) -> None:
        policy = RetryOnInvalid(max_reasks=1)
        back = after(job(policy), [], failed("x" * 50_000), lambda: 7)
        assert isinstance(back, Requeued)
        (kept,) = answers_of(replace(job(policy), unusable=back.unusable))
        assert len(kept.text) == 10_000


def test_the_model_is_told_what_was_wrong() -> None:
    call = ModelCall(limited(), "Be brief.", '{"n":1}', 0.0)
    assert told(call, NextAsk(None)) is call
    ask = NextAsk(None, (answer("{}"), answer(" ", "NO_ANSWER")))
    asked = told(call, ask).conversation
    assert asked is not None
    assert [each.role for each in asked.messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "user",
    ]
    assert asked.messages[2].text == "{}"
    assert "'x' is missing" in asked.messages[3].text
    assert "empty" in asked.messages[4].text


def test_the_answers_before_count_in_what_a_call_may_cost() -> None:
    priced = limited().model_copy(update={"cost": PRICE})
    call = ModelCall(priced, "Be brief.", '{"n":1}', 0.0)
    said = answer("é" * 1000)
    again = told(call, NextAsk(None, (said,)))
    assert again.input_bytes > call.input_bytes + 2000
    assert upper_bound(again) > upper_bound(call)
