"""One request of a vendor's interface, from its beginning to its record."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog
from pydantic_core import to_json

from api.core.dialects import Problem
from api.core.errors import ParameterError
from api.models.charge import Bill
from api.models.job_fields import ServiceClass
from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.services.calls.live_stream import HUNG_UP, StreamEnd, StreamError
from api.services.calls.model_call import (
    Account,
    FailedCallError,
    ModelAnswer,
    ModelCall,
    SlowReaderError,
)
from api.services.calls.model_caller import SLOW_READER, ModelCaller
from api.services.calls.routing.fallback import UnsuitableTargetError
from api.services.calls.routing.routed import RoutedCall
from api.services.calls.routing.router import Target
from api.services.gateway.asked import Asked
from api.services.gateway.call_recorder import CallRecorder, EndedCall
from api.services.gateway.exchanges import older_exchange
from api.services.gateway.forwarding import Forwarding
from api.services.gateway.live_answer import Head, LiveAnswer
from api.services.gateway.passing import Passing
from api.services.gateway.problems import handed_on, problem_of, wait_of
from api.services.gateway.proxied import Proxied
from api.services.gateway.records import GATEWAY, CallRecord
from api.services.gateway.translating import Embedding, Translating
from config import MissingModelKeyError
from llm_sdks.errors import LLMError, PluginError
from llm_sdks.forwarding import Interface
from utilities.clock import Clock

_SHORTEST_WAIT_SECONDS = 0.05
_JSON = {"content-type": "application/json"}

log = structlog.get_logger(__name__)


def _unsuitable(error: ParameterError, model: ModelWithKey) -> FailedCallError:
    """Say that a model cannot be asked in this way."""
    unsuitable = UnsuitableTargetError(str(error))
    unsuitable.param = error.param
    return FailedCallError(unsuitable, model, Metrics(), is_outage=False)


# Carries the call: a `Transfer` that knows what the client has been told.
Exchange = Forwarding | Translating | Embedding | Passing


@dataclass(frozen=True, slots=True)
class AnsweringParts:
    """What all requests are answered with."""

    caller: ModelCaller
    recorder: CallRecorder
    clock: Clock
    # Servers of OpenAI's format that have no `/responses`: the models' ids
    # and endpoints.
    lacking: set[tuple[str, str]] = field(default_factory=set)


class Answering:
    """Makes the call of one request, writes its answer and its record."""

    def __init__(
        self,
        parts: AnsweringParts,
        asked: Asked | Proxied,
        routed: RoutedCall,
        record: CallRecord,
        live: LiveAnswer,
        exchange_of: Callable[[Target], Exchange],
    ) -> None:
        self._parts = parts
        self._asked = asked
        self._routed = routed
        self._record = record
        self._live = live
        self._received = time.perf_counter()
        self._bill = Bill()
        self._exchange_of = exchange_of
        # How the latest model is asked, once one is.
        self._exchange: Exchange | None = None

    @property
    def _model(self) -> ModelWithKey:
        return self._routed.model

    async def run(self) -> None:
        """Answer, and have it recorded how that ended."""
        error = await self._to_the_end()
        if self._asked.counts_only:
            return
        total = time.perf_counter() - self._received
        end = StreamEnd(self._live.progress, error, total)
        document = self._record.ended(
            end,
            end.metrics(self._model, self._routed.cost_before),
            self._parts.clock,
            self._routed.record(has_answer=self._has_answer(error)),
        )
        self._parts.recorder.add(EndedCall(document, self._bill))

    def _has_answer(self, error: StreamError | None) -> bool:
        return error is None or bool(self._live.progress.texts)

    async def _to_the_end(self) -> StreamError | None:
        try:
            answer = await self._call()
        except asyncio.CancelledError:
            return await self._stopped()
        except SlowReaderError as error:
            return StreamError(SLOW_READER, str(error))
        except FailedCallError as failed:
            return await self._failed(failed.error)
        except MissingModelKeyError as error:
            await self._failed(PluginError(str(error)))
            return StreamError(error.kind, str(error))
        except Exception as error:  # the client must not wait for ever
            log.exception("gateway_call_failed")
            await self._say(Problem(500, "Internal server error"))
            return StreamError("INTERNAL_ERROR", type(error).__name__)
        return await self._answered(answer)

    async def _answered(self, answer: ModelAnswer) -> StreamError | None:
        if answer.cut is not None:
            return await self._failed(answer.cut)
        if isinstance(self._exchange, Translating):
            self._learn(self._exchange.asked.interface)
        return None

    def _learn(self, interface: Interface) -> None:
        if interface is Interface.RESPONSES:
            model = self._model
            self._parts.lacking.add((model.model_id, model.endpoint))

    async def _call(self) -> ModelAnswer:
        """Make the call, again while it is held back by a limit."""
        loop, progress = asyncio.get_running_loop(), self._live.progress
        until = loop.time() + self._asked.max_wait
        while True:
            left = max(until - loop.time(), 0.0)
            call = self._model_call(left)
            try:
                return await self._routed.run(
                    partial(self._ask, call), progress
                )
            except FailedCallError as failed:
                wait = self._wait(failed, left)
            progress.begin_anew()
            await asyncio.sleep(wait)

    async def _ask(self, call: ModelCall, target: Target) -> ModelAnswer:
        """Ask one model."""
        progress, run = self._live.progress, self._parts.caller.run
        self._live.model_name = target.model.name
        try:
            self._exchange = self._exchange_of(target)
        except ParameterError as error:
            raise _unsuitable(error, target.model) from None
        call = target.call(call)
        try:
            return await run(call, progress, self._exchange)
        except FailedCallError as failed:
            if not self._translates_instead(failed.error):
                raise
        progress.begin_anew()
        return await run(call, progress, self._exchange)

    def _wait(self, failed: FailedCallError, left: float) -> float:
        """Return when the call can be made again (s); raise if it cannot."""
        wait = wait_of(failed.error)
        if wait is None or wait > left or self._live.has_begun:
            raise failed
        return max(wait, _SHORTEST_WAIT_SECONDS)

    def _translates_instead(self, error: LLMError) -> bool:
        """Take the older interface of a server that has no other."""
        asked, exchange = self._asked, self._exchange
        if not isinstance(exchange, Forwarding) or isinstance(asked, Proxied):
            return False
        older = older_exchange(
            asked,
            self._model,
            error,
            self._live,
            self._parts.clock() // 1000,
        )
        if older is None:
            return False
        self._exchange = older
        return True

    def _model_call(self, patience: float) -> ModelCall:
        return ModelCall(
            self._model,
            "",
            "",
            1.0,
            account=Account(
                self._record.client_id,
                GATEWAY,
                service_class=ServiceClass.INTERACTIVE,
            ),
            bill=self._bill,
            size=self._asked.size,
            patience=patience,
        )

    async def _stopped(self) -> StreamError:
        reason = self._live.stop_reason
        if reason.kind != HUNG_UP:
            await self._say(Problem(503, reason.message))
        return reason

    async def _failed(self, error: LLMError) -> StreamError:
        """Tell the client, by the provider's own words where there are."""
        content, problem = handed_on(error), problem_of(error)
        if content is not None and not self._live.has_begun:
            headers = self._headers(problem, error.request_id)
            status = error.http_status or problem.status
            head = Head(status, headers, len(content))
            await self._live.whole(head, content)
        elif self._exchange is None or not self._exchange.has_told:
            await self._say(problem, error.request_id)
        return StreamError(error.kind, str(error))

    async def _say(
        self, problem: Problem, request_id: str | None = None
    ) -> None:
        """Tell the client in its vendor's words, wherever the answer is."""
        dialect, live = self._asked.dialect, self._live
        shown = request_id or self._asked.request_id
        if live.has_begun and self._exchange is not None:
            # A reader that reads nothing cannot be told either.
            with suppress(SlowReaderError):
                await live.put(self._exchange.error_event(problem))
            return
        content = to_json(dialect.body(problem, shown))
        headers = self._headers(problem, shown)
        head = Head(dialect.status(problem), headers, len(content))
        await live.whole(head, content)

    def _headers(
        self, problem: Problem, request_id: str | None
    ) -> dict[str, str]:
        name = self._asked.dialect.request_id_header
        shown = request_id or self._asked.request_id
        return {**_JSON, name: shown, **problem.headers()}
