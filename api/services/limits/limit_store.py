"""What processes share of limits: one document a scope, compare and set."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from api.services.limits.places import Holder, Renewed
from api.services.limits.schedule import Block
from utilities.cosmos_connector import Document, Documents, DuplicateKeyError

T = TypeVar("T")
_VERSION = "version"
# Others change the same document at the same time.
_ATTEMPTS = 20


class LimitStore:
    """The queries of limits."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def take_block(
        self, scope: str, decide: Callable[[float], Block]
    ) -> Block | None:
        """Move a schedule on; `decide` gets the arrival time, and is pure.

        Returns None if others were faster every time.
        """

        def change(document: Mapping[str, Any]) -> tuple[Document, Block]:
            block = decide(float(document.get("arrival") or 0.0))
            return {"arrival": block.arrival}, block

        return await self._change(scope, change)

    async def renew_places(
        self, scope: str, decide: Callable[[list[Holder]], Renewed]
    ) -> Renewed | None:
        """Renew a process's places; `decide` gets all holders, is pure.

        Returns None if others were faster every time.
        """

        def change(document: Mapping[str, Any]) -> tuple[Document, Renewed]:
            found = document.get("holders") or []
            renewed = decide([Holder(**each) for each in found])
            return {"holders": [asdict(h) for h in renewed.holders]}, renewed

        return await self._change(scope, change)

    async def _change(
        self,
        scope: str,
        change: Callable[[Mapping[str, Any]], tuple[Document, T]],
    ) -> T | None:
        for _ in range(_ATTEMPTS):
            found = await self._documents.find_one({"_id": scope})
            changes, result = change(found or {})
            if found is None:
                new = {"_id": scope, _VERSION: 1, **changes}
                try:
                    await self._documents.insert(new)
                except DuplicateKeyError:
                    continue
                return result
            seen = {"_id": scope, _VERSION: found[_VERSION]}
            changes[_VERSION] = found[_VERSION] + 1
            if await self._documents.update_many(seen, changes):
                return result
        return None
