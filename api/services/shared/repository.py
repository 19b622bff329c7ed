"""The queries of one resource's documents, and the one compare and set."""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from api.core.errors import ConflictError, NotFoundError, RuleError
from api.models.base import StoredModel
from api.services.shared import audit_trail
from utilities.cosmos_connector import (
    Document,
    Documents,
    DuplicateKeyError,
    Filter,
    ObjectId,
)

# Counts the changes of a document; a document without it is at 0.
REVISION = "revision"
# How often a change is decided again because the document has changed, and
# the pauses in between, in seconds.
_ATTEMPTS = 25
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.15
# Fields that follow from others; two changes of them are no conflict.
_DERIVED = frozenset({REVISION, "_metadata", "liveKey"})

S = TypeVar("S", bound=StoredModel)


def object_id(text: str, what: str) -> ObjectId:
    """Read an id; a malformed one is answered like an unknown one.

    Raises:
        NotFoundError: it is no id.
    """
    if len(text) == 24 and ObjectId.is_valid(text):  # noqa: PLR2004 - hex digits of an ObjectId
        return ObjectId(text)
    raise NotFoundError(what)


def revision_of(document: Mapping[str, Any]) -> int:
    """Return how often a document has been changed."""
    return int(document.get(REVISION) or 0)


class Repository(Generic[S]):
    """The queries that every resource has, over one collection.

    A scope is what the caller may see, as a filter: a document outside of
    it is not found.
    """

    def __init__(
        self,
        documents: Documents,
        kind: type[S],
        what: str,
        *,
        guarded: Sequence[str] = (),
        derived: Collection[str] = (),
        is_marked: Callable[[Document], bool] = lambda _: False,
    ) -> None:
        """Take the collection, its type, and its name in error messages.

        `guarded` are fields that others also write, without advancing the
        revision: a change is only made while they are as they were read.
        `derived` are fields that changes of other fields set beside them.
        `is_marked` says that a batch is changing the document just now; it
        is then read again after a pause.
        """
        self.documents = documents
        self._kind = kind
        self._what = what
        self._guarded = guarded
        self._derived = _DERIVED | set(derived)
        self._is_marked = is_marked

    def read(self, document: Document) -> S:
        """Turn a document into its typed value."""
        return self._kind.from_document(document)

    async def add(self, document: Document) -> S:
        """Store a new document under a new id.

        Raises:
            RuleError: a value that must be unique is taken.
        """
        new = {"_id": ObjectId(), REVISION: 0, **document}
        try:
            stored = await self.documents.insert(new)
        except DuplicateKeyError:
            raise self._taken() from None
        audit_trail.note_made(self._what, stored)
        return self.read(stored)

    async def get(self, item_id: str, scope: Filter) -> S:
        """Return one.

        Raises:
            NotFoundError: there is none, or not for this caller.
        """
        return await self.get_where(self._by_id(item_id, scope))

    async def get_where(self, where: Filter) -> S:
        """Return the one that matches.

        Raises:
            NotFoundError: there is none.
        """
        return self.read(await self._find(where))

    async def change(
        self,
        item_id: str,
        scope: Filter,
        decide: Callable[[S], Mapping[str, Any]],
        *,
        repeatable: bool = False,
    ) -> S:
        """Set the fields that `decide` gives for the current value.

        As `change_where`, of the document with this id.
        """
        where = self._by_id(item_id, scope)
        return await self.change_where(where, decide, repeatable=repeatable)

    async def change_where(
        self,
        where: Filter,
        decide: Callable[[S], Mapping[str, Any]],
        *,
        repeatable: bool = False,
    ) -> S:
        """Set the fields that `decide` gives for the current value.

        The write is conditional on the revision that was read. If another
        change came first, the document is read again: `decide`, which must
        be pure, is asked again if the other change set different fields,
        or if the change is `repeatable`: as right after any other.

        Raises:
            NotFoundError: there is none, or not for this caller.
            ConflictError: a field to be set was changed at the same time.
            RuleError: a value that must be unique is taken.
        """
        lost: tuple[Document, Document] | None = None
        for attempt in range(_ATTEMPTS):
            found = await self._find(where)
            if self._is_marked(found):
                await _pause(attempt)
                continue
            if lost is not None and not repeatable:
                self._refuse_collision(*lost, found)
            changes = dict(decide(self.read(found)))
            document = await self._write(found, changes)
            if document is not None:
                audit_trail.note_changed(self._what, found, changes)
                return self.read(document)
            lost = found, {**found, **changes}
            await _pause(attempt)
        raise self._changed(found)

    async def remove(
        self,
        item_id: str,
        scope: Filter,
        changes: Document | None = None,
        *,
        check: Callable[[S], None] | None = None,
    ) -> None:
        """Delete one that passes `check`, as it is in the moment.

        Raises:
            NotFoundError: there is none, or not for this caller.
            ConflictError: it changes all the time.
        """
        where = self._by_id(item_id, scope)
        for attempt in range(_ATTEMPTS):
            found = await self._find(where)
            if not self._is_marked(found):
                if check is not None:
                    check(self.read(found))
                seen = self.as_seen(found)
                if await self.documents.soft_delete(seen, changes):
                    audit_trail.note_deleted(self._what, found)
                    return
            await _pause(attempt)
        raise self._changed(found)

    def as_seen(self, document: Document) -> Document:
        """Give the condition that a document has not changed since."""
        return {
            "_id": document["_id"],
            # None also finds a document that has no such field.
            REVISION: document.get(REVISION),
            **{name: document.get(name) for name in self._guarded},
        }

    def _refuse_collision(
        self, before: Document, wanted: Document, found: Document
    ) -> None:
        """Refuse a change of a field that the other change has set."""
        both = changed_paths(before, wanted) & changed_paths(before, found)
        if any(path[0] not in self._derived for path in both):
            raise self._changed(found)

    async def _write(
        self, found: Document, changes: Document
    ) -> Document | None:
        advanced = {REVISION: revision_of(found) + 1}
        try:
            return await self.documents.update(
                self.as_seen(found), {**changes, **advanced}
            )
        except DuplicateKeyError:
            raise self._taken() from None

    async def _find(self, where: Filter) -> Document:
        document = await self.documents.find_one(where)
        if document is None:
            raise NotFoundError(self._what)
        return document

    def _by_id(self, item_id: str, scope: Filter) -> Filter:
        return {**scope, "_id": object_id(item_id, self._what)}

    def _taken(self) -> RuleError:
        return RuleError(f"{self._what} with this name already exists")

    def _changed(self, document: Document) -> ConflictError:
        return ConflictError(
            f"{self._what} {document['_id']} was changed or deleted at the "
            "same time; read it again"
        )


async def _pause(attempt: int) -> None:
    """Wait for a time that grows with the attempts, by chance."""
    longest = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
    await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads, hides nothing


def changed_paths(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> set[tuple[str, ...]]:
    """Return the paths of the values that differ; lists are values."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return {
        path
        for path in old.keys() | new.keys()
        if old.get(path) != new.get(path)
    }


def _leaves(
    document: Mapping[str, Any], path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            found += _leaves(value, (*path, name))
        else:
            found.append(((*path, name), value))
    return found
