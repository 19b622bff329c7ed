import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from api.core.errors import NotFoundError, RuleError
from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.models.prompt_models import Prompt, PromptCreate, PromptStatus
from api.services.calls import model_access
from api.services.calls.catalog import Catalog
from api.services.calls.model_caller import ModelCaller
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_service import PromptService
from api.services.queue import job_outcomes
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import (
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Spent,
    Succeeded,
)
from config import ModelKeys
from llm_sdks import errors
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
    Usage,
)
from llm_sdks.registry import SdkRegistry
from llm_sdks.resilience.model_gate import ModelGates
from llm_workers.execution import pipeline as pipeline_module
from llm_workers.execution import retries as retries_module
from llm_workers.execution.pipeline import Pipeline
from tests.support.samples import claimed_job, logged, nested
from utilities import payload
from utilities.payload import MAX_DEPTH

NOW = 1_000_000
MAX_ATTEMPTS = 3
CALL_SECONDS = 0.5
TIMES = {"createdAt": 0, "updatedAt": 0}
HALF = "half a \ud83d character"

Step = str | Completion | BaseException | Callable[..., Any]

THREE_STEPS = {
    "eval_prompt": "eval-prompt",
    "eval_model": "eval-model",
    "meta_prompt": "meta-prompt",
    "meta_model": "meta-model",
}
EVAL_ONLY = {"eval_prompt": "eval-prompt", "eval_model": "eval-model"}
META_ONLY = {"meta_prompt": "meta-prompt", "meta_model": "meta-model"}


class Scripted(BaseLLMSDK):
    """Answers each call with the next step of a script."""

    steps: ClassVar[list[Step]]
    requests: ClassVar[list[CompletionRequest]]
    closed: ClassVar[list["Scripted"]]
    refusal: ClassVar[Exception | None] = None

    @classmethod
    def get_name(cls) -> str:
        return "scripted"

    def validate_config(self, _config: LLMConfig) -> None:
        if self.refusal is not None:
            raise self.refusal

    def complete(self, request: CompletionRequest) -> Completion:
        raise NotImplementedError

    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        raise NotImplementedError

    async def acomplete(self, request: CompletionRequest) -> Any:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, str):
            return Completion(step, Usage(10, 5), "stop")
        return await step() if callable(step) else step

    async def aclose(self) -> None:
        self.closed.append(self)


class FakeModels:
    """Knows three models; prices are per 1000 tokens."""

    def __init__(self) -> None:
        self.found = {
            f"{name}-model": a_model(f"{name}-model")
            for name in ("working", "eval", "meta")
        }

    def change(self, name: str, **fields: Any) -> None:
        self.found[name] = a_model(name, **fields)

    async def find(self, reference: str) -> ModelWithKey:
        if reference not in self.found:
            raise NotFoundError("Model")
        return self.found[reference]


