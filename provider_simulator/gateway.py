"""The way of a call: outage, limits, chance, idempotency, answer."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from provider_simulator.endpoints import Endpoint, Job, detail
from provider_simulator.settings import FailureKind
from provider_simulator.simulation import Simulation
from provider_simulator.values import (
    Delivery,
    Event,
    RefusedError,
    Reply,
    Request,
    Respond,
)

# Kinds of failure that are errors: status, what the vendor says.
_ERRORS: Mapping[FailureKind, tuple[int, str]] = {
    FailureKind.SERVER_ERROR: (
        500,
        "The server had an error while processing your request.",
    ),
    FailureKind.OVERLOADED: (503, "The service is currently overloaded."),
    FailureKind.RATE_LIMITED: (429, "Rate limit reached."),
    FailureKind.PROMPT_FILTER: (
        400,
        "The prompt was refused by the content filter.",
    ),
}
_DELIVERIES = {
    FailureKind.RESET: Delivery.RESET,
    FailureKind.HANG: Delivery.HANG,
    FailureKind.TRUNCATED: Delivery.TRUNCATED,
}
_INDUCED = detail(500, "Induced server failure")
_REFUSED = 400


class Gateway:
    """Takes calls of any endpoint through everything that is simulated."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    async def handle(
        self, endpoint: Endpoint, request: Request, respond: Respond
    ) -> None:
        """Answer one call, and count how it ended."""
        counters = self._simulation.counters
        counters.begin(endpoint.name)
        try:
            outcome = await self._handle(endpoint, request, respond)
        except asyncio.CancelledError:
            counters.disconnected += 1
            raise
        finally:
            counters.end()
        counters.answers[outcome] += 1

    async def _handle(
        self, endpoint: Endpoint, request: Request, respond: Respond
    ) -> str:
        # Before anything else, and so before the idempotency cache.
        if self._simulation.outages.strikes():
            await respond(_INDUCED)
            return "induced_failure"
        try:
            return await self._admitted(endpoint, request, respond)
        except RefusedError as error:
            await respond(endpoint.refusal(error, request))
            return error.reason

    async def _admitted(
        self, endpoint: Endpoint, request: Request, respond: Respond
    ) -> str:
        job = endpoint.read(request)
        allowance = self._simulation.rate.admit()
        failure = job.failure or self._simulation.chance.failure()
        async with AsyncExitStack() as held:
            # A place is held until the last byte of a stream.
            reply = await self._in_time(held, job, request, failure)
            reply = _damaged(endpoint, reply, failure)
            if allowance is not None:
                headers = endpoint.limit_headers(allowance)
                reply = replace(reply, headers=(*reply.headers, *headers))
            await respond(reply)
        return _outcome(reply, failure)

    async def _in_time(
        self,
        held: AsyncExitStack,
        job: Job,
        request: Request,
        failure: FailureKind | None,
    ) -> Reply:
        limit = self._simulation.settings.time_limit_ms
        try:
            async with asyncio.timeout(limit and limit / 1000):
                await held.enter_async_context(self._simulation.slots.place())
                return await self._made(job, request, failure)
        except TimeoutError:
            raise RefusedError(
                408, "timed_out", "Request timed out."
            ) from None

    async def _made(
        self, job: Job, request: Request, failure: FailureKind | None
    ) -> Reply:
        if failure is not None and failure in _ERRORS:
            raise await self._error(failure)
        key = request.headers.get("x-request-id") or request.headers.get(
            "idempotency-key"
        )
        # What is held back is held back from every try, and billed once.
        filtered = failure is FailureKind.CONTENT_FILTER
        if key is None:
            return await job.work(filtered)
        cache = self._simulation.cache
        if cache.knows((job.scope, key)):
            self._simulation.counters.duplicate(key)
        return await cache.get((job.scope, key), lambda: job.work(filtered))

    async def _error(self, failure: FailureKind) -> RefusedError:
        status, message = _ERRORS[failure]
        retry_after = None
        if failure is FailureKind.RATE_LIMITED:
            # A refusal takes no time; other errors take as long as answers.
            retry_after = self._simulation.settings.retry_after_seconds
        else:
            await self._simulation.sleep(self._simulation.chance.latency())
        return RefusedError(
            status, failure.value, message, retry_after=retry_after
        )


def _damaged(
    endpoint: Endpoint, reply: Reply, failure: FailureKind | None
) -> Reply:
    if failure in _DELIVERIES:
        return replace(reply, delivery=_DELIVERIES[failure])
    if failure is FailureKind.INVALID_JSON:
        return replace(reply, body=_no_json(reply.body))
    if failure is FailureKind.STREAM_ERROR:
        return _ending_in_error(endpoint, reply)
    return reply


def _no_json(body: bytes | tuple[Event, ...]) -> bytes | tuple[Event, ...]:
    if isinstance(body, bytes):
        return body[: len(body) // 2]
    middle = len(body) // 2
    event = body[middle]
    cut = event.data[: len(event.data) // 2] + b"\n\n"
    return (*body[:middle], Event(cut, event.tokens), *body[middle + 1 :])


def _ending_in_error(endpoint: Endpoint, reply: Reply) -> Reply:
    error = RefusedError(
        500, "stream_error", "The server had an error while answering."
    )
    last = endpoint.problem_event(error)
    if isinstance(reply.body, bytes) or last is None:
        raise error
    return replace(reply, body=(*reply.body[: len(reply.body) // 2], last))


def _outcome(reply: Reply, failure: FailureKind | None) -> str:
    if failure is not None:
        return failure.value
    return "scripted" if reply.status >= _REFUSED else "ok"
