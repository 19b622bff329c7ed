"""`/budgets`: what is spent, reserved and left."""

from collections.abc import Sequence

from fastapi import APIRouter

from api.dependencies.callers import AnyCaller
from api.dependencies.services import Budgets
from api.models.budget_models import BudgetState
from api.routers.resource_route import ResourceRoute

router = APIRouter(
    prefix="/budgets", tags=["usage"], route_class=ResourceRoute
)


@router.get("")
async def list_budgets(
    budgets: Budgets, caller: AnyCaller
) -> Sequence[BudgetState]:
    """Return the client's budget, or all of clients and models.

    Budgets are set on clients and on models.
    """
    return await budgets.states(caller)