class FakePrompts:
    """Knows some prompts; each one's text is its id in capitals."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.failures: list[Exception] = []
        self.asked_for: list[str] = []
        self.added: list[tuple[PromptCreate, str | None]] = []

    async def usable(
        self, prompt_ids: Sequence[str], client_id: str
    ) -> dict[str, Prompt]:
        self._fail()
        self.asked_for.append(client_id)
        for prompt_id in prompt_ids:
            if prompt_id in self.gone:
                raise NotFoundError(f"Prompt {prompt_id}")
        return {prompt_id: a_prompt(prompt_id) for prompt_id in prompt_ids}

    async def add(self, request: PromptCreate, owner: str | None) -> Prompt:
        self._fail()
        self.added.append((request, owner))
        return a_prompt("suggested-prompt")

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


def a_model(name: str, **fields: Any) -> ModelWithKey:
    cost = {"tokens": 1000, "currency": "USD", "input": 1.0, "output": 2.0}
    return ModelWithKey.model_validate(
        {
            "model_id": "0" * 24,
            "name": name,
            "sdk": "scripted",
            "key": f"KEY-{name}",
            "cost": cost,
            "_metadata": TIMES,
            **fields,
        }
    )


def a_prompt(prompt_id: str) -> Prompt:
    return Prompt.model_validate(
        {
            "promptId": prompt_id,
            "name": f"name of {prompt_id}",
            "version": "7",
            "type": "WORKING",
            "status": "PUBLISHED",
            "prompt": prompt_id.upper(),
            "clientId": "client-1",
            "isPublic": False,
            "_metadata": TIMES,
        }
    )


class Bench:
    """A pipeline over a script."""

    def __init__(self) -> None:
        self.models = FakeModels()
        self.prompts = FakePrompts()
        self.keys = ModelKeys({})
        self.gates = ModelGates()
        self.timeout = 30.0
        self.chance = 1.0
        self.sdk: type[BaseLLMSDK] = self._scripted()

    @staticmethod
    def _scripted() -> type[Scripted]:
        fields: dict[str, Any] = {
            "steps": [],
            "requests": [],
            "closed": [],
            "needs_key": False,
        }
        return type("ThisTests", (Scripted,), fields)

    @property
    def script(self) -> type[Scripted]:
        assert issubclass(self.sdk, Scripted)
        return self.sdk

    @property
    def calls(self) -> list[CompletionRequest]:
        return self.script.requests

    def caller(self) -> ModelCaller:
        return ModelCaller(
            model_access.ModelAccess(
                SdkRegistry([self.sdk]), self.keys, self.gates, self.timeout
            ),
            timer=itertools.count(0.0, CALL_SECONDS).__next__,
        )

    async def run(self, *steps: Step, **job: Any) -> Outcome:
        if issubclass(self.sdk, Scripted):
            self.sdk.steps.extend(steps)
        outcome = await self.pipeline().run(claimed_job(**job))
        if issubclass(self.sdk, Scripted):
            assert self.sdk.steps == [], "a call that was not made"
        return outcome

    def pipeline(self) -> Pipeline:
        prompts = cast("PromptService", self.prompts)
        catalog = Catalog(cast("ModelService", self.models), prompts)
        return Pipeline(
            self.caller(),
            catalog,
            prompts,
            max_attempts=MAX_ATTEMPTS,
            clock=lambda: NOW,
            chance=lambda: self.chance,
        )

    async def succeeds(self, *steps: Step, **job: Any) -> Succeeded:
        outcome = await self.run(*steps, **job)
        assert isinstance(outcome, Succeeded), outcome
        return outcome

    async def fails(self, *steps: Step, **job: Any) -> Failed:
        outcome = await self.run(*steps, **job)
        assert isinstance(outcome, Failed), outcome
        return outcome

    async def is_requeued(self, *steps: Step, **job: Any) -> Requeued:
        outcome = await self.run(*steps, **job)
        assert isinstance(outcome, Requeued), outcome
        return outcome


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No logging to the terminal, and no long patience."""
    for module in (pipeline_module, retries_module, model_access):
        logged(monkeypatch, module)
    monkeypatch.setattr(pipeline_module, "_PATIENCE_SECONDS", 2.0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def one_call() -> Metrics:
    """What a scripted call of 10 and 5 tokens comes to."""
    usd = frozenset({"USD"})
    return Metrics(10, 5, CALL_SECONDS, 10**8, 10**8, usd)


def evaluation(outcome: Succeeded) -> Any:
    assert outcome.eval_json is not None
    return payload.load(outcome.eval_json)


# --- What a model is asked


async def test_the_working_step_asks_as_the_contract_says(
    bench: Bench,
) -> None:
    request_json = '{"b":1, "a": "ä\\n"}'
    outcome = await bench.run(
        '{"answer": 1}',
        working_prompts=("first", "second", "third"),
        request_json=request_json,
        temperature=0.75,
    )
    (call,) = bench.calls
    assert call.system == "FIRST\n\nSECOND\n\nTHIRD"
    assert call.user == request_json
    assert call.temperature == 0.75
    assert call.timeout == 30.0
    assert call.config.name == "working-model"
    assert outcome == Succeeded('{"answer":1}', one_call())


async def test_the_model_is_called_with_its_settings(bench: Bench) -> None:
    settings: dict[str, Any] = {
        "endpoint": "https://e/v1",
        "apiType": "t",
        "apiVersion": "v",
        "deployment": "d",
        "service": "s",
        "maxToken": 7,
        "maxCompletionToken": 8,
        "minTemperature": 0.25,
        "maxTemperature": 1.5,
    }
    bench.models.change("working-model", **settings)
    await bench.run("{}")
    config = bench.calls[0].config
    assert config == LLMConfig(
        name="working-model",
        endpoint="https://e/v1",
        api_type="t",
        api_version="v",
        deployment="d",
        service="s",
        max_token=7,
        max_completion_token=8,
        min_temperature=0.25,
        max_temperature=1.5,
    )


async def test_the_evaluation_sees_the_input_and_the_result(
    bench: Bench,
) -> None:
    outcome = await bench.succeeds(
        'Here: {"answer": [1]}', '```json\n{"score": 9}\n```', **EVAL_ONLY
    )
    _, call = bench.calls
    assert call.system == "EVAL-PROMPT"
    assert json.loads(call.user) == {
        "original_input": {"text": "hello"},
        "working_result": {"answer": [1]},
    }
    assert call.config.name == "eval-model"
    assert call.temperature == 0.25
    assert outcome.response_json == '{"answer":[1]}'
    assert outcome.eval_json == '{"score":9}'
    assert outcome.suggested_prompt_id is None


async def test_the_meta_step_sees_evaluation_prompts_and_result(
    bench: Bench,
) -> None:
    outcome = await bench.succeeds(
        '{"answer": 1}',
        '{"score": 9}',
        "  Be brief: {text}\n",
        working_prompts=("first", "second"),
        **THREE_STEPS,
    )
    _, _, call = bench.calls
    assert call.system == "META-PROMPT"
    assert json.loads(call.user) == {
        "evaluation": {"score": 9},
        "original_prompts": ["FIRST", "SECOND"],
        "working_result": {"answer": 1},
    }
    assert call.config.name == "meta-model"
    assert call.temperature == 0.25
    assert outcome.eval_json == '{"score":9}'
    assert outcome.suggested_prompt_id == "suggested-prompt"


async def test_the_suggestion_becomes_a_draft_of_the_client(
    bench: Bench,
) -> None:
    await bench.run(
        "{}",
        "{}",
        "  Be brief: {text}\n",
        client_id="client-7",
        working_prompts=("first", "second"),
        **THREE_STEPS,
    )
    ((draft, client_id),) = bench.prompts.added
    assert client_id == "client-7"
    assert draft.name == "name of first"
    assert draft.type == "WORKING"
    assert draft.status is PromptStatus.DRAFT
    assert draft.prompt == "Be brief: {text}"
    assert set(bench.prompts.asked_for) == {"client-7"}


async def test_a_meta_step_without_evaluation_sees_none(bench: Bench) -> None:
    outcome = await bench.succeeds("{}", "Better", **META_ONLY)
    assert json.loads(bench.calls[1].user)["evaluation"] is None
    assert outcome.eval_json is None
    assert outcome.suggested_prompt_id == "suggested-prompt"


@pytest.mark.parametrize("left_out", sorted(THREE_STEPS))
async def test_a_step_needs_both_its_prompt_and_its_model(
    bench: Bench, left_out: str
) -> None:
    steps = {k: v for k, v in THREE_STEPS.items() if k != left_out}
    other = "Better" if left_out.startswith("eval") else '{"score": 9}'
    await bench.run("{}", other, **steps)
    assert len(bench.calls) == 2


async def test_hostile_keys_go_through_all_steps(bench: Bench) -> None:
    request_json = '{"$where":"1","a.b":{"":1e2},"n":' + "9" * 80 + "}"
    answer = '{"$set":{"x.y":null},"n":' + "8" * 80 + "}"
    outcome = await bench.succeeds(
        answer, "{}", "Better", request_json=request_json, **THREE_STEPS
    )
    seen = payload.load(bench.calls[1].user)
    assert seen["original_input"] == payload.load(request_json)
    assert seen["working_result"] == payload.load(answer)
    assert outcome.response_json == answer


# --- What it comes to


async def test_the_metrics_of_all_calls_add_up(bench: Bench) -> None:
    outcome = await bench.succeeds(
        Completion("{}", Usage(1000, 100)),
        Completion("{}", Usage(2000, 200)),
        Completion("Better", Usage(3000, 300)),
        **THREE_STEPS,
    )
    assert outcome.metrics.to_document() == {
        "inputTokens": 6000,
        "outputTokens": 600,
        "totalTokens": 6600,
        "duration": 3 * CALL_SECONDS,
        "inputCost": 6.0,
        "outputCost": 1.2,
        "totalCost": 7.2,
        "currency": "USD",
    }


async def test_every_call_is_priced_by_its_own_model(bench: Bench) -> None:
    dear = {"tokens": 1, "currency": "USD", "input": 1.0, "output": 1.0}
    bench.models.change("eval-model", cost=dear)
    outcome = await bench.succeeds("{}", "{}", **EVAL_ONLY)
    assert outcome.metrics.to_document()["totalCost"] == 0.02 + 15.0


async def test_costs_in_two_currencies_are_left_out(bench: Bench) -> None:
    euro = {"tokens": 1, "currency": "EUR", "input": 1.0, "output": 1.0}
    bench.models.change("eval-model", cost=euro)
    outcome = await bench.succeeds("{}", "{}", **EVAL_ONLY)
    assert outcome.metrics.to_document() == {
        "inputTokens": 20,
        "outputTokens": 10,
        "totalTokens": 30,
        "duration": 2 * CALL_SECONDS,
    }


@pytest.mark.parametrize(
    "text", ["I cannot do that.", "", "  a {\n", f"no {HALF}"]
)
async def test_an_answer_without_json_is_kept_whole(
    bench: Bench, text: str
) -> None:
    answer = Completion(text, Usage(10, 5), "length")
    outcome = await bench.fails(answer, **THREE_STEPS)
    assert outcome.error["failedResponseData"] == text.replace("\ud83d", "?")
    assert outcome.error["errorType"] == "JSON_PARSING_ERROR"
    assert outcome.error["finishReason"] == "length"
    assert outcome.error["model"] == "working-model"
    assert outcome.error["provider"] == "scripted"
    assert outcome.error["attempt"] == 1
    assert outcome.error["message"]
    assert outcome.metrics == one_call()
    assert payload.dump(outcome.error)
    assert len(bench.calls) == 1


async def test_an_answer_that_is_nested_too_deep_is_kept_whole(
    bench: Bench,
) -> None:
    outcome = await bench.fails("[" * 1000)
    assert outcome.error["errorType"] == "JSON_PARSING_ERROR"
    assert outcome.error["failedResponseData"] == "[" * 1000
    assert outcome.metrics == one_call()


# --- What fails


async def test_a_rate_limit_puts_back_without_counting(bench: Bench) -> None:
    limited = errors.RateLimitedError("HTTP 429: slow", retry_after=2.5)
    assert await bench.run(limited) == Requeued(
        NOW + 2500,
        counted=False,
        reason="HTTP 429: slow",
        failures=0,
        spent=Spent(refusals=1).dump(),
    )


@pytest.mark.parametrize("told", [None, 0.0, 0.001])
async def test_a_rate_limit_without_a_time_waits_the_shortest_wait_at_least(
    bench: Bench, told: float | None
) -> None:
    limited = errors.RateLimitedError("HTTP 429", retry_after=told)
    outcome = await bench.is_requeued(limited, attempts=MAX_ATTEMPTS)
    assert NOW + 1000 <= outcome.available_at <= NOW + 1500
    assert outcome.counted is False


@pytest.mark.parametrize(
    "seconds",
    [
        1e300,
        float("inf"),
        float("nan"),
    ],
)
async def test_a_rate_limit_without_an_end_waits_a_day_at_most(
    bench: Bench, seconds: float
) -> None:
    limited = errors.RateLimitedError("x", retry_after=seconds)
    outcome = await bench.is_requeued(limited)
    assert NOW <= outcome.available_at <= NOW + 86_400_000


RETRYABLE = [
    errors.CannotConnectError("no line"),
    errors.CallTimeoutError("too late"),
    errors.OverloadedError("full", http_status=503),
    errors.ProviderError("broken", http_status=500),
]


@pytest.mark.parametrize("error", RETRYABLE, ids=lambda e: e.kind)
@pytest.mark.parametrize(
    ("failures", "wait", "counted"),
    [
        (0, 1000, False),
        (1, 2000, False),
        (2, 4000, True),
        (3, 8000, False),
        (5, 32_000, True),
        (6, 60_000, False),
    ],
)
async def test_every_third_failed_call_is_an_attempt_of_the_job(
    bench: Bench,
    error: errors.LLMError,
    failures: int,
    wait: int,
    counted: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert await bench.run(error, failures=failures) == Requeued(
        NOW + wait, counted, reason=str(error), failures=failures + 1
    )


async def test_a_provider_may_ask_for_a_longer_wait(bench: Bench) -> None:
    error = errors.OverloadedError("full", retry_after=30)
    outcome = await bench.is_requeued(error)
    assert outcome.available_at == NOW + 30_000


async def test_how_a_model_retries_is_its_own(bench: Bench) -> None:
    retry = {"maxAttempts": 1, "minWait": 7, "exponentialBase": 3}
    bench.models.change("working-model", resilience={"retry": retry})
    error = errors.ProviderError("broken")
    outcome = await bench.is_requeued(error, failures=1)
    assert outcome.counted is True
    assert outcome.available_at == NOW + 21_000


async def opened_breaker(bench: Bench) -> None:
    """Fail until the provider is taken to be down."""
    for _ in range(5):
        await bench.is_requeued(errors.ProviderError("broken"))


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (errors.ProviderError("broken"), False),
        # It may have been paid for, so not without end.
        (errors.CallTimeoutError("late"), True),
    ],
)
async def test_while_its_provider_is_down_a_jobs_failures_are_not_its_own(
    bench: Bench,
    error: errors.LLMError,
    counted: bool,  # noqa: FBT001 - a column of the table
) -> None:
    for _ in range(4):
        await bench.is_requeued(errors.ProviderError("broken"))
    outcome = await bench.run(error, failures=2, attempts=MAX_ATTEMPTS)
    if counted:
        assert isinstance(outcome, Failed)
    else:
        assert isinstance(outcome, Requeued)
        assert outcome.counted is False


