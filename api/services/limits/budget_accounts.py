"""What is left of budgets, shared by all processes.

A process leases a part of a budget by one conditional write, and grants its
calls from that. `committed` is what is spent and leased together, and never
passes the budget; `settled` is what is spent; `lease_<process>` is what a
process holds. `committed` is always `settled` and all leases together, so
what a process that died had held can be given back.
"""

import asyncio
import hashlib
import secrets
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    Document,
    Documents,
    DuplicateKeyError,
)

BUDGETS = "budgets"
LEASE_SECONDS = 600.0
_LEASE = "lease_"
# A lease is up to this part of the budget, as long as less than four
# fifths are committed; then, it is what one call needs.
_PART = 50


def process_mark(process_id: str) -> str:
    """Give a process's name as a part of fields: host names have dots."""
    return hashlib.sha256(process_id.encode()).hexdigest()[:16]


def lease_field(process_id: str) -> str:
    """Name the field of what a process holds of a budget."""
    return _LEASE + process_mark(process_id)


@dataclass(slots=True)
class _Account:
    """This process's part of one budget, in units."""

    free: int = 0
    running: int = 0
    # When its lease ends if it is not extended (ms).
    until: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, wanted: int, now: int) -> int:
        """Take what is free of a call's bound; may be less than nothing."""
        with self.lock:
            if now >= self.until:
                # Others may have given it back meanwhile.
                self.free = min(self.free, 0)
            taken = min(self.free, wanted)
            self.free -= taken
            return taken

    def take_all(self, units: int, now: int) -> bool:
        """Take a call's bound and count it, or leave it."""
        with self.lock:
            if self.free < units or now >= self.until:
                return False
            self.free -= units
            self.running += 1
            return True

    def put(self, units: int) -> None:
        """Add to what is free."""
        with self.lock:
            self.free += units

    def begin(self) -> None:
        """Count a call that runs."""
        with self.lock:
            self.running += 1

    def end(self, units: int) -> None:
        """End a call that leaves some of its bound."""
        with self.lock:
            self.free += units
            self.running -= 1

    def idle(self) -> int:
        """Take what no running call may need."""
        with self.lock:
            if self.running or self.free <= 0:
                return 0
            units, self.free = self.free, 0
            return units


