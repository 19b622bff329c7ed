"""Keeps what this process knows of suspended models up to date."""

import asyncio
import contextlib

import structlog

from api.services.limits.suspensions import Suspensions
from api.services.models.model_service import ModelService
from utilities.cosmos_connector import StoreError
from utilities.tasks import Loop

_EVERY_SECONDS = 1.0
_LAST_SECONDS = 2.0

log = structlog.get_logger(__name__)


class StateWatcher(Loop):
    """Writes what was found out, and reads what others have found out."""

    name = "modelStates"
    vital = False

    def __init__(
        self,
        suspensions: Suspensions,
        models: ModelService,
        every: float = _EVERY_SECONDS,
    ) -> None:
        super().__init__()
        self._suspensions = suspensions
        self._models = models
        self._every = every

    async def run(self) -> None:
        """Watch until stopped."""
        self.attach()
        self._suspensions.wake = self.wake_safely
        while not self.stopping:
            await self._look()
            await self.pause(self._every)
        # What was found out last is for the others, too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._look()

    async def _look(self) -> None:
        suspensions = self._suspensions
        try:
            await suspensions.flush()
            await suspensions.refresh()
            if states := suspensions.all():
                ids = {state.model_id for state in states}
                await suspensions.compare(await self._models.by_ids(ids))
            self.complaint = None
        except StoreError as error:
            self.complaint = f"not up to date: {type(error).__name__}"
            log.warning("model_states_not_read", error=type(error).__name__)
