"""Removes what has ended: sessions and tokens."""

from api.services.access.access_service import AccessService
from utilities.tasks import Loop

_EVERY_SECONDS = 60.0


class AccessKeeper(Loop):
    """Cleans up once a minute."""

    name = "access"
    vital = False

    def __init__(self, access: AccessService) -> None:
        super().__init__()
        self._access = access

    async def run(self) -> None:
        """Work until stopped."""
        self.attach()
        while not self.stopping:
            await self._access.sessions.remove_ended()
            await self._access.tokens.remove_ended()
            await self.pause(_EVERY_SECONDS)