async def test_a_model_that_is_left_alone_is_not_called(bench: Bench) -> None:
    await opened_breaker(bench)
    calls = len(bench.calls)
    outcome = await bench.is_requeued()
    assert len(bench.calls) == calls
    assert outcome.counted is False
    assert outcome.failures == 0
    assert NOW < outcome.available_at <= NOW + 1000


async def test_nothing_is_tried_for_ever(bench: Bench) -> None:
    await opened_breaker(bench)
    bench.gates = ModelGates()
    outcome = await bench.fails(errors.ProviderError("x"), failures=99)
    assert outcome.error["calls"] == 100


@pytest.mark.parametrize("error", RETRYABLE, ids=lambda e: e.kind)
async def test_after_the_last_attempt_it_has_failed(
    bench: Bench, error: errors.LLMError
) -> None:
    outcome = await bench.fails(error, attempts=MAX_ATTEMPTS, failures=14)
    expected = {
        "errorType": error.kind,
        "message": str(error),
        "model": "working-model",
        "attempt": MAX_ATTEMPTS,
        "calls": 15,
        "provider": "scripted",
    }
    if error.http_status is not None:
        expected["httpStatus"] = error.http_status
    assert outcome == Failed(expected, Metrics())


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequestError("no", http_status=400, request_id="req-1"),
        errors.NotAuthorizedError("no", http_status=403, request_id="req-1"),
    ],
    ids=lambda e: e.kind,
)
async def test_what_never_succeeds_fails_at_once(
    bench: Bench, error: errors.LLMError
) -> None:
    outcome = await bench.fails(error)
    assert outcome.error == {
        "errorType": error.kind,
        "message": "no",
        "model": "working-model",
        "attempt": 1,
        "calls": 1,
        "provider": "scripted",
        "httpStatus": error.http_status,
        "requestId": "req-1",
    }


