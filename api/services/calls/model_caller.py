"""Make one call to a model, whole or streamed.

The only place that opens a model, admits a call, times and prices it, and
reports to the observer how it ended.
"""

import asyncio
import time
from collections.abc import (
    Awaitable,
    Callable,
)
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    nullcontext,
    suppress,
)
from functools import partial
from typing import Any, Protocol, TypeVar

from api.models.charge import Charge
from api.models.metrics import Metrics
from api.services.calls.credentials import by_turns
from api.services.calls.failures import closable, failures_of
from api.services.calls.model_access import (
    ModelAccess,
    OpenModel,
    TokenNeededError,
)
from api.services.calls.model_call import (
    CallProgress,
    FailedCallError,
    ModelAnswer,
    ModelCall,
    SlowReaderError,
)
from api.services.monitoring.observer import NOBODY, OK, CallEnd, Observer
from llm_sdks import errors
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    StreamItem,
    Usage,
)
from llm_sdks.formats.allowances import headers_of_answer

T = TypeVar("T")
Timer = Callable[[], float]
# Takes a piece of a streamed answer; may wait for its reader.
Deliver = Callable[[str], Awaitable[None]]
# Carries one call; notes in its progress what comes.
Transfer = Callable[
    [BaseLLMSDK, CompletionRequest, CallProgress], Awaitable[Completion]
]
SLOW_READER = "CLIENT_TOO_SLOW"
# A failure in the middle of a stream is the reader's doing if at least this
# share of the call's time was spent on waiting for the reader.
_READERS_SHARE = 0.5


class Admits(Protocol):
    """Decides whether a call may be made now: `limits.admission`."""

    def passing(
        self, call: ModelCall, progress: CallProgress
    ) -> AbstractAsyncContextManager[None]:
        """Let what is inside make the call.

        Raises:
            ModelUnavailableError: it must wait.
        """


class _Unlimited:
    """Admits every call."""

    def passing(
        self,
        call: ModelCall,  # noqa: ARG002 - the interface
        progress: CallProgress,  # noqa: ARG002 - the interface
    ) -> AbstractAsyncContextManager[None]:
        return nullcontext()


class ModelCaller:
    """Makes calls in one event loop, in which its plug-ins live."""

    def __init__(
        self,
        access: ModelAccess,
        *,
        admission: Admits | None = None,
        observer: Observer = NOBODY,
        timer: Timer = time.perf_counter,
        wall: Timer = time.time,
    ) -> None:
        self._access = access
        self._admission = admission or _Unlimited()
        self._observer = observer
        self._timer = timer
        self._wall = wall

    @property
    def access(self) -> ModelAccess:
        """The way to the models' providers."""
        return self._access

    async def complete(self, call: ModelCall) -> ModelAnswer:
        """Return the whole answer.

        Raises:
            FailedCallError: there is no answer, whatever the reason.
            MissingModelKeyError: names the variable that should be set.
        """
        return await self.run(call, CallProgress(), _whole)

    async def stream(
        self, call: ModelCall, deliver: Deliver, progress: CallProgress
    ) -> ModelAnswer:
        """Deliver the answer piece by piece; return it when it has ended.

        `progress` is kept up to date, also when the call fails or is
        cancelled.

        Raises:
            FailedCallError: the answer failed or broke off.
            MissingModelKeyError: names the variable that should be set.
            SlowReaderError: the reader did not take what came.
        """
        transfer = partial(_streamed, deliver=deliver, timer=self._timer)
        return await self.run(call, progress, transfer)

    async def close(self) -> None:
        """Close the plug-ins' connections."""
        await self._access.close()

    async def run(
        self, call: ModelCall, progress: CallProgress, transfer: Transfer
    ) -> ModelAnswer:
        """Make a call in whatever way `transfer` carries it.

        `progress` is kept up to date, also when the call fails or is
        cancelled.

        Raises:
            FailedCallError: there is no answer, whatever the reason.
            MissingModelKeyError: names the variable that should be set.
        """
        model, gate = call.model, self._access.gate(call.model)
        headers_of_answer.set(progress.take_headers)
        try:
            make = await self._prepared(call, progress, transfer)
            async with (
                self._admission.passing(call, progress),
                gate.passing(call.account.turn, waits=not call.gives_way),
            ):
                return await self._make(call, progress, make())
        except errors.LLMError as error:
            raise FailedCallError(
                error,
                model,
                progress.metrics(model),
                is_outage=gate.is_closed_by_breaker,
            ) from error

    async def _prepared(
        self, call: ModelCall, progress: CallProgress, transfer: Transfer
    ) -> Callable[[], Awaitable[Completion]]:
        """Make ready for a call; return what makes it."""

        async def attempt(key: str | None = None) -> Completion:
            opened, request = await self._ready(call, key)
            try:
                return await transfer(opened.sdk, request, progress)
            except errors.NotAuthorizedError:
                if progress.has_begun or not self._access.renews(opened):
                    raise
            opened, request = await self._ready(call, key)
            return await transfer(opened.sdk, request, progress)

        pool = self._access.pool(call.model)
        if pool is not None:
            return lambda: by_turns(pool, call.model.name, attempt, progress)
        try:
            opened = self._access.open(call.model)
        except TokenNeededError:
            # What is wrong with the credential suspends the model, as its
            # provider's refusal does: it is exchanged inside the call.
            return attempt
        if opened.credential is not None:
            return attempt
        request = await _prepared_request(opened, call)
        return lambda: transfer(opened.sdk, request, progress)

    async def _ready(
        self, call: ModelCall, key: str | None
    ) -> tuple[OpenModel, CompletionRequest]:
        opened = await self._access.ready(call.model, key)
        return opened, await _prepared_request(opened, call)

    async def _make(
        self,
        call: ModelCall,
        progress: CallProgress,
        transfer: Awaitable[Completion],
    ) -> ModelAnswer:
        """Time and charge the call; tell the observer how it ended."""
        started, outcome, cut = self._timer(), OK, None
        model, progress.is_batch = call.model, call.account.is_batch
        try:
            completion = await transfer
        except errors.PartialAnswerError as error:
            completion, cut, outcome = _what_came(error), error, error.kind
        except errors.LLMError as error:
            outcome = error.kind
            raise
        except SlowReaderError:
            outcome = SLOW_READER
            raise
        except asyncio.CancelledError:
            outcome = progress.canceled_as
            raise
        finally:
            progress.seconds = self._timer() - started
            progress.ended_at = self._wall()
            metrics = progress.cost = progress.metrics(model)
            _charge(call, progress, metrics, has_answer=cut is not None)
            self._observer.call_ended(
                CallEnd(
                    model,
                    outcome,
                    progress.seconds,
                    metrics,
                    progress.time_to_first_token,
                )
            )
        return ModelAnswer(completion, metrics, model, cut)


