"""What processes share of limits: one document a scope, compare and set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from api.services.limits.places import Holder, Renewed
from api.services.limits.rate_shares import Asker, with_mine
from api.services.limits.schedule import Block
from utilities.cosmos_connector import Document, Documents, DuplicateKeyError

T = TypeVar("T")
_VERSION = "version"
# Others change the same document at the same time.
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Taken:
    """What was leased of a rate, of whom, and from which arrival time on."""

    block: Block
    askers: tuple[Asker, ...]
    found: float


class LimitStore:
    """The queries of limits."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        # As this process left them: often, nobody else has changed them.
        self._left: dict[str, Document] = {}

    async def take_block(
        self,
        scope: str,
        mine: Asker,
        now: int,
        decide: Callable[[float], Block],
    ) -> Taken | None:
        """Move a schedule on; `decide` gets the arrival time, and is pure.

        `mine` is what this process wants. Returns None if others were
        faster every time.
        """

        def change(document: Mapping[str, Any]) -> tuple[Document, Taken]:
            arrival = float(document.get("arrival") or 0.0)
            found = map(Asker.of_document, document.get("askers") or ())
            askers = with_mine(list(found), mine, now)
            block = decide(arrival)
            stored = [each.to_document() for each in askers]
            changes = {"arrival": block.arrival, "askers": stored}
            return changes, Taken(block, askers, arrival)

        return await self._change(scope, change)

    async def renew_places(
        self, scope: str, decide: Callable[[list[Holder]], Renewed]
    ) -> Renewed | None:
        """Renew a process's places; `decide` gets all holders, is pure.

        Returns None if others were faster every time.
        """

        def change(document: Mapping[str, Any]) -> tuple[Document, Renewed]:
            found = document.get("holders") or []
            renewed = decide([Holder.of_document(each) for each in found])
            stored = [each.to_document() for each in renewed.holders]
            return {"holders": stored}, renewed

        return await self._change(scope, change)

    async def _change(
        self,
        scope: str,
        change: Callable[[Mapping[str, Any]], tuple[Document, T]],
    ) -> T | None:
        found = self._left.pop(scope, None)
        for _ in range(_ATTEMPTS):
            if found is None:
                found = await self._documents.find_one({"_id": scope})
            changes, result = change(found or {})
            version = found[_VERSION] if found else 0
            changes[_VERSION] = version + 1
            if await self._write(scope, version, changes):
                self._left[scope] = changes
                return result
            found = None
        return None

    async def _write(
        self, scope: str, version: int, changes: Document
    ) -> bool:
        """Write if nobody has since that version; 0 if there is none."""
        if version:
            seen = {"_id": scope, _VERSION: version}
            return bool(await self._documents.update_many(seen, changes))
        try:
            await self._documents.insert({"_id": scope, **changes})
        except DuplicateKeyError:
            return False
        return True
