"""Finding, changing and deleting one resource's documents by id."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from api.core.errors import ConflictError, NotFoundError, RuleError
from api.models.base import StoredModel
from utilities.cosmos_connector import Document, Documents, Filter

S = TypeVar("S", bound=StoredModel)


def object_id(text: str, what: str) -> ObjectId:
    """Read an id; a malformed one is answered like an unknown one.

    Raises:
        NotFoundError: it is no id.
    """
    if len(text) == 24 and ObjectId.is_valid(text):  # noqa: PLR2004 - hex digits of an ObjectId
        return ObjectId(text)
    raise NotFoundError(what)


class Repository(Generic[S]):
    """The queries that every resource has, over one collection.

    `scope` is what the caller may see, as a filter: what lies outside is
    not found.
    """

    def __init__(self, documents: Documents, kind: type[S], what: str) -> None:
        self.documents = documents
        self._kind = kind
        self._what = what

    def read(self, document: Document) -> S:
        """Turn a document into its typed value."""
        return self._kind.from_document(document)

    async def add(self, document: Document) -> S:
        """Store a new document under a new id.

        Raises:
            RuleError: what must be unique is taken.
        """
        try:
            stored = await self.documents.insert(
                {"_id": ObjectId(), **document}
            )
        except DuplicateKeyError:
            raise self._taken() from None
        return self.read(stored)

    async def get(self, item_id: str, scope: Filter) -> S:
        """Return one.

        Raises:
            NotFoundError: there is none, or not for this caller.
        """
        where = {**scope, "_id": object_id(item_id, self._what)}
        document = await self.documents.find_one(where)
        if document is None:
            raise NotFoundError(self._what)
        return self.read(document)

    async def change(
        self, item_id: str, changes: Mapping[str, Any], expected: Filter
    ) -> S:
        """Set fields of one that is still as `expected`.

        Raises:
            ConflictError: it changed since the caller looked.
            RuleError: what must be unique is taken.
        """
        where = {**expected, "_id": object_id(item_id, self._what)}
        try:
            document = await self.documents.update(where, changes)
        except DuplicateKeyError:
            raise self._taken() from None
        if document is None:
            raise ConflictError(
                f"{self._what} {item_id} was changed or deleted by somebody "
                "else in the meantime; read it again"
            )
        return self.read(document)

    async def remove(
        self, item_id: str, expected: Filter, changes: Document | None = None
    ) -> None:
        """Delete one that is still as `expected`.

        Raises:
            ConflictError: it changed since the caller looked.
        """
        where = {**expected, "_id": object_id(item_id, self._what)}
        if not await self.documents.soft_delete(where, changes):
            raise ConflictError(
                f"{self._what} {item_id} was changed or deleted by somebody "
                "else in the meantime"
            )

    def _taken(self) -> RuleError:
        return RuleError(f"{self._what} with this name already exists")
