"""Ends the streams of clients that are disabled while they run."""

import structlog

from api.services.calls.live_calls import LiveCalls
from api.services.shared.client_states import ClientStates
from utilities.cosmos_connector import StoreError
from utilities.tasks import Loop

CLIENT_DISABLED = "CLIENT_DISABLED"
_EVERY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class StreamGuard(Loop):
    """Looks at the clients of this process's live streams."""

    name = "streams"

    def __init__(
        self,
        live: LiveCalls,
        clients: ClientStates,
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        super().__init__()
        self._live = live
        self._clients = clients
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Check repeatedly until stopped."""
        self.attach()
        while not self.stopping:
            try:
                await self._look()
            except StoreError as error:
                log.info("streams_not_checked", error=type(error).__name__)
            await self.pause(self._every_seconds)

    async def _look(self) -> None:
        live = self._live.clients()
        for client_id in live - await self._clients.enabled(live):
            count = self._live.end_of_client(
                client_id, CLIENT_DISABLED, "The client was disabled"
            )
            log.info("streams_ended", clientId=client_id, count=count)
