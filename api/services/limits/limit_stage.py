"""The last stage of admission: does the call come under its limits now?"""

import asyncio
from collections.abc import Sequence

from api.services.calls.model_call import Account, CallProgress, ModelCall
from api.services.limits.admission import (
    AdmittedCall,
    NotAdmittedError,
    WaitKind,
)
from api.services.limits.limiter import Limiter, Scopes
from api.services.limits.place_scope import PlaceScope
from api.services.limits.rate_scope import LATE_MS, RateScope
from api.services.limits.slot import Slot
from api.services.limits.suspension import reason_of
from llm_sdks import errors
from llm_sdks.formats.allowances import Counted, Headers, allowance
from utilities.clock import Clock, now_ms

PATIENCE_SECONDS = 15.0
# Who does not want to wait waits so long for its turn, and so long for the
# database, where places and slots come from.
_SHORTEST_SECONDS = 0.5
_LEASE_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_TRIES = 5
# English text has about four characters a token; others have fewer.
_CHARACTERS_PER_TOKEN = 4
_FIRST_ANSWER = 200.0
_NEWEST = 0.2


class _Free:
    """A call without limits."""

    def ended(
        self,
        progress: CallProgress,
        error: BaseException | None,
    ) -> None:
        """Nothing was taken."""


_FREE = _Free()


class _Limited:
    """What one call has taken of its limits."""

    def __init__(self, stage: "LimitStage", call: ModelCall) -> None:
        self._stage = stage
        self._call = call
        self._estimate = stage.estimate(call)
        self._places: list[PlaceScope] = []
        self._slots: list[tuple[RateScope, Slot]] = []
        self._token_scopes: list[RateScope] = []
        self._request_scopes: list[RateScope] = []

    async def take_places(
        self, limits: Sequence[Scopes], patience: float
    ) -> None:
        """Take a place of every limit of calls at once."""
        for each in limits:
            places = each.places
            if places is not None:
                seconds = self._patience(patience, is_over=places.is_full())
                await places.take(self._call.account, seconds)
                self._places.append(places)

    async def take_slots(
        self, limits: Sequence[Scopes], patience: float
    ) -> float:
        """Take a slot of every rate; return the time of the last (ms)."""
        account = self._call.account
        for each in limits:
            if each.requests is not None:
                await self._slot(each.requests, account, 1.0, patience)
                self._request_scopes.append(each.requests)
            if each.tokens is not None:
                units = self._estimate
                await self._slot(each.tokens, account, units, patience)
                self._token_scopes.append(each.tokens)
        return max((slot.moment for _, slot in self._slots), default=0.0)

    def begin(self, now: float) -> bool:
        """Use up the slots; False if they are of no use.

        They have passed: a thread that could not run for a moment would
        otherwise make the calls of all that time at once. Or an interactive
        call has taken one.
        """
        slots, self._slots = self._slots, []
        latest = max((slot.moment for _, slot in slots), default=now)
        is_late = now - latest > LATE_MS
        account = self._call.account
        own = [pair for pair in slots if pair[0].use(account, pair[1])]
        if not is_late and len(own) == len(slots):
            return True
        for scope, slot in own:
            if not is_late:
                scope.put_back(slot)
            elif scope in self._token_scopes:
                scope.settle(-slot.units)
        self._token_scopes.clear()
        self._request_scopes.clear()
        return False

    def undo(self) -> None:
        """Give everything back: the call is not made."""
        for scope, slot in self._slots:
            scope.give_back(self._call.account, slot)
        self._leave()

    def ended(
        self, progress: CallProgress, error: BaseException | None
    ) -> None:
        """Settle the tokens, leave the place, learn of a refusal."""
        self._leave()
        usage = progress.usage
        used = usage.input_tokens + usage.output_tokens if usage else 0
        if usage is not None:
            self._stage.learn(self._call, usage.output_tokens)
        elif error is None:
            used = round(self._estimate)
        for scope in self._token_scopes:
            scope.settle(used - self._estimate)
        if progress.headers is not None:
            self._hear(progress.headers)
        if isinstance(error, errors.RateLimitedError) and not reason_of(error):
            for scope in self._request_scopes[-1:]:
                scope.push(error.retry_after or _RETRY_SECONDS)

    def _hear(self, headers: Headers) -> None:
        """Slow down where the provider says that little is left."""
        for scopes, counted in (
            (self._request_scopes, Counted.REQUESTS),
            (self._token_scopes, Counted.TOKENS),
        ):
            # The last one is the model's.
            for scope in scopes[-1:]:
                left = allowance(
                    headers, counted, scope.next_block, scope.per_minute
                )
                if left is not None:
                    scope.correct(left)

    async def _slot(
        self,
        scope: RateScope,
        account: Account,
        units: float,
        patience: float,
    ) -> None:
        is_over = scope.seconds_ahead() > patience
        seconds = self._patience(patience, is_over=is_over)
        if is_over and self._call.patience is not None:
            raise TimeoutError
        slot = await scope.slot(account, units, seconds)
        self._slots.append((scope, slot))

    def _patience(self, patience: float, *, is_over: bool) -> float:
        """Return how long to wait for a place or a slot (s).

        A limit that is not reached costs a look at the database at most:
        it is no reason to refuse a call.
        """
        if is_over or self._call.patience is None:
            return patience
        return max(patience, _LEASE_SECONDS)

    def _leave(self) -> None:
        for places in self._places:
            places.leave(self._call.account)
        self._places.clear()