class BudgetAccounts:
    """Reserves parts of budgets; safe from any thread.

    A budget's id names its period: a new period is a new document.
    """

    def __init__(
        self, documents: Documents, process_id: str, clock: Clock = now_ms
    ) -> None:
        self._documents = documents
        self.process_id = process_id
        self._mark = process_mark(process_id)
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}
        # Each event loop of the process leases for its own calls.
        self._locks: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[str, asyncio.Lock]
        ] = weakref.WeakKeyDictionary()

    def reserve_now(self, budget_id: str, units: int) -> bool:
        """Hold units back for a call; False if they are to be leased."""
        return self._account(budget_id).take_all(units, self._clock())

    async def reserve(self, budget_id: str, units: int, limit: int) -> bool:
        """Hold units back for a call; False if there are not enough."""
        account = self._account(budget_id)
        taken = account.take(units, self._clock())
        missing = units - taken
        if missing > 0:
            # One lease at a time: it mostly serves those who wait as well.
            lock = self._leasing(budget_id)
            try:
                await lock.acquire()
            except BaseException:
                account.put(taken)
                raise
            try:
                more = account.take(missing, self._clock())
                taken, missing = taken + more, missing - more
                if missing > 0 and not await self._more(
                    budget_id, taken, missing, limit
                ):
                    return account.take_all(units, self._clock())
            finally:
                lock.release()
        account.begin()
        return True

    async def _more(
        self, budget_id: str, taken: int, missing: int, limit: int
    ) -> bool:
        """Lease what a call lacks; put back what it has if that fails."""
        account = self._account(budget_id)
        try:
            leased = await self._lease_some(budget_id, missing, limit)
        except BaseException:
            account.put(taken)
            raise
        if leased is None:
            # Others may have left something of their leases meanwhile.
            account.put(taken)
            return False
        account.until = self._end()
        account.put(leased - missing)
        return True

    def _leasing(self, budget_id: str) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        with self._lock:
            locks = self._locks.setdefault(loop, {})
            return locks.setdefault(budget_id, asyncio.Lock())

    def end(self, budget_id: str, reserved: int, spent: int) -> None:
        """End a call; what it spent is settled with its result."""
        self._account(budget_id).end(reserved - spent)

    async def give_back(self) -> None:
        """Return what no call needs; extend the leases of the others."""
        with self._lock:
            accounts = list(self._accounts.items())
        for budget_id, account in accounts:
            if units := account.idle():
                await self._return(budget_id, units)
            elif account.running:
                end = self._end()
                change = {"$set": {f"until_{self._mark}": end}}
                await self._documents.patch({"_id": budget_id}, change)
                account.until = end

    async def release_of_process(self, process_id: str) -> None:
        """Give back what a process held that is known to be dead.

        Its results must have been settled before.
        """
        name = lease_field(process_id)
        for document in await self._documents.find_all({}):
            if name in document:
                await self._release(document, name)

    async def release_ended(self) -> None:
        """Give back what processes held that have not been seen for long."""
        now = self._clock()
        for document in await self._documents.find_all({}):
            for name in list(document):
                until = document.get(f"until_{name.removeprefix(_LEASE)}", 0)
                if name.startswith(_LEASE) and until < now:
                    await self._release(document, name)

    async def state(self, budget_id: str) -> tuple[int, int]:
        """Return what is spent and what is reserved."""
        found = await self._documents.find_all({"_id": budget_id})
        if not found:
            return 0, 0
        settled, committed = found[0]["settled"], found[0]["committed"]
        return settled, max(committed - settled, 0)

    def _account(self, budget_id: str) -> _Account:
        account = self._accounts.get(budget_id)
        if account is None:
            with self._lock:
                account = self._accounts.setdefault(budget_id, _Account())
        return account

    def _end(self) -> int:
        return self._clock() + round(LEASE_SECONDS * 1000)

    async def _lease_some(
        self, budget_id: str, missing: int, limit: int
    ) -> int | None:
        wanted = max(missing, limit // _PART)
        if wanted > missing and await self._lease(
            budget_id, wanted, limit * 4 // 5
        ):
            return wanted
        if await self._lease(budget_id, missing, limit):
            return missing
        return None

    async def _lease(self, budget_id: str, units: int, most: int) -> bool:
        if units > most:
            return False
        nonce = secrets.token_hex(8)
        where = {"_id": budget_id, "committed": {"$lte": most - units}}
        if await self._write(where, units, nonce):
            return True
        found = await self._documents.find_all({"_id": budget_id})
        if found and self._nonce in found[0]:
            # The first try's answer may have been lost.
            return bool(found[0][self._nonce] == nonce)
        if not found:
            await self._make(budget_id)
        # Not every server finds a missing field unequal to a value.
        change = {"$set": {self._nonce: ""}}
        await self._documents.patch({"_id": budget_id}, change)
        return await self._write(where, units, nonce)

    async def _return(self, budget_id: str, units: int) -> None:
        # Unless others have done so, because this process was not seen.
        where = {"_id": budget_id, _LEASE + self._mark: {"$gte": units}}
        await self._write(where, -units, secrets.token_hex(8))

    @property
    def _nonce(self) -> str:
        return f"nonce_{self._mark}"

    async def _write(self, where: Document, units: int, nonce: str) -> bool:
        """Change what this process holds; a repeat changes nothing."""
        update = {
            "$inc": {"committed": units, _LEASE + self._mark: units},
            "$set": {self._nonce: nonce, f"until_{self._mark}": self._end()},
        }
        fresh = {**where, self._nonce: {"$ne": nonce}}
        return bool(await self._documents.patch(fresh, update))

    async def _make(self, budget_id: str) -> None:
        new: dict[str, Any] = {"_id": budget_id, "committed": 0, "settled": 0}
        try:
            await self._documents.insert(new)
        except DuplicateKeyError:
            return  # another process was first

    async def _release(self, document: Document, name: str) -> None:
        mark, held = name.removeprefix(_LEASE), document[name]
        gone = {name: "", f"until_{mark}": "", f"nonce_{mark}": ""}
        # A late settlement meanwhile changes what is held: then, next time.
        await self._documents.patch(
            {"_id": document["_id"], name: held},
            {"$inc": {"committed": -held}, "$unset": gone},
        )
