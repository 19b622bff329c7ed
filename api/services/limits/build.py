"""The stages that every call passes, in order: the only list of them."""

from api.services.limits.admission import Admission
from api.services.limits.budgets import BudgetStage
from api.services.limits.limit_stage import LimitStage
from api.services.limits.limiter import Limiter
from api.services.limits.suspension_stage import SuspensionStage
from api.services.limits.suspensions import Suspensions
from utilities.clock import Clock


def build_admission(
    suspensions: Suspensions,
    budgets: BudgetStage,
    limiter: Limiter,
    clock: Clock,
) -> Admission:
    """Make what admits the calls of a process, whoever makes them.

    Rates come last: what they grant to a call that another stage refuses
    would be lost.
    """
    return Admission(
        [SuspensionStage(suspensions), budgets, LimitStage(limiter, clock)]
    )
