"""Whether this process lives, and whether it can work."""

import asyncio

from utilities.cosmos_connector import ClientManager, StoreError

# An answer that takes longer is no answer for a load balancer.
_PING_TIMEOUT_SECONDS = 2.0


class HealthService:
    """Asks the parts how they are."""

    def __init__(self, clients: ClientManager) -> None:
        self._clients = clients

    async def database_is_up(self) -> bool:
        """Tell whether the database answers in time."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_SECONDS):
                await self._clients.ping()
        except (StoreError, TimeoutError):
            return False
        return True