def _request(opened: OpenModel, call: ModelCall) -> CompletionRequest:
    if call.conversation is not None:
        return opened.conversation(call.conversation, call.key)
    return opened.request(
        call.system,
        call.user,
        call.temperature,
        response_schema=call.response_schema,
        idempotency_key=call.key,
    )


async def _prepared_request(
    opened: OpenModel, call: ModelCall
) -> CompletionRequest:
    request = _request(opened, call)
    if not opened.is_prepared:
        await _prepare(opened, request)
    return request


async def _prepare(opened: OpenModel, request: CompletionRequest) -> None:
    # What fails here fails again in the call, and is reported there.
    with suppress(Exception):
        async with asyncio.timeout(request.timeout):
            await opened.sdk.aprepare(request)
        opened.is_prepared = True


def _charge(
    call: ModelCall,
    progress: CallProgress,
    metrics: Metrics,
    *,
    has_answer: bool,
) -> None:
    """Charge a call that the provider has answered, be it in part.

    One whose tokens it has not reported has no known cost.
    """
    is_counted = progress.usage is not None
    is_answered = is_counted or progress.is_uncounted or has_answer
    if call.bill is None or not is_answered:
        return
    is_priced = is_counted and not progress.is_unpriced
    call.bill.add(
        Charge.of_call(
            call.model.name,
            metrics,
            is_priced=is_priced,
            credential=progress.credential,
            route=call.account.route,
        )
    )


async def _whole(
    sdk: BaseLLMSDK, request: CompletionRequest, progress: CallProgress
) -> Completion:
    async with failures_of(sdk, request, progress):
        completion = _checked(await sdk.acomplete(request))
    progress.usage = completion.usage
    return completion


async def _streamed(
    sdk: BaseLLMSDK,
    request: CompletionRequest,
    progress: CallProgress,
    *,
    deliver: Deliver,
    timer: Timer,
) -> Completion:
    started = timer()

    async def take(item: StreamItem) -> None:
        if isinstance(item, Usage):
            progress.usage = item
        elif item:
            now = timer()
            progress.note_first(now - started)
            progress.texts.append(item)
            progress.has_begun = True
            await deliver(item)
            progress.reader_seconds += timer() - now

    try:
        async with (
            failures_of(sdk, request, progress),
            aclosing(closable(sdk.astream(request))) as items,
        ):
            async for item in items:
                await take(item)
    except errors.LLMError as error:
        if progress.reader_seconds > (timer() - started) * _READERS_SHARE:
            raise SlowReaderError(
                "The call failed while it waited for the client to read"
            ) from error
        raise
    return Completion(progress.text, progress.usage or Usage())


def _what_came(error: errors.PartialAnswerError) -> Completion:
    return Completion(
        error.partial_text, error.usage, error.kind, error.request_id
    )


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