PARTIAL = [errors.ContentFilteredError, errors.TruncatedError]


@pytest.mark.parametrize("kind", PARTIAL)
async def test_what_came_of_an_answer_is_kept_and_counted(
    bench: Bench, kind: type[errors.PartialAnswerError]
) -> None:
    error = kind(
        "not whole", partial_text='{"a":', usage=Usage(10, 5), request_id="r"
    )
    outcome = await bench.fails(error, **THREE_STEPS)
    assert outcome.error == {
        "errorType": kind.kind,
        "message": "not whole",
        "model": "working-model",
        "attempt": 1,
        "calls": 1,
        "provider": "scripted",
        "finishReason": kind.kind,
        "requestId": "r",
        "failedResponseData": '{"a":',
    }
    assert outcome.metrics == one_call()


@pytest.mark.parametrize("kind", PARTIAL)
async def test_an_evaluation_that_is_not_whole_is_recorded_and_counts(
    bench: Bench, kind: type[errors.PartialAnswerError]
) -> None:
    cut = kind("not whole", partial_text="{", usage=Usage(10, 5))
    outcome = await bench.succeeds('{"a": 1}', cut, **THREE_STEPS)
    assert evaluation(outcome) == {
        "error": "not whole",
        "errorType": kind.kind,
    }
    assert outcome.metrics == one_call() + one_call()


async def test_a_text_needs_no_json(bench: Bench) -> None:
    outcome = await bench.succeeds("Dear {you}", as_text=True)
    assert outcome.response_json == '{"text":"Dear {you}"}'


SCHEMA = '{"type":"object","required":["a"]}'


async def test_an_answer_that_fits_its_schema_is_taken(bench: Bench) -> None:
    outcome = await bench.succeeds('{"a": 1}', response_schema=SCHEMA)
    assert outcome.response_json == '{"a":1}'
    assert bench.calls[0].response_schema == payload.load(SCHEMA)


async def test_an_answer_that_does_not_fit_its_schema_is_kept(
    bench: Bench,
) -> None:
    outcome = await bench.fails('{"b": 1}', response_schema=SCHEMA)
    assert outcome.error["errorType"] == "SCHEMA_MISMATCH"
    assert '"a"' in outcome.error["message"]
    assert outcome.error["failedResponseData"] == '{"b": 1}'
    assert outcome.metrics == one_call()


async def test_the_same_call_of_the_same_start_has_the_same_key(
    bench: Bench,
) -> None:
    job = {"job_id": ObjectId(), "started_at": 7, **THREE_STEPS}
    await bench.succeeds("{}", "{}", "Better", **job)
    await bench.succeeds("{}", "{}", "Better", **{**job, "attempts": 2})
    await bench.succeeds("{}", "{}", "Better", **{**job, "started_at": 8})
    keys = [call.idempotency_key for call in bench.calls]
    assert keys[:3] == keys[3:6]
    assert len({*keys}) == 6


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequestError(HALF),
        errors.ContentFilteredError("x", partial_text=HALF),
        errors.RateLimitedError(HALF),
        errors.ProviderError(HALF),
    ],
    ids=lambda e: e.kind,
)
async def test_every_failure_can_be_stored(
    bench: Bench, error: errors.LLMError
) -> None:
    outcome = await bench.run(error)
    if isinstance(outcome, Failed):
        assert payload.dump(outcome.error)
    else:
        assert isinstance(outcome, Requeued)
        assert outcome.reason.encode()


async def test_a_missing_key_is_told_by_the_name_of_its_variable(
    bench: Bench,
) -> None:
    bench.sdk = type("NeedsKey", (bench.sdk,), {"needs_key": True})
    bench.keys = ModelKeys({"KEY_OTHER_MODEL": "sk-hush", "KEY": "sk-hush"})
    outcome = await bench.fails()
    assert outcome.error["errorType"] == "MISSING_KEY"
    assert "KEY_WORKING_MODEL" in outcome.error["message"]
    assert "hush" not in str(outcome)
    assert bench.calls == []


async def test_a_key_reaches_the_plug_in_and_nothing_else(
    bench: Bench,
) -> None:
    bench.sdk = type("NeedsKey", (bench.sdk,), {"needs_key": True})
    bench.keys = ModelKeys({"KEY_WORKING_MODEL": "sk-hush"})
    failure = errors.BadRequestError("no")
    outcome = await bench.fails(failure)
    (call,) = bench.calls
    assert call.config.api_key.get_secret_value() == "sk-hush"
    assert "hush" not in f"{outcome} {call}"


async def test_a_model_that_is_gone_fails_the_job(bench: Bench) -> None:
    outcome = await bench.fails(model="gone-model")
    assert outcome.error["errorType"] == "NOT_FOUND"
    assert outcome.error["message"] == "Model not found"


async def test_a_prompt_that_is_gone_fails_the_job_by_its_name(
    bench: Bench,
) -> None:
    bench.prompts.gone = {"second"}
    outcome = await bench.fails(working_prompts=("first", "second"))
    assert outcome.error["errorType"] == "NOT_FOUND"
    assert outcome.error["message"] == "Prompt second not found"


