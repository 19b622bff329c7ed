"""The next version of a prompt's name, from a counter in the database.

One document counts the whole-number versions of one owner, name and type.
It starts from the highest version there is, so it can be removed at any
time: that is how it follows deletions and changed versions. A counter that
is behind costs a retry, since versions are unique by an index.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

from api.models.prompt_models import Prompt
from utilities import payload
from utilities.cosmos_connector import (
    Documents,
    DuplicateKeyError,
    StoreError,
    retrying,
)

# The database counts in 64 bits; higher versions are found by a search.
_HIGHEST_COUNTED = 2**62
_START_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class VersionedName:
    """Prompts that share their versions; no owner means public."""

    owner: str | None
    name: str
    type: str

    @classmethod
    def of(cls, prompt: Prompt) -> Self:
        """Return the name that a prompt is a version of."""
        return cls(prompt.client_id, prompt.name, prompt.type)

    @property
    def key(self) -> str:
        """The id of its counter."""
        text = payload.dump([self.owner, self.name, self.type])
        return hashlib.sha256(text.encode()).hexdigest()


def whole_number(version: str) -> int:
    """Return the number that a version is; 0 if it is none."""
    is_number = version.isascii() and version.isdecimal()
    return int(version) if is_number else 0


class VersionCounters:
    """Counts versions by single atomic updates."""

    def __init__(self, counters: Documents, prompts: Documents) -> None:
        """Take the collections of the counters and of the prompts."""
        self._counters = counters
        self._prompts = prompts
        # Counters that may be ahead, since a write has failed.
        self._doubtful: set[str] = set()

    async def next(self, name: VersionedName) -> int:
        """Take the next number."""
        if name.key in self._doubtful:
            await self._remove(name)
            self._doubtful.discard(name.key)
        for _ in range(_START_ATTEMPTS):
            number = await self._increment(name)
            if number is not None:
                return number
            highest = await self._highest(name)
            if highest >= _HIGHEST_COUNTED:
                break
            await self._start(name, highest)
        return await self._highest(name) + 1

    async def raise_to(self, name: VersionedName, number: int) -> None:
        """Count on from `number`, if that is higher."""
        if number >= _HIGHEST_COUNTED:
            return await self.forget(name)
        where = {"_id": name.key, "last": {"$lt": number}}
        change = {"$set": {"last": number}}
        try:
            await retrying(
                lambda: self._counters.raw.update_one(where, change)
            )
        except StoreError:
            self._doubtful.add(name.key)

    async def catch_up(self, name: VersionedName) -> None:
        """Count on from the highest version there is."""
        await self.raise_to(name, await self._highest(name))

    async def forget(self, name: VersionedName, above: int = 0) -> None:
        """Let the counter start again, unless it counts above `above`."""
        try:
            await self._remove(name, above)
        except StoreError:
            self._doubtful.add(name.key)

    async def _increment(self, name: VersionedName) -> int | None:
        tries = 0

        async def operation() -> int | None:
            nonlocal tries
            tries += 1
            found = await self._counters.raw.find_one_and_update(
                {"_id": name.key}, {"$inc": {"last": 1}}, return_document=True
            )
            return None if found is None else int(found["last"])

        number = await retrying(operation)
        if tries == 1:
            return number
        # The first try may have counted too: no number is left out.
        await self._remove(name)
        return None

    async def _start(self, name: VersionedName, highest: int) -> None:
        counter = {"_id": name.key, "last": highest}
        try:
            await retrying(lambda: self._counters.raw.insert_one(counter))
        except DuplicateKeyError:
            return
        # What was stored since the search has found no counter to raise.
        await self.catch_up(name)

    async def _remove(self, name: VersionedName, above: int = 0) -> None:
        where: dict[str, object] = {"_id": name.key}
        if above:
            where["last"] = {"$lte": above}
        await retrying(lambda: self._counters.raw.delete_one(where))

    async def _highest(self, name: VersionedName) -> int:
        same = {
            "clientId": name.owner,
            "name": name.name,
            "type": name.type,
        }
        found = await self._prompts.find(same, fields=["version"])
        versions = (whole_number(each["version"]) for each in found)
        return max(versions, default=0)
