"""One call to a model: its settings, its key, its plug-in, its price."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.services.calls.catalog import Catalog
from api.services.calls.model_access import ModelAccess, plugin_error
from api.services.monitoring.observer import NOBODY, OK, CallEnd, Observer
from llm_sdks import errors
from llm_sdks.base_sdk import BaseLLMSDK, Completion, CompletionRequest
from llm_sdks.resilience.model_gate import ModelGate


@dataclass(frozen=True, slots=True)
class Call:
    """What one step of a job asks a model.

    `key` is the same whenever the same step of the same job is asked.
    """

    model: str
    system: str
    user: str
    temperature: float
    key: str | None = None
    # The JSON Schema of the answer, as JSON.
    response_schema: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what that cost.

    `cut` says why the answer is not whole, if it is not.
    """

    completion: Completion
    metrics: Metrics
    model: ModelWithKey
    cut: errors.PartialAnswerError | None = None


class FailedCallError(Exception):
    """A call that gave no answer: why, of which model.

    `is_outage` tells that it is the provider that fails, not this call:
    its breaker is open.
    """

    def __init__(
        self, error: errors.LLMError, model: ModelWithKey, *, is_outage: bool
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.model = model
        self.is_outage = is_outage


class LLMCaller:
    """Makes calls for one worker; its plug-ins live in that worker's loop."""

    def __init__(
        self,
        catalog: Catalog,
        access: ModelAccess,
        *,
        observer: Observer = NOBODY,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._catalog = catalog
        self._access = access
        self._observer = observer
        self._timer = timer

    async def call(self, call: Call) -> Answer:
        """Make one call.

        Raises:
            FailedCallError: there is no answer, whatever the reason.
            MissingModelKeyError: names the variable that should be set.
            NotFoundError: the model is gone.
        """
        model = await self._catalog.model(call.model)
        gate = self._access.gate(model)
        try:
            return await self._call(model, gate, call)
        except errors.LLMError as error:
            raise FailedCallError(
                error, model, is_outage=gate.is_closed_by_breaker
            ) from error

    async def _call(
        self, model: ModelWithKey, gate: ModelGate, call: Call
    ) -> Answer:
        opened = self._access.open(model)
        request = opened.request(
            call.system,
            call.user,
            call.temperature,
            response_schema=call.response_schema,
            idempotency_key=call.key,
        )
        async with gate.passing():
            started = self._timer()
            try:
                completion, cut = (
                    await self._complete(opened.sdk, request),
                    None,
                )
            except errors.PartialAnswerError as error:
                completion, cut = _what_came(error), error
            except errors.LLMError as error:
                seconds = self._timer() - started
                self._observer.call_ended(
                    CallEnd.failed(model, error, seconds)
                )
                raise
            seconds = self._timer() - started
        metrics = Metrics.of_usage(completion.usage, seconds, model.cost)
        outcome = OK if cut is None else cut.kind
        self._observer.call_ended(CallEnd(model, outcome, seconds, metrics))
        return Answer(completion, metrics, model, cut)

    async def close(self) -> None:
        """Close the plug-ins' connections."""
        await self._access.close()

    async def _complete(
        self, sdk: BaseLLMSDK, request: CompletionRequest
    ) -> Completion:
        try:
            async with asyncio.timeout(request.timeout):
                return _checked(await sdk.acomplete(request))
        except errors.LLMError:
            raise
        except TimeoutError:
            raise errors.CallTimeoutError(
                f"No answer within {request.timeout:g} s"
            ) from None
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            raise plugin_error(sdk.get_name(), error) from error
        except (Exception, SystemExit) as error:
            # Somebody else's code: whatever it raises ends this job only.
            raise plugin_error(sdk.get_name(), error) from error


def _what_came(error: errors.PartialAnswerError) -> Completion:
    return Completion(
        error.partial_text, error.usage, error.kind, error.request_id
    )


def _is_being_cancelled() -> bool:
    # Told from a plug-in that cancels itself.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _checked(completion: Any) -> Completion:  # noqa: ANN401 - a plug-in's
    """Make sure that a plug-in returned what it should."""
    if isinstance(completion, Completion):
        kept: Any = completion
        counts = (
            getattr(kept.usage, "input_tokens", None),
            getattr(kept.usage, "output_tokens", None),
        )
        if isinstance(kept.text, str) and all(
            isinstance(count, int) for count in counts
        ):
            return completion
    raise TypeError("complete() must return a Completion")