async def test_a_prompt_that_went_after_its_answer_was_paid_for(
    bench: Bench,
) -> None:
    bench.prompts.gone = {"working-prompt"}
    paid = Succeeded('{"a":1}', one_call())
    outcome = await bench.succeeds('{"s": 1}', checkpoint=paid, **THREE_STEPS)
    assert outcome.response_json == '{"a":1}'
    assert outcome.metrics == one_call() + one_call()
    assert evaluation(outcome)["errorType"] == "NOT_FOUND"


async def test_a_plug_in_that_is_not_here_fails_the_job(bench: Bench) -> None:
    bench.models.change("working-model", sdk="Elsewhere")
    outcome = await bench.fails()
    assert outcome.error["errorType"] == "CONFIGURATION_ERROR"
    assert "'Elsewhere'" in outcome.error["message"]
    assert "scripted" in outcome.error["message"]


async def test_settings_that_a_plug_in_refuses_fail_the_job(
    bench: Bench,
) -> None:
    bench.script.refusal = errors.ConfigurationError("endpoint is missing")
    outcome = await bench.fails()
    assert outcome.error["errorType"] == "CONFIGURATION_ERROR"
    assert outcome.error["message"] == "endpoint is missing"
    assert bench.calls == []


ANYTHING = [
    ValueError("sk-hush"),
    KeyError("sk-hush"),
    RuntimeError("sk-hush"),
    AssertionError("sk-hush"),
    OSError(5, "sk-hush"),
    RecursionError("sk-hush"),
    ExceptionGroup("sk-hush", [ValueError("sk-hush")]),
]


@pytest.mark.parametrize("error", ANYTHING, ids=lambda e: type(e).__name__)
async def test_whatever_a_plug_in_raises_fails_its_job_only(
    bench: Bench, error: Exception
) -> None:
    outcome = await bench.fails(error)
    assert outcome.error["errorType"] == "PLUGIN_ERROR"
    message = outcome.error["message"]
    assert "'scripted'" in message
    assert type(error).__name__ in message
    # It may hold anything; the log has it.
    assert "hush" not in str(outcome)


@pytest.mark.parametrize("error", ANYTHING, ids=lambda e: type(e).__name__)
async def test_whatever_a_plug_in_raises_on_settings_fails_its_job_only(
    bench: Bench, error: Exception
) -> None:
    bench.script.refusal = error
    outcome = await bench.fails()
    assert outcome.error["errorType"] == "PLUGIN_ERROR"
    assert "hush" not in str(outcome)


async def test_a_plug_in_that_cannot_be_made_fails_its_job_only(
    bench: Bench,
) -> None:
    def broken(_self: object) -> None:
        raise ZeroDivisionError

    bench.sdk = type("Broken", (bench.sdk,), {"__init__": broken})
    outcome = await bench.fails()
    assert outcome.error["errorType"] == "PLUGIN_ERROR"
    assert "ZeroDivisionError" in outcome.error["message"]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        5,
        {"text": "{}"},
        Completion(cast("str", None)),
        Completion("{}", cast("Usage", None)),
        Completion("{}", Usage(cast("int", None), 5)),
    ],
    ids=["None", "number", "dict", "no text", "no usage", "no tokens"],
)
async def test_a_plug_in_that_returns_nonsense_fails_its_job_only(
    bench: Bench, answer: Any
) -> None:
    async def give() -> Any:
        return answer

    outcome = await bench.fails(give)
    assert outcome.error["errorType"] == "PLUGIN_ERROR"


async def test_a_plug_in_that_cancels_itself_fails_its_job_only(
    bench: Bench,
) -> None:
    outcome = await bench.fails(asyncio.CancelledError())
    assert outcome.error["errorType"] == "PLUGIN_ERROR"


async def test_a_plug_in_that_exits_fails_its_job_only(bench: Bench) -> None:
    outcome = await bench.fails(SystemExit(3))
    assert outcome.error["errorType"] == "PLUGIN_ERROR"


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_plug_in_that_hangs_is_a_timeout(bench: Bench) -> None:
    bench.timeout = 0.02
    outcome = await bench.is_requeued(for_ever)
    assert outcome.failures == 1
    assert outcome.reason == "No answer within 0.02 s"


async def test_a_plug_in_that_hangs_every_time_fails_its_job(
    bench: Bench,
) -> None:
    bench.timeout = 0.02
    outcome = await bench.fails(for_ever, attempts=MAX_ATTEMPTS, failures=2)
    assert outcome.error["errorType"] == "TIMEOUT"


async def test_a_synchronous_plug_in_that_hangs_is_a_timeout_too(
    bench: Bench,
) -> None:
    released, ended = threading.Event(), threading.Event()

    class Hanging(BaseLLMSDK):
        needs_key = False

        @classmethod
        def get_name(cls) -> str:
            return "scripted"

        def validate_config(self, config: LLMConfig) -> None:
            """Take any settings."""

        def complete(self, _request: CompletionRequest) -> Completion:
            released.wait(30)
            ended.set()
            return Completion("{}")

        def stream(self, _request: CompletionRequest) -> Iterator[StreamItem]:
            raise NotImplementedError

    bench.sdk, bench.timeout = Hanging, 0.02
    outcome = await bench.fails(attempts=MAX_ATTEMPTS, failures=2)
    assert outcome.error["errorType"] == "TIMEOUT"
    released.set()
    assert await asyncio.to_thread(ended.wait, 20)


# --- What waits until an account is open again

_STOPPED = [
    errors.AccountExhaustedError("no credit", retry_after=900),
    errors.QuotaExhaustedError("come back tomorrow"),
    errors.NotAuthorizedError("no", http_status=401),
    errors.ModelNotFoundError("no such model"),
]


@pytest.mark.parametrize("error", _STOPPED, ids=lambda e: e.kind)
async def test_a_job_waits_while_its_models_account_is_stopped(
    bench: Bench, error: errors.LLMError
) -> None:
    outcome = await bench.is_requeued(error)
    assert (outcome.counted, outcome.waits_for) == (False, "suspended")
    # Nobody claims it meanwhile, so that it is due as soon as that ends.
    assert outcome.available_at - NOW <= 2000


async def test_a_job_whose_evaluation_needs_such_a_model_waits_longer(
    bench: Bench,
) -> None:
    error = errors.NotAuthorizedError("no", http_status=401)
    outcome = await bench.is_requeued('{"a": 1}', error, **THREE_STEPS)
    assert outcome.checkpoint is not None
    assert outcome.available_at - NOW >= 60_000


