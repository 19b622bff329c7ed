"""Reports every few seconds how this process's calls to models go."""

import asyncio

import structlog

from api.services.models.model_health import ModelHealthService
from utilities.cosmos_connector import StoreError
from utilities.tasks import Loop

_EVERY_SECONDS = 2.0

log = structlog.get_logger(__name__)


class HealthReporter(Loop):
    """Runs beside the workers and the streams of a process."""

    name = "modelHealth"
    vital = False

    def __init__(self, health: ModelHealthService) -> None:
        super().__init__()
        self._health = health

    async def run(self) -> None:
        """Report until stopped, then withdraw the reports."""
        self.attach()
        try:
            while not self.stopping:
                await self._report()
                await self.pause(_EVERY_SECONDS)
        finally:
            await self._withdraw()

    async def _report(self) -> None:
        try:
            await self._health.report()
        except StoreError as error:
            log.warning("health_not_reported", error=type(error).__name__)

    async def _withdraw(self) -> None:
        try:
            async with asyncio.timeout(_EVERY_SECONDS):
                await self._health.withdraw()
        except (StoreError, TimeoutError) as error:
            # They are forgotten soon.
            log.info("health_not_withdrawn", error=type(error).__name__)
