"""Whose turn it is: work that one process at a time does for all."""

from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Documents, DuplicateKeyError


class Turns:
    """Turns by name, in the database; each ends by itself."""

    def __init__(self, documents: Documents, clock: Clock = now_ms) -> None:
        self._documents = documents
        self._clock = clock

    async def take(self, name: str, seconds: float) -> bool:
        """Have a turn for this time; False if another process has it.

        Raises:
            StoreError: nobody knows.
        """
        now = self._clock()
        until = {"until": now + round(seconds * 1000)}
        found = await self._documents.find_one({"_id": name})
        if found is None:
            try:
                await self._documents.insert({"_id": name, **until})
            except DuplicateKeyError:
                return False
            return True
        if found["until"] > now:
            return False
        seen = {"_id": name, "until": found["until"]}
        return await self._documents.update(seen, until) is not None