# --- What fails after the working step


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.BadRequestError("no"), "BAD_REQUEST"),
        (
            errors.NotAuthorizedError("no", http_status=403),
            "NOT_AUTHORIZED",
        ),
    ],
)
async def test_a_failed_evaluation_is_recorded(
    bench: Bench, error: errors.LLMError, kind: str
) -> None:
    outcome = await bench.succeeds('{"a": 1}', error, **THREE_STEPS)
    assert outcome.response_json == '{"a":1}'
    assert evaluation(outcome) == {"error": "no", "errorType": kind}
    assert outcome.suggested_prompt_id is None
    assert outcome.metrics == one_call()


async def test_an_evaluation_without_json_is_recorded_and_counts(
    bench: Bench,
) -> None:
    outcome = await bench.succeeds('{"a": 1}', "Well done!", **THREE_STEPS)
    assert outcome.response_json == '{"a":1}'
    recorded = evaluation(outcome)
    assert set(recorded) == {"error", "errorType"}
    assert recorded["errorType"] == "JSON_PARSING_ERROR"
    assert outcome.metrics == one_call() + one_call()
    # Without an evaluation there is nothing to learn from.
    assert outcome.suggested_prompt_id is None


async def test_a_failed_meta_step_is_recorded_beside_the_evaluation(
    bench: Bench,
) -> None:
    outcome = await bench.succeeds(
        '{"a": 1}', '{"score": 9}', errors.BadRequestError("no"), **THREE_STEPS
    )
    assert outcome.response_json == '{"a":1}'
    assert evaluation(outcome) == {
        "score": 9,
        "error": "no",
        "errorType": "BAD_REQUEST",
    }
    assert outcome.metrics == one_call() + one_call()


async def test_an_evaluation_that_is_no_object_is_kept_beside_the_error(
    bench: Bench,
) -> None:
    outcome = await bench.succeeds(
        "{}", "[9]", errors.BadRequestError("no"), **THREE_STEPS
    )
    assert evaluation(outcome) == {
        "result": [9],
        "error": "no",
        "errorType": "BAD_REQUEST",
    }


@pytest.mark.parametrize("text", ["", " \n "])
async def test_a_suggestion_without_text_is_recorded_and_counts(
    bench: Bench, text: str
) -> None:
    outcome = await bench.succeeds("{}", '{"score": 9}', text, **THREE_STEPS)
    recorded = evaluation(outcome)
    assert recorded["score"] == 9
    assert recorded["error"]
    assert bench.prompts.added == []
    assert outcome.suggested_prompt_id is None
    assert outcome.metrics == one_call() + one_call() + one_call()


@pytest.mark.parametrize(
    "step", ["eval-prompt", "eval-model", "meta-prompt", "meta-model"]
)
async def test_what_a_later_step_misses_is_recorded(
    bench: Bench, step: str
) -> None:
    bench.prompts.gone = {step}
    bench.models.found.pop(step, None)
    job = EVAL_ONLY if step.startswith("eval") else META_ONLY
    outcome = await bench.succeeds('{"a": 1}', **job)
    assert outcome.response_json == '{"a":1}'
    assert evaluation(outcome)["errorType"] == "NOT_FOUND"
    assert "not found" in evaluation(outcome)["error"]


async def test_a_key_that_a_later_step_misses_is_recorded(
    bench: Bench,
) -> None:
    bench.sdk = type("NeedsKey", (bench.sdk,), {"needs_key": True})
    bench.keys = ModelKeys({"KEY_WORKING_MODEL": "sk-hush"})
    outcome = await bench.succeeds("{}", **EVAL_ONLY)
    assert evaluation(outcome)["errorType"] == "MISSING_KEY"
    assert "KEY_EVAL_MODEL" in evaluation(outcome)["error"]
    assert "hush" not in str(outcome)


async def test_a_defect_of_a_plug_in_in_a_later_step_is_recorded(
    bench: Bench,
) -> None:
    outcome = await bench.succeeds("{}", ValueError("sk-hush"), **EVAL_ONLY)
    assert evaluation(outcome)["errorType"] == "PLUGIN_ERROR"
    assert "hush" not in str(outcome)


@pytest.mark.parametrize(
    ("error", "failures", "wait"),
    [
        (errors.RateLimitedError("x", retry_after=4), 0, 4000),
        (errors.OverloadedError("x"), 1, 1000),
    ],
    ids=["rate limit", "overload"],
)
async def test_a_step_that_must_wait_keeps_what_was_paid_for(
    bench: Bench,
    error: errors.LLMError,
    failures: int,
    wait: int,
) -> None:
    outcome = await bench.is_requeued(
        '{"a": 1}', '{"score": 9}', error, **THREE_STEPS
    )
    paid = Succeeded('{"a":1}', one_call() + one_call(), '{"score":9}')
    assert outcome == Requeued(
        NOW + wait,
        False,
        "x",
        checkpoint=paid,
        failures=failures,
        spent=None if failures else Spent(refusals=1).dump(),
    )
    bench.gates = ModelGates()
    again = await bench.succeeds(
        "Better", attempts=2, checkpoint=outcome.checkpoint, **THREE_STEPS
    )
    assert again == replace(
        paid,
        metrics=paid.metrics + one_call(),
        suggested_prompt_id="suggested-prompt",
    )
    assert bench.calls[-1].system == "META-PROMPT"


async def test_a_waiting_step_that_runs_out_of_attempts_is_recorded(
    bench: Bench,
) -> None:
    paid = Succeeded('{"a":1}', one_call())
    outcome = await bench.succeeds(
        errors.OverloadedError("full"),
        attempts=MAX_ATTEMPTS,
        failures=2,
        checkpoint=paid,
        **EVAL_ONLY,
    )
    assert outcome.response_json == '{"a":1}'
    assert outcome.metrics == one_call()
    assert evaluation(outcome) == {"error": "full", "errorType": "OVERLOADED"}


async def test_a_worker_that_stops_keeps_what_was_paid_for(
    bench: Bench,
) -> None:
    reached = asyncio.Event()

    async def wait() -> None:
        reached.set()
        await for_ever()

    bench.script.steps.extend(['{"a": 1}', wait])
    job = claimed_job(**EVAL_ONLY)
    running = asyncio.create_task(bench.pipeline().run(job))
    await asyncio.wait_for(reached.wait(), 20)
    running.cancel()
    assert await running == Requeued(
        NOW,
        counted=False,
        reason="the worker stopped",
        checkpoint=Succeeded('{"a":1}', one_call()),
    )


