"""Finds entries of the audit."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from api.models.audit_models import AuditEntry, AuditOutcome
from api.services.shared.date_range import TimeRange
from api.services.shared.paging import Page, PageRequest, fetch_page
from utilities.cosmos_connector import Document, Documents

_PAGE = 500


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None is any."""

    times: TimeRange
    who: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: AuditOutcome | None = None

    def to_query(self) -> dict[str, Any]:
        """Give the filter of the store."""
        named = {
            "actor": self.who,
            "action": self.action,
            "target": self.target,
            "outcome": self.outcome and str(self.outcome),
        }
        where: dict[str, Any] = {
            name: value for name, value in named.items() if value is not None
        }
        if times := self.times.to_query():
            where["at"] = times
        return where


class AuditService:
    """The entries of all processes."""

    def __init__(self, entries: Documents) -> None:
        self._entries = entries

    async def page(
        self, wanted: AuditFilter, page: PageRequest
    ) -> Page[AuditEntry]:
        """List entries, the newest first."""
        return await fetch_page(
            self._entries,
            wanted.to_query(),
            page,
            entry_of,
            order="at",
            newest_first=True,
        )

    async def lines(self, wanted: AuditFilter) -> AsyncIterator[bytes]:
        """Give all entries as lines of JSON, the newest first."""
        cursor = None
        while True:
            page = await self.page(wanted, PageRequest(_PAGE, cursor))
            yield b"".join(
                entry.model_dump_json(by_alias=True).encode() + b"\n"
                for entry in page.items
            )
            cursor = page.next_cursor
            if cursor is None:
                return
            await asyncio.sleep(0)


def entry_of(document: Document) -> AuditEntry:
    """Read a document; its text is what counts."""
    fields = from_json(document["body"])
    return AuditEntry.model_validate(
        {
            **fields,
            "entryId": fields["id"],
            "chain": document["chain"],
            "number": document["number"],
            "hash": document["hash"],
        },
        by_name=True,
        by_alias=True,
    )
