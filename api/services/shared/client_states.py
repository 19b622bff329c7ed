"""Which clients are enabled, for code that works on their behalf."""

from collections.abc import Collection
from typing import Any

from utilities.cosmos_connector import Documents


class ClientStates:
    """Reads whether clients are enabled and not deleted."""

    def __init__(self, clients: Documents) -> None:
        self._clients = clients

    async def settings(self) -> dict[str, dict[str, Any]]:
        """Return the `limits` and `weight` of clients that have either."""
        names = ("limits", "weight")
        found = await self._clients.find(
            {"$or": [{name: {"$ne": None}} for name in names]},
            fields=["clientId", *names],
        )
        return {
            each["clientId"]: {name: each.get(name) for name in names}
            for each in found
        }

    async def enabled(self, client_ids: Collection[str]) -> set[str]:
        """Return those of the given clients that are enabled."""
        if not client_ids:
            return set()
        found = await self._clients.find(
            {"clientId": {"$in": sorted(client_ids)}, "enabled": True},
            fields=["clientId"],
        )
        return {document["clientId"] for document in found}
