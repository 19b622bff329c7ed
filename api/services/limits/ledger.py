"""The ledger: what calls have used and cost, added up exactly once.

A counter holds the sums of one day, client, model, operation, currency, and
where there are such, credential and route; another kind holds the sums of
one run. A block of charges is added to its
counters by one conditional write each: a counter that has taken a block
carries its id until the block's journal entry is gone. So a repeat changes
nothing, whenever a process dies. See `docs/money.md`.
"""

import hashlib
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from api.models.charge import Charge, Posting, Spend
from api.models.cost import UNITS
from api.services.limits.budget_accounts import lease_field
from api.services.shared.settlement import Block
from utilities import payload
from utilities.clock import Clock, day_of, now_ms
from utilities.cosmos_connector import (
    Document,
    Documents,
    ObjectId,
    StoreError,
)

COUNTERS = "ledger"
JOURNAL = "ledger_blocks"
# A block that has been open for longer may be settled by others; one that
# is open for more than half of this is left to them.
OPEN_SECONDS = 300.0
_KNOWN_COUNTERS = 100_000
# `$group` by several fields at once is not what every server can do.
SEPARATOR = "\x1f"

# Client, operation, run, model, currency, credential and route.
_Alike = tuple[str, str, str | None, str, str, str, str]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CounterKey:
    """What a counter counts: a day's calls, or those of a run."""

    day: str
    client_id: str
    model: str
    operation: str
    run_id: str
    currency: str
    credential: str = ""
    route: str = ""

    @property
    def counter_id(self) -> str:
        """The `_id` of its document; names may be long and odd."""
        parts = [
            self.day,
            self.client_id,
            self.model,
            self.operation,
            self.run_id,
            self.currency,
        ]
        if self.credential or self.route:
            parts += [self.credential, self.route]
        return hashlib.sha256(payload.dump(parts).encode()).hexdigest()[:40]

    def document(self) -> Document:
        """Give what the document says beside its sums."""
        further = {"credential": self.credential, "route": self.route}
        return {
            "_id": self.counter_id,
            **{name: value for name, value in further.items() if value},
            "day": self.day,
            "clientId": self.client_id,
            "model": self.model,
            "operation": self.operation,
            "runId": self.run_id,
            "currency": self.currency,
            "_metadata": {"isDeleted": False},
        }


class Ledger:
    """Adds blocks of charges to the counters; safe from any thread."""

    def __init__(
        self,
        counters: Documents,
        journal: Documents,
        process_id: str = "",
        clock: Clock = now_ms,
        *,
        budgets: Documents | None = None,
    ) -> None:
        self._counters = counters
        self._budgets = budgets
        self._journal = journal
        self._process_id = process_id
        self._clock = clock
        self._lock = threading.Lock()
        # Counters that are there already.
        self._known: set[str] = set()
        # By counter, blocks that are closed and whose marks can go.
        self._closed: defaultdict[str, list[str]] = defaultdict(list)

    async def open(self, collection: str, ids: Sequence[ObjectId]) -> Block:
        """Note in the journal that documents will carry a new block.

        Raises:
            StoreError: nothing may be stored with it.
        """
        block = Block(secrets.token_hex(12), self._clock())
        await self._journal.put_each(
            [
                {
                    "_id": block.block_id,
                    "process": self._process_id,
                    "collection": collection,
                    "ids": [str(each) for each in ids],
                    "openedAt": block.opened_at,
                    "_metadata": {"isDeleted": False},
                }
            ]
        )
        return block

    async def settle(
        self, block: Block, postings: Iterable[Posting | Spend]
    ) -> None:
        """Add a block's charges and close it.

        Never raises for the store: what fails is recovered later.
        """
        if self._is_late(block):
            log.warning("block_left_to_recovery", block=block.block_id)
            return
        try:
            counters = await self.add(block, postings)
        except StoreError as error:
            log.warning("block_not_settled", error=type(error).__name__)
            return
        if not self._is_late(block):
            with self._lock:
                for counter in counters:
                    self._closed[counter].append(block.block_id)

    async def add(
        self, block: Block, postings: Iterable[Posting | Spend]
    ) -> Sequence[str]:
        """Add a block's charges; return the counters that have its mark.

        Safe to repeat until the journal entry, which is removed last, is
        gone.

        Raises:
            StoreError: it is not known whether all are added.
        """
        everything = list(postings)
        spends = [each for each in everything if isinstance(each, Spend)]
        charged = [each for each in everything if isinstance(each, Posting)]
        sums = _sums(day_of(block.opened_at), charged)
        await self._make_counters(sums)
        updates = [
            self._marked(key.counter_id, block.block_id, _counts(charge))
            for key, charge in sums.items()
        ]
        if updates:
            await self._counters.patch_each(updates)
        of_budgets = _by_budget(spends)
        if of_budgets and self._budgets is not None:
            await self._budgets.patch_each(
                [
                    self._marked(budget, block.block_id, change)
                    for budget, change in of_budgets.items()
                ]
            )
        await self._journal.erase({"_id": block.block_id})
        return [*(key.counter_id for key in sums), *of_budgets]

    def _is_late(self, block: Block) -> bool:
        open_ms = self._clock() - block.opened_at
        return open_ms > OPEN_SECONDS * 1000 / 2

    async def _make_counters(self, keys: Iterable[CounterKey]) -> None:
        new = [key for key in keys if key.counter_id not in self._known]
        if not new:
            return
        await self._counters.put_each([key.document() for key in new])
        with self._lock:
            if len(self._known) > _KNOWN_COUNTERS:
                self._known.clear()
            self._known.update(key.counter_id for key in new)

    def _marked(
        self, counter: str, block_id: str, change: Mapping[str, int]
    ) -> tuple[Document, Document]:
        with self._lock:
            closed = self._closed.pop(counter, [])
            if block_id in closed:
                # A repeat: one update cannot set and remove its mark.
                closed.remove(block_id)
                self._closed[counter] = [block_id]
        mark = _mark(block_id)
        update: Document = {"$inc": change, "$set": {mark: 1}}
        if closed:
            update["$unset"] = {_mark(each): "" for each in closed}
        # None also finds a document that has no such field.
        return {"_id": counter, mark: None}, update


