"""Checks that nothing of the audit was changed, removed or added."""

import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from api.services.access.audit.chain import START, Head, hash_of, seal
from utilities.cosmos_connector import Document, Documents

_BLOCK = 500
_MOST_PROBLEMS = 100
_COLUMNS = ("at", "actor", "action", "target", "outcome")


@dataclass(slots=True)
class Verification:
    """What a look at the whole audit has found."""

    chains: int = 0
    entries: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, chain: str, number: object, what: str) -> None:
        """Add a problem; the first ones are enough to be told."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{chain} {number}: {what}")


class Verifier:
    """Reads all chains, in their order."""

    def __init__(
        self, entries: Documents, chains: Documents, key: bytes
    ) -> None:
        self._entries = entries
        self._chains = chains
        self._key = key
        self._found = Verification()
        # What later chains say of those before: their number and hash.
        self._witnessed: dict[str, tuple[int, str]] = {}
        self._last: dict[str, Head] = {}

    async def verify(self) -> Verification:
        """Check every entry and every head."""
        heads = await self._chains.find_all({})
        head: Head | None = None
        async for document in self._in_order():
            chain = str(document["chain"])
            if head is None or head.chain != chain:
                self._found.chains += 1
                head = Head(chain)
            head = self._check(document, head)
            self._last[chain] = head
        self._check_heads(heads)
        self._check_witnessed()
        return self._found

    async def _in_order(self) -> AsyncIterator[Document]:
        """Read all entries, also deleted ones, by chain and number."""
        chain, number = "", 0
        while True:
            block = await self._entries.find_all(
                {
                    "$or": [
                        {"chain": chain, "number": {"$gt": number}},
                        {"chain": {"$gt": chain}},
                    ]
                },
                sort=(("chain", 1), ("number", 1)),
                limit=_BLOCK,
            )
            for document in block:
                yield document
            if len(block) < _BLOCK:
                return
            chain, number = block[-1]["chain"], block[-1]["number"]

    def _check(self, document: Document, before: Head) -> Head:
        chain, number = before.chain, document.get("number")
        self._found.entries += 1
        if not isinstance(number, int) or number != before.number + 1:
            self._found.note(chain, number, "entries before it are missing")
        body = str(document.get("body"))
        made = hash_of(
            self._key,
            str(document.get("previous")),
            int(number or 0),
            chain,
            body,
        )
        if not hmac.compare_digest(made, str(document.get("hash"))):
            self._found.note(chain, number, "it was changed")
        elif document.get("previous") != before.hash:
            self._found.note(
                chain, number, "it does not follow the one before"
            )
        self._check_columns(document, body)
        return Head(chain, int(number or 0), str(document.get("hash")))

    def _check_columns(self, document: Document, body: str) -> None:
        chain, number = document.get("chain"), document.get("number")
        try:
            fields: dict[str, Any] = from_json(body)
        except ValueError:
            return
        if any(document.get(name) != fields.get(name) for name in _COLUMNS):
            self._found.note(str(chain), number, "its fields were changed")
        if document.get("_metadata", {}).get("isDeleted"):
            self._found.note(str(chain), number, "it was deleted")
        if fields.get("action") == "audit.started":
            self._note_witnessed(fields.get("ids") or ())

    def _note_witnessed(self, shown: Any) -> None:  # noqa: ANN401 - stored text
        for each in shown:
            chain, number, made = str(each).rsplit(":", 2)
            known = self._witnessed.get(chain, (0, START))
            self._witnessed[chain] = max(known, (int(number), made))

    def _check_heads(self, heads: list[Document]) -> None:
        for document in heads:
            head = Head(
                str(document["_id"]),
                int(document.get("number") or 0),
                str(document.get("hash")),
            )
            if not hmac.compare_digest(
                seal(self._key, head), str(document.get("seal"))
            ):
                self._found.note(
                    head.chain, head.number, "its head was changed"
                )
            self._check_reached(head.chain, head.number)
        for chain in self._last.keys() - {str(each["_id"]) for each in heads}:
            self._found.note(chain, 0, "its head is missing")

    def _check_witnessed(self) -> None:
        for chain, (number, _) in self._witnessed.items():
            self._check_reached(chain, number)

    def _check_reached(self, chain: str, number: int) -> None:
        last = self._last.get(chain, Head(chain))
        if last.number < number:
            self._found.note(
                chain,
                last.number,
                f"entries after it, up to {number}, are missing",
            )