class LimitStage:
    """Lets calls wait until their limits have room."""

    def __init__(
        self,
        limiter: Limiter,
        clock: Clock = now_ms,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._limiter = limiter
        self._clock = clock
        self._patience = patience
        # The usual length of an answer, by model.
        self._answers: dict[str, float] = {}

    async def admit(self, call: ModelCall) -> AdmittedCall:
        """Wait for a place and for the time of the call's slots.

        Raises:
            NotAdmittedError: that would take too long.
        """
        limits = self._limiter.of_call(call.model, call.account.client_id)
        if not limits:
            return _FREE
        taken = _Limited(self, call)
        patience = self._patience
        if call.patience is not None:
            patience = max(call.patience, _SHORTEST_SECONDS)
        try:
            await taken.take_places(limits, patience)
            await self._take_slots(taken, limits, patience)
        except TimeoutError:
            taken.undo()
            raise _too_busy(call, _RETRY_SECONDS) from None
        except BaseException:
            taken.undo()
            raise
        return taken

    async def _take_slots(
        self, taken: _Limited, limits: Sequence[Scopes], patience: float
    ) -> None:
        for _ in range(_TRIES):
            moment = await taken.take_slots(limits, patience)
            await self._wait(moment, patience)
            if taken.begin(self._clock()):
                return
        raise TimeoutError

    async def _wait(self, moment: float, patience: float) -> None:
        """Wait until a moment (ms).

        Raises:
            TimeoutError: it is too far ahead.
        """
        seconds = (moment - self._clock()) / 1000
        if seconds > patience:
            raise TimeoutError
        if seconds > 0:
            await asyncio.sleep(seconds)

    def estimate(self, call: ModelCall) -> float:
        """Estimate the tokens of a call before it is made."""
        text = len(call.system) + len(call.user)
        if call.size is not None:
            text = call.size.input_bytes
        answer = self._answers.get(call.model.model_id, _FIRST_ANSWER)
        return max(text / _CHARACTERS_PER_TOKEN + answer, 1.0)

    def learn(self, call: ModelCall, tokens: int) -> None:
        """Take note of the length of an answer."""
        model_id = call.model.model_id
        usual = self._answers.get(model_id, float(tokens))
        self._answers[model_id] = usual + _NEWEST * (tokens - usual)


def _too_busy(call: ModelCall, seconds: float) -> NotAdmittedError:
    return NotAdmittedError(
        WaitKind.LIMIT,
        f"The limits of model {call.model.name} or of the client leave no "
        "room at present",
        seconds,
        holds_claims=True,
    )
