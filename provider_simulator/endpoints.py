"""What can be called: models of a vendor, and a plain message."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from pydantic_core import to_json

from provider_simulator.answers import answer
from provider_simulator.defects import with_defect
from provider_simulator.limits import Allowance
from provider_simulator.script import Rule
from provider_simulator.settings import FailureKind
from provider_simulator.simulation import Simulation
from provider_simulator.values import (
    Call,
    Event,
    Headers,
    RefusedError,
    Reply,
    Request,
)
from provider_simulator.wire import Wire, next_number

_LONGEST_DELAY_MS = 30_000
_ERRORS = 400
_KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")


@dataclass(frozen=True, slots=True)
class Job:
    """One call that was read: what is to be done for it.

    `work` takes whether the answer is held back by a filter. Calls with
    the same idempotency key and the same `scope` are the same call.
    """

    scope: str
    work: Callable[[bool], Awaitable[Reply]]
    failure: FailureKind | None = None


class Endpoint(ABC):
    """Something that can be called."""

    name: str

    @abstractmethod
    def read(self, request: Request) -> Job:
        """Read a request.

        Raises:
            RefusedError: it is not as it must be.
        """

    @abstractmethod
    def refusal(self, error: RefusedError, request: Request) -> Reply:
        """Give an error the endpoint's form."""

    def problem_event(self, error: RefusedError) -> Event | None:
        """Return an error in the middle of a stream."""
        del error
        return None

    def limit_headers(self, allowance: Allowance) -> Headers:
        """Return what callers are told about the rate limit."""
        del allowance
        return ()


class ModelEndpoint(Endpoint):
    """Models in a vendor's wire format."""

    def __init__(self, wire: Wire, simulation: Simulation) -> None:
        self.name = wire.name
        self._wire = wire
        self._simulation = simulation

    def read(self, request: Request) -> Job:
        """Read a call, and find the rule that answers it."""
        self._check_key(request)
        call = self._wire.read(request)
        rule = self._simulation.script.take(call)

        async def work(filtered: bool) -> Reply:  # noqa: FBT001
            await self._wait(rule)
            if rule is None or (rule.body is None and rule.status < _ERRORS):
                return self._spoken(call, rule, filtered=filtered)
            return self._scripted(rule, request)

        kind = "stream" if call.stream else "whole"
        return Job(
            f"{kind} {request.path}", work, rule.failure if rule else None
        )

    def refusal(self, error: RefusedError, request: Request) -> Reply:
        """Give an error the vendor's form."""
        return self._wire.refusal(error, request)

    def problem_event(self, error: RefusedError) -> Event:
        """Return the vendor's error in the middle of a stream."""
        return self._wire.stream_problem(error, next_number())

    def limit_headers(self, allowance: Allowance) -> Headers:
        """Return the vendor's headers about a rate limit."""
        return self._wire.limit_headers(
            allowance.limit, allowance.remaining, allowance.seconds
        )

    def _check_key(self, request: Request) -> None:
        wanted = self._simulation.settings.api_key
        if wanted is None:
            return
        bearer = request.headers.get("authorization", "")
        given = {request.headers.get(name) for name in _KEY_HEADERS}
        given |= {bearer.removeprefix("Bearer "), request.parameter("key")}
        if wanted not in given:
            raise RefusedError(
                401, "unauthorized", "Incorrect API key provided."
            )

    async def _wait(self, rule: Rule | None) -> None:
        latency = self._simulation.chance.latency()
        if rule is not None and rule.latency_ms is not None:
            latency = rule.latency_ms / 1000
        if latency:
            await self._simulation.sleep(latency)

    def _scripted(self, rule: Rule, request: Request) -> Reply:
        """Give the body or the error that a rule has."""
        if rule.body is not None:
            reply = Reply(to_json(rule.body), rule.status)
        else:
            reply = self._wire.refusal(_error_of(rule), request)
        return _with_headers(reply, rule)

    def _spoken(
        self, call: Call, rule: Rule | None, *, filtered: bool
    ) -> Reply:
        settings = self._simulation.settings
        spoken = answer(call, settings, rule, filtered=filtered)
        if rule is None and not filtered:
            spoken = with_defect(call, spoken, settings)
        if not self._wire.charges_cache_writes:
            tokens = replace(spoken.tokens, cache_write=0)
            spoken = replace(spoken, tokens=tokens)
        self._simulation.invoice.bill(
            call.model, spoken.tokens, settings.prices
        )
        reply = self._wire.reply(call, spoken)
        if rule is not None:
            reply = _with_headers(reply, rule)
        if settings.tokens_per_second is None:
            return reply
        return replace(reply, seconds_a_token=1 / settings.tokens_per_second)


class MessageEndpoint(Endpoint):
    """`GET /msg?delay=MS`: a new id each time, unless keys are the same."""

    name = "message"

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def read(self, request: Request) -> Job:
        """Read the delay."""
        delay = _delay(request.parameter("delay"))

        async def work(filtered: bool) -> Reply:  # noqa: FBT001
            del filtered
            latency = self._simulation.chance.latency()
            seconds = latency if delay is None else delay / 1000
            if seconds:
                await self._simulation.sleep(seconds)
            return Reply(to_json({"message_id": str(uuid4())}))

        return Job("message", work)

    def refusal(self, error: RefusedError, request: Request) -> Reply:
        """Give an error as `{"detail": ...}`."""
        del request
        return detail(error.status, error.message, error.retry_after)


def detail(
    status: int, message: str, retry_after: float | None = None
) -> Reply:
    """Make an error that belongs to no vendor."""
    headers: Headers = ()
    if retry_after is not None:
        headers = (("retry-after", str(-int(-retry_after // 1))),)
    body = to_json({"detail": message})
    return Reply(body, status=status, headers=headers)


def _with_headers(reply: Reply, rule: Rule) -> Reply:
    headers = (*reply.headers, *rule.headers.items())
    return replace(reply, headers=headers)


def _error_of(rule: Rule) -> RefusedError:
    message = rule.message or "An error from the script."
    return RefusedError(
        rule.status, "scripted", message, retry_after=rule.retry_after
    )


def _delay(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        delay = int(text)
    except ValueError:
        delay = -1
    if not 0 <= delay <= _LONGEST_DELAY_MS:
        raise RefusedError(
            422, "invalid", f"delay must be 0 to {_LONGEST_DELAY_MS} (ms)"
        )
    return delay