def _mark(block_id: str) -> str:
    return f"block_{block_id}"


def _sums(
    day: str, postings: Iterable[Posting]
) -> Mapping[CounterKey, Charge]:
    """Add up by counter; a block's jobs are mostly of the same few."""
    alike: dict[_Alike, list[Charge]] = {}
    for each in postings:
        charge = each.charge
        of_whom = each.client_id, each.operation, each.run_id
        alike.setdefault((*of_whom, *charge.what), []).append(charge)
    sums: dict[CounterKey, Charge] = {}
    for key, charges in alike.items():
        total = Charge.sum_of(charges)
        for key_of in _keys(day, key):
            before = sums.get(key_of)
            sums[key_of] = total if before is None else before + total
    return sums


def _by_budget(spends: Iterable[Spend]) -> dict[str, dict[str, int]]:
    """Give what settled spends change in each budget's document.

    What a process had leased is spent now.
    """
    changes: dict[str, dict[str, int]] = {}
    for each in spends:
        change = changes.setdefault(each.budget_id, {"settled": 0})
        name = lease_field(each.process_id)
        change["settled"] += each.units
        change[name] = change.get(name, 0) - each.units
    return changes


def _named(name: str) -> str:
    # Usage is grouped by names with this character in between.
    return name.replace(SEPARATOR, " ")


def _keys(day: str, alike: _Alike) -> Iterator[CounterKey]:
    client_id, operation, run_id, model, currency, credential, route = alike
    yield CounterKey(
        day,
        client_id,
        _named(model),
        _named(operation),
        "",
        currency,
        _named(credential),
        _named(route),
    )
    if run_id is not None:
        yield CounterKey("", client_id, "", "", run_id, currency)


# The fields of a counter, in the order of `Charge.counts` but for units.
COUNT_FIELDS = (
    "requests",
    "inputTokens",
    "cachedTokens",
    "cacheWriteTokens",
    "outputTokens",
    "reasoningTokens",
    "cachedAnswers",
)


def _counts(charge: Charge) -> Document:
    # In two numbers: what many calls cost, in units, exceeds 64 bits.
    *counts, units, cached = charge.counts
    whole, rest = divmod(units, UNITS)
    fields = dict(zip(COUNT_FIELDS, [*counts, cached], strict=True))
    return {**fields, "costWhole": whole, "costUnits": rest}


def units_of(document: Mapping[str, Any]) -> int:
    """Read the cost that a counter holds, in units."""
    whole, rest = document.get("costWhole", 0), document.get("costUnits", 0)
    return int(whole) * UNITS + int(rest)
