"""The stage of admission that keeps calls within budgets.

Before a call, an upper bound of its cost is reserved; afterwards, what it
cost is settled with its result, and the rest is free again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from api.models.budget_models import OnExhausted
from api.models.model_models import Model, ModelWithKey
from api.services.calls.model_call import CallProgress, ModelCall
from api.services.limits.admission import (
    AdmittedCall,
    NotAdmittedError,
    WaitKind,
)
from api.services.limits.budget_accounts import BudgetAccounts
from api.services.limits.budget_claims import ExhaustedBudgets
from api.services.limits.budget_limits import BudgetLimit, BudgetLimits
from llm_sdks.errors import LLMError
from utilities.cosmos_connector import StoreError

# Tokens that providers add to a prompt: its roles, and a schema's frame.
_OVERHEAD_TOKENS = 500
# The output of a model without a limit of its own.
_MOST_OUTPUT_TOKENS = 128_000
# A budget may be raised before its period ends.
_LONGEST_WAIT_SECONDS = 60.0
_AWAY = "The budgets cannot be read: the database does not answer"


class BudgetExhaustedError(LLMError):
    """A budget does not suffice for a call, and calls are not to wait."""

    kind: ClassVar[str] = "BUDGET_EXHAUSTED"


class NoPriceError(LLMError):
    """A budget cannot be kept, since a call's cost is not known."""

    kind: ClassVar[str] = "NO_PRICE"


@dataclass(frozen=True, slots=True)
class _Reservation:
    """What one call has reserved of its budgets."""

    call: ModelCall
    accounts: BudgetAccounts
    budget_ids: Sequence[str]
    units: int

    def ended(
        self, progress: CallProgress, error: BaseException | None
    ) -> None:
        """Free what the call has not spent; settle the rest with it."""
        del error
        spent = self._spent(progress)
        for budget_id in self.budget_ids:
            self.accounts.end(budget_id, self.units, spent)
            if spent and self.call.bill is not None:
                self.call.bill.spend(budget_id, spent)

    def _spent(self, progress: CallProgress) -> int:
        if progress.usage is not None:
            return progress.metrics(self.call.model).units
        # Text came, and nobody says what it cost.
        return self.units if progress.texts else 0


class _Free:
    """A call that no budget is for."""

    def ended(
        self, progress: CallProgress, error: BaseException | None
    ) -> None:
        """Do nothing."""


_FREE = _Free()


class BudgetStage:
    """Lets calls pass whose budgets suffice; safe from any thread."""

    def __init__(
        self,
        limits: BudgetLimits,
        accounts: BudgetAccounts,
        exhausted: ExhaustedBudgets | None = None,
    ) -> None:
        self._limits = limits
        self._accounts = accounts
        self._exhausted = exhausted or ExhaustedBudgets()

    async def admit(self, call: ModelCall) -> AdmittedCall:
        """Reserve an upper bound of a call's cost of each of its budgets.

        Raises:
            NotAdmittedError: it must wait for the next period.
            BudgetExhaustedError: it must not wait.
            NoPriceError: its cost is not known, or in another currency.
        """
        try:
            limits = await self._limits.of_call(call)
            if not limits:
                return _FREE
            for limit in limits:
                _check_currency(call.model, limit)
            return await self._reserve(call, limits)
        except StoreError:
            raise NotAdmittedError(WaitKind.BUDGET, _AWAY, 1.0) from None

    async def _reserve(
        self, call: ModelCall, limits: Sequence[BudgetLimit]
    ) -> AdmittedCall:
        units, now = upper_bound(call), self._limits.now()
        reserved: list[str] = []
        is_done = False
        try:
            for limit in limits:
                budget_id = limit.budget_id(now)
                accounts = self._accounts
                if not (
                    accounts.reserve_now(budget_id, units)
                    or await accounts.reserve(budget_id, units, limit.units)
                ):
                    if limit.budget.on_exhausted is OnExhausted.WAIT:
                        self._exhausted.note(limit)
                    raise _refusal(limit, now)
                reserved.append(budget_id)
            is_done = True
        finally:
            for each in () if is_done else reserved:
                self._accounts.end(each, units, 0)
        return _Reservation(call, self._accounts, reserved, units)


def upper_bound(call: ModelCall) -> int:
    """Return what a call costs at most, in units.

    A token has at least one byte. A model's limit of tokens bounds its
    output, or the request's own, where it goes out as it came.
    """
    return bound_of(call.model, call.input_bytes, call.output_tokens)


def bound_of(model: Model, size: int, output_tokens: int | None = None) -> int:
    """Return what a call with texts of `size` bytes costs at most."""
    if model.cost is None:
        return 0
    answered = (
        output_tokens
        or model.max_completion_token
        or model.max_token
        or _MOST_OUTPUT_TOKENS
    )
    return model.cost.table.bound(size + _OVERHEAD_TOKENS, answered)


def _check_currency(model: ModelWithKey, limit: BudgetLimit) -> None:
    currency = limit.budget.currency
    if model.cost is not None and model.cost.currency == currency:
        return
    raise NoPriceError(
        f"The budget of the {limit.scope} {limit.name!r} is in {currency}, "
        f"and the model {model.name!r} has no price in it. Set the model's "
        "cost (0 if it is free)."
    )


def _refusal(limit: BudgetLimit, now: int) -> LLMError:
    budget = limit.budget
    what = (
        f"The budget of the {limit.scope} {limit.name!r} "
        f"({budget.amount:g} {budget.currency}, {budget.period}) does not "
        "suffice for this call"
    )
    if budget.on_exhausted is OnExhausted.FAIL:
        return BudgetExhaustedError(
            f"{what}. Raise it, or submit the job again in the next period."
        )
    wait, resets_at = _LONGEST_WAIT_SECONDS, limit.resets_at(now)
    if resets_at is not None:
        wait = min(wait, max(resets_at.timestamp() - now / 1000, 0.0))
    return NotAdmittedError(WaitKind.BUDGET, what, wait)
