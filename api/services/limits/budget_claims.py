"""Which jobs need not be claimed, since a budget was just found exhausted.

A job that is claimed only to wait for money costs several writes. After a
refusal, the jobs of that client or model stay in the queue for some seconds;
then one block finds out whether the budget suffices again.
"""

import threading
import time
from collections.abc import Callable

from api.models.budget_models import BudgetScope
from api.services.limits.budget_limits import BudgetLimit
from api.services.limits.share import Share

_CLOSED_SECONDS = 5.0


class ExhaustedBudgets:
    """The budgets of one process that refused a call lately; thread-safe."""

    def __init__(
        self,
        seconds: float = _CLOSED_SECONDS,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._timer = timer
        self._lock = threading.Lock()
        self._clients: dict[str, float] = {}
        # By the model's id, with its name.
        self._models: dict[str, tuple[str, float]] = {}

    def note(self, limit: BudgetLimit) -> None:
        """Note that a call has to wait for this budget."""
        until = self._timer() + self._seconds
        with self._lock:
            if limit.scope is BudgetScope.CLIENT:
                self._clients[limit.owner_id] = until
            elif limit.scope is BudgetScope.MODEL:
                self._models[limit.owner_id] = limit.name, until

    def room_of_client(self, client_id: str) -> int | None:
        """Return 0 while no job of a client need be claimed; else None."""
        with self._lock:
            until = self._clients.get(client_id)
            if until is None:
                return None
            if until > self._timer():
                return 0
            del self._clients[client_id]
        return None

    def shares(self, client_id: str) -> list[Share]:
        """Return the models of which no job need be claimed."""
        del client_id
        with self._lock:
            now = self._timer()
            over = [
                k for k, (_, until) in self._models.items() if until <= now
            ]
            for model_id in over:
                del self._models[model_id]
            return [
                _closed(model_id, name, until - now)
                for model_id, (name, until) in self._models.items()
            ]


def _closed(model_id: str, name: str, seconds: float) -> Share:
    return Share(
        frozenset({model_id, name}),
        take=lambda _: 0,
        give_back=lambda _: None,
        room=0,
        wait=seconds,
    )
