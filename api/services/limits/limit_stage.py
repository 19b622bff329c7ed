"""The last stage of admission: does the call come under its limits now?"""

import asyncio
from collections.abc import Iterator

from api.services.calls.model_call import Account, CallProgress, ModelCall
from api.services.limits.admission import (
    AdmittedCall,
    NotAdmittedError,
    WaitKind,
)
from api.services.limits.limiter import CallScopes, Limiter, Scopes
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

    def __init__(
        self, stage: "LimitStage", call: ModelCall, scopes: CallScopes
    ) -> None:
        self._stage = stage
        self._call = call
        self._scopes = scopes
        self._estimate = stage.estimate(call)
        # How many of its places it has.
        self._placed = 0
        self._slots: list[tuple[RateScope, Slot]] = []

    def take_now(self) -> bool:
        """Take all that it needs, if nothing of that has to be waited for.

        So do most calls of a model whose limits are not reached.
        """
        turn = self._call.account.turn
        for places in self._scopes.places:
            if not places.take_now(turn):
                self._leave()
                return False
            self._placed += 1
        used: list[tuple[RateScope, float]] = []
        for scope, units in self._rates():
            if not scope.use_now(units, is_urgent=turn.is_urgent):
                for each, size in used:
                    each.settle(-size)
                self._leave()
                return False
            used.append((scope, units))
        return True

    async def take_places(self, patience: float) -> None:
        """Take a place of every limit of calls at once."""
        for places in self._scopes.places:
            seconds = self._patience(patience, is_over=places.is_full())
            await places.take(self._call.account, seconds)
            self._placed += 1

    async def take_slots(self, patience: float) -> float:
        """Take a slot of every rate; return the time of the last (ms)."""
        account = self._call.account
        for scope, units in self._rates():
            await self._slot(scope, account, units, patience)
        return max((slot.moment for _, slot in self._slots), default=0.0)

    def _rates(self) -> Iterator[tuple[RateScope, float]]:
        for scope in self._scopes.requests:
            yield scope, 1.0
        for scope in self._scopes.tokens:
            yield scope, self._estimate

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
            elif scope in self._scopes.tokens:
                scope.settle(-slot.units)
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
        for scope in self._scopes.tokens:
            scope.settle(used - self._estimate)
        if (model := self._scopes.of_model) is not None:
            self._hear(model, progress.headers, error)

    def _hear(
        self,
        model: Scopes,
        headers: Headers | None,
        error: BaseException | None,
    ) -> None:
        """Slow down where the provider says that little is left."""
        for scope, counted in (
            (model.requests, Counted.REQUESTS),
            (model.tokens, Counted.TOKENS),
        ):
            if scope is None or headers is None:
                continue
            left = allowance(
                headers, counted, scope.next_block, scope.per_minute
            )
            if left is not None:
                scope.correct(left)
        if (
            model.requests is not None
            and isinstance(error, errors.RateLimitedError)
            and not reason_of(error)
        ):
            model.requests.push(error.retry_after or _RETRY_SECONDS)

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
        turn = self._call.account.turn
        for places in self._scopes.places[: self._placed]:
            places.leave(turn)
        self._placed = 0


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
        scopes = self._limiter.of_call(call.model, call.account.client_id)
        if scopes is None:
            return _FREE
        taken = _Limited(self, call, scopes)
        if taken.take_now():
            return taken
        patience = self._patience
        if call.patience is not None:
            patience = max(call.patience, _SHORTEST_SECONDS)
        try:
            await taken.take_places(patience)
            await self._take_slots(taken, patience)
        except TimeoutError:
            taken.undo()
            raise _too_busy(call, _RETRY_SECONDS) from None
        except BaseException:
            taken.undo()
            raise
        return taken

    async def _take_slots(self, taken: _Limited, patience: float) -> None:
        for _ in range(_TRIES):
            moment = await taken.take_slots(patience)
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