async def test_a_worker_that_stops_before_anything_is_paid_just_stops(
    bench: Bench,
) -> None:
    reached = asyncio.Event()

    async def wait() -> None:
        reached.set()
        await for_ever()

    bench.script.steps.append(wait)
    running = asyncio.create_task(bench.pipeline().run(claimed_job()))
    await asyncio.wait_for(reached.wait(), 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_database_that_is_away_between_steps_costs_nothing_twice(
    bench: Bench,
) -> None:
    def goes_away() -> Awaitable[Completion]:
        bench.prompts.failures = [AutoReconnect("gone")] * 3
        answer: asyncio.Future[Completion] = asyncio.Future()
        answer.set_result(Completion("{}", Usage(10, 5)))
        return answer

    waiting = await bench.is_requeued(goes_away, **THREE_STEPS)
    assert waiting.counted is False
    assert waiting.available_at > NOW
    bench.prompts.failures.clear()
    checkpoint = waiting.checkpoint
    outcome = await bench.succeeds(
        "{}", "Better", **THREE_STEPS, checkpoint=checkpoint
    )
    assert outcome.suggested_prompt_id == "suggested-prompt"
    assert outcome.metrics.input_tokens > 10
    assert len(bench.calls) == 3


async def test_while_the_database_is_away_a_suggestion_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than three pauses, which are drawn by lot.
    monkeypatch.setattr(pipeline_module, "_PATIENCE_SECONDS", 20.0)

    def goes_away() -> Awaitable[Completion]:
        bench.prompts.failures = [AutoReconnect("gone")] * 3
        answer: asyncio.Future[Completion] = asyncio.Future()
        answer.set_result(Completion("Better", Usage(10, 5)))
        return answer

    outcome = await bench.succeeds("{}", "{}", goes_away, **THREE_STEPS)
    assert outcome.suggested_prompt_id == "suggested-prompt"
    assert [request.prompt for request, _ in bench.prompts.added] == ["Better"]
    assert len(bench.calls) == 3


@pytest.mark.parametrize(
    "text",
    ["with \x00 in it", HALF, "x" * 4_000_001],
    ids=["null", "half a character", "too long"],
)
async def test_a_suggestion_that_is_no_valid_prompt_is_recorded(
    bench: Bench, text: str
) -> None:
    outcome = await bench.succeeds('{"a": 1}', "{}", text, **THREE_STEPS)
    assert outcome.response_json == '{"a":1}'
    assert evaluation(outcome)["error"]
    assert outcome.metrics == one_call() + one_call() + one_call()


async def test_a_suggestion_that_cannot_be_added_is_recorded_and_counts(
    bench: Bench,
) -> None:
    def refuse() -> Awaitable[Completion]:
        bench.prompts.failures = [RuleError("Too many versions")]
        answer: asyncio.Future[Completion] = asyncio.Future()
        answer.set_result(Completion("Better", Usage(10, 5)))
        return answer

    outcome = await bench.succeeds("{}", '{"score": 9}', refuse, **THREE_STEPS)
    assert evaluation(outcome)["error"] == "Too many versions"
    assert outcome.metrics == one_call() + one_call() + one_call()


@pytest.mark.parametrize("deep", ["request", "answer", "evaluation"])
async def test_what_is_as_deep_as_allowed_goes_through_all_steps(
    bench: Bench, deep: str
) -> None:
    text = payload.dump({"a": nested(MAX_DEPTH - 1)})
    texts = dict.fromkeys(("request", "answer", "evaluation"), "{}")
    texts[deep] = text
    outcome = await bench.succeeds(
        texts["answer"],
        texts["evaluation"],
        "Better",
        request_json=texts["request"],
        **THREE_STEPS,
    )
    assert outcome.response_json == texts["answer"]


# --- Around it


async def test_closing_the_caller_closes_every_plug_in_once(
    bench: Bench,
) -> None:
    catalog = Catalog(
        cast("ModelService", bench.models),
        cast("PromptService", bench.prompts),
    )
    caller = bench.caller()
    bench.script.steps.extend(["{}", "{}"])
    pipeline = Pipeline(
        caller,
        catalog,
        cast("PromptService", bench.prompts),
        max_attempts=MAX_ATTEMPTS,
    )
    for _ in range(2):
        await pipeline.run(claimed_job())
    await caller.close()
    await caller.close()
    assert len(bench.script.closed) == 1


def test_a_job_of_a_document_has_all_that_the_pipeline_needs() -> None:
    job = claimed_job(operation="sort", **THREE_STEPS)
    document = {
        "_id": job.job_id,
        "clientId": job.client_id,
        "leaseToken": job.lease_token,
        "attempts": job.attempts,
        "model": job.model,
        "workingPrompts": list(job.working_prompts),
        "temperature": job.temperature,
        "requestData": job.request_json,
        "evalPrompt": "eval-prompt",
        "evalModel": "eval-model",
        "metaPrompt": "meta-prompt",
        "metaModel": "meta-model",
        "operation": "sort",
    }
    assert ClaimedJob.from_document(document) == job


async def test_a_model_that_refuses_every_call_does_not_fill_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnlyHereError(errors.BadRequestError):
        kind = "ONLY_HERE"

    logs = logged(monkeypatch, retries_module)
    for _ in range(200):
        await bench.fails(OnlyHereError("no"))
    told = [log["count"] for log in logs if log["event"] == "step_failed"]
    assert len(told) <= 10
    assert told[0] == 1


# --- What tries without an answer cost, and how long jobs wait


class UnreadableError(errors.ProviderError):
    """An answer that was paid for and could not be read."""

    def __init__(self, text: str = "") -> None:
        super().__init__("unreadable")
        self.usage = Usage(10, 5)
        self.partial_text = text


@pytest.mark.parametrize("retry_after", [0.0, 0.2, None, -3.0])
async def test_no_job_comes_back_before_the_least_wait(
    bench: Bench, retry_after: float | None
) -> None:
    for chance in (0.0, 0.5, 1.0):
        bench.chance = chance
        for error in (
            errors.RateLimitedError("x", retry_after=retry_after),
            errors.OverloadedError("x", retry_after=retry_after),
        ):
            bench.gates = ModelGates()  # none that is closed by the last one
            outcome = await bench.is_requeued(error)
            # Lengthened at random by the gate, and again for each job.
            assert NOW + 1000 <= outcome.available_at <= NOW + 1875


async def test_jobs_refused_together_do_not_come_back_together(
    bench: Bench,
) -> None:
    due = set()
    for chance in (0.0, 0.25, 0.5):
        bench.chance = chance
        limited = errors.RateLimitedError("x", retry_after=8)
        due.add((await bench.is_requeued(limited)).available_at)
    assert len(due) == 3
    assert min(due) >= NOW + 8000


async def test_the_wait_grows_with_refusals_in_a_row(bench: Bench) -> None:
    waits, spent = [], None
    for _ in range(4):
        limited = errors.RateLimitedError("x", retry_after=0)
        bench.gates = ModelGates()  # none that is paused by the last one
        outcome = await bench.is_requeued(limited, spent=spent)
        waits.append(outcome.available_at - NOW)
        spent = outcome.spent
    for least, wait in zip((1000, 2000, 4000, 8000), waits, strict=True):
        assert least <= wait < 2 * least
    bench.gates = ModelGates()
    outcome = await bench.is_requeued(errors.OverloadedError("x"), spent=spent)
    assert Spent.load(outcome.spent).refusals == 0


async def test_failed_tries_that_were_paid_for_add_up(bench: Bench) -> None:
    first = await bench.is_requeued(UnreadableError())
    second = await bench.is_requeued(UnreadableError(), spent=first.spent)
    spent = Spent.load(second.spent)
    assert spent.metrics.input_tokens == 20
    assert spent.metrics.input_units == 2 * 10**8
    job = claimed_job(spent=second.spent)
    outcome = await bench.succeeds('{"a": 1}', spent=second.spent)
    stored = job_outcomes.changes(Result(job, outcome), NOW, MAX_ATTEMPTS)
    assert stored["processingMetrics"]["inputTokens"] == 30
    assert stored["processingMetrics"]["totalCost"] == 0.06


async def test_an_answer_that_cannot_be_read_is_asked_for_three_times(
    bench: Bench,
) -> None:
    spent = None
    for _ in range(2):
        outcome = await bench.is_requeued(
            UnreadableError("half of it"), spent=spent
        )
        spent = outcome.spent
    failed = await bench.fails(UnreadableError("half of it"), spent=spent)
    assert failed.error["failedResponseData"] == "half of it"
    job = claimed_job(spent=spent)
    stored = job_outcomes.changes(Result(job, failed), NOW, MAX_ATTEMPTS)
    assert stored["processingMetrics"]["inputTokens"] == 30
    # Submitted again, it goes on counting.
    assert Spent.load(stored["spent"]).metrics.input_tokens == 30
    assert Spent.load(stored["spent"]).unreadable == 0


async def test_what_is_kept_of_an_unreadable_answer_is_bounded(
    bench: Bench,
) -> None:
    spent = Spent(unreadable=2).dump()
    failed = await bench.fails(UnreadableError("x" * 300_000), spent=spent)
    assert len(failed.error["failedResponseData"]) == 100_000


# --- Thoughts, limits and defects


async def test_thoughts_are_no_part_of_a_suggested_prompt(
    bench: Bench,
) -> None:
    thoughts = "<think>\nI will write: bad.\n</think>\n\n"
    await bench.succeeds(
        "{}", '<think>{"score": 1}</think>{"score": 9}',
        f"{thoughts}Better", **THREE_STEPS,
    )  # fmt: skip
    ((draft, _),) = bench.prompts.added
    assert draft.prompt == "Better"


async def test_a_suggestion_of_thoughts_alone_is_none(bench: Bench) -> None:
    outcome = await bench.succeeds("{}", "<think>hm", **META_ONLY)
    assert bench.prompts.added == []
    assert evaluation(outcome)["errorType"] == "NO_SUGGESTION"
    assert outcome.step_error is not None
    assert payload.load(outcome.step_error)["step"] == "meta"


async def test_thoughts_are_no_part_of_a_text(bench: Bench) -> None:
    outcome = await bench.succeeds("<think>hm</think>\nDear", as_text=True)
    assert outcome.response_json == '{"text":"Dear"}'
    failed = await bench.fails("<think>hm</think>", as_text=True)
    assert failed.error["errorType"] == "NO_ANSWER"
    assert failed.error["failedResponseData"] == "<think>hm</think>"


async def test_of_several_values_the_one_that_fits_is_taken(
    bench: Bench,
) -> None:
    outcome = await bench.succeeds(
        'See [1, 2]: {"b": 1} and {"a": 2} or ["x"].', response_schema=SCHEMA
    )
    assert outcome.response_json == '{"a":2}'


async def test_an_echo_of_the_request_is_not_the_answer(bench: Bench) -> None:
    outcome = await bench.succeeds(
        'Output {"a": 1} for {"t": 2}', request_json='{"t":2}'
    )
    assert outcome.response_json == '{"a":1}'


RECURSIVE = (
    '{"$ref":"#/$defs/n","$defs":{"n":{"anyOf":[{"properties":{"x":'
    '{"$ref":"#/$defs/n"}},"required":["y"]},{"properties":{"x":{"$ref":'
    '"#/$defs/n"}},"required":["y"]}]}}}'
)


async def test_a_check_that_takes_too_long_ends_the_job_and_keeps_the_answer(
    bench: Bench,
) -> None:
    answer = '{"x":' * 60 + "{}" + "}" * 60
    failed = await bench.fails(answer, response_schema=RECURSIVE)
    assert failed.error["errorType"] == "VALIDATION_LIMIT"
    assert failed.error["failedResponseData"] == answer
    assert failed.metrics == one_call()


async def test_a_long_answer_of_code_is_refused_soon(bench: Bench) -> None:
    code = "def f():\n    return {k: v for k, v in d.items()}\n" * 4000
    failed = await bench.fails(code)
    assert failed.error["errorType"] == "JSON_PARSING_ERROR"


async def test_a_defect_in_a_later_step_keeps_the_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(pipeline_module, "_with_cost_of", broken)
    outcome = await bench.succeeds('{"a": 1}', "{}", **EVAL_ONLY)
    assert outcome.response_json == '{"a":1}'
    assert evaluation(outcome)["errorType"] == "INTERNAL_ERROR"
