"""Jobs that would only wait for money are not claimed again and again."""

from api.models.budget_models import Budget, BudgetScope
from api.services.limits.budget_claims import ExhaustedBudgets
from api.services.limits.budget_limits import BudgetLimit
from api.services.limits.claims import ClaimGuard
from llm_sdks.resilience.model_gate import ModelGates

BUDGET = Budget(amount=1, currency="USD", period="day")


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.budgets = ExhaustedBudgets(5.0, lambda: self.now)
        self.guard = ClaimGuard(
            ModelGates(),
            [self.budgets.shares],
            [self.budgets.room_of_client, lambda _: 7],
        )

    def exhaust(self, scope: BudgetScope, owner: str, name: str) -> None:
        self.budgets.note(BudgetLimit(scope, owner, name, BUDGET))


def test_a_clients_jobs_stay_in_the_queue_for_some_seconds() -> None:
    world = World()
    world.exhaust(BudgetScope.CLIENT, "a", "Acme")
    assert world.guard.look("a").most == 0
    assert world.guard.look("b").most == 7
    world.now += 5
    assert world.guard.look("a").most == 7


def test_a_models_jobs_stay_in_the_queue_under_both_its_names() -> None:
    world = World()
    world.exhaust(BudgetScope.MODEL, "id", "gpt")
    found = world.guard.look("a")
    assert found.closed == {"id", "gpt"}
    assert found.wait_seconds == 5
    assert found.most == 7
    world.now += 5
    assert world.guard.look("a").closed == frozenset()


def test_a_run_that_has_no_money_holds_up_nothing_else() -> None:
    world = World()
    world.exhaust(BudgetScope.RUN, "r", "r")
    found = world.guard.look("a")
    assert (found.most, found.closed) == (7, frozenset())
