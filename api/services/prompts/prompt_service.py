"""Prompts: versioned, a client's own or public."""

from collections.abc import Iterable
from dataclasses import dataclass

from api.core.errors import NotFoundError, RuleError
from api.models.prompt_models import (
    Prompt,
    PromptCreate,
    PromptStatus,
    PromptUpdate,
)
from api.services.shared import sharing
from api.services.shared.caller import Caller
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository
from utilities import payload
from utilities.cosmos_connector import (
    Document,
    Documents,
    DuplicateKeyError,
    Filter,
    ObjectId,
)

_WHAT = "prompt"
# Two clients that add a version in the same moment take the same number;
# the one that comes second takes the next.
_VERSION_TRIES = 20


@dataclass(frozen=True, slots=True)
class PromptFilter:
    """What `GET /prompts` can be narrowed to."""

    name: str | None = None
    type: str | None = None
    status: PromptStatus | None = None
    version: str | None = None

    def to_query(self) -> Filter:
        """Give the filter as the store's."""
        fields = {
            "name": self.name,
            "type": self.type,
            "status": self.status,
            "version": self.version,
        }
        return {k: str(v) for k, v in fields.items() if v is not None}


class PromptService:
    """Rules and ownership of prompts."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._prompts = Repository(documents, Prompt, "Prompt")

    async def create(self, request: PromptCreate, caller: Caller) -> Prompt:
        """Store a prompt, by default as the next version of its name.

        Raises:
            ForbiddenError: a client asked for a public prompt.
            RuleError: this version exists already.
        """
        owner = sharing.owner_of_new(
            public=request.is_public, caller=caller, what=_WHAT
        )
        return await self.add(request, owner)

    async def add(self, request: PromptCreate, owner: str | None) -> Prompt:
        """Store a prompt of `owner`, who is nobody if it is public."""
        fields = {**request.model_dump(by_alias=True), "clientId": owner}
        if request.version is not None:
            return await self._prompts.add(_with_live_key(fields))
        for _ in range(_VERSION_TRIES):
            fields["version"] = await self._next_version(fields)
            try:
                document = {"_id": ObjectId(), **_with_live_key(fields)}
                stored = await self._documents.insert(document)
                return Prompt.from_document(stored)
            except DuplicateKeyError:
                continue
        raise RuleError("Too many versions of this prompt are being added")

    async def page(
        self, caller: Caller, wanted: PromptFilter, page: PageRequest
    ) -> Page[Prompt]:
        """List the caller's own and all public prompts."""
        where = {**caller.own_or_public, **wanted.to_query()}
        return await fetch_page(
            self._documents, where, page, Prompt.from_document
        )

    async def get(self, prompt_id: str, caller: Caller) -> Prompt:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        return await self._prompts.get(prompt_id, caller.own_or_public)

    async def update(
        self, prompt_id: str, request: PromptUpdate, caller: Caller
    ) -> Prompt:
        """Change what is given.

        Raises:
            ForbiddenError: what only the administrator may do.
            RuleError: this version exists already.
        """
        current = await self.get(prompt_id, caller)
        changes = sharing.changes_of(current, request, caller, _WHAT)
        fields = current.model_dump(by_alias=True) | changes
        changes["liveKey"] = _live_key(fields)
        expected = {
            "version": current.version,
            "clientId": current.client_id,
        }
        return await self._prompts.change(prompt_id, changes, expected)

    async def delete(self, prompt_id: str, caller: Caller) -> None:
        """Delete one; its version is free again."""
        current = await self.get(prompt_id, caller)
        sharing.check_may("delete", current, caller, _WHAT)
        await self._prompts.remove(
            prompt_id, {}, {"liveKey": f"deleted:{prompt_id}"}
        )

    async def missing(
        self, prompt_ids: Iterable[str], client_id: str
    ) -> set[str]:
        """Tell which of these the client's work cannot use.

        Also for an administrator, who sees more than the work will.
        """
        wanted = set(prompt_ids)
        usable = Caller(client_id).own_or_public
        found = await self._documents.find(
            {**usable, "_id": {"$in": _object_ids(wanted)}},
            fields=["_id"],
        )
        return wanted - {str(document["_id"]) for document in found}

    async def usable(
        self, prompt_ids: Iterable[str], client_id: str
    ) -> dict[str, Prompt]:
        """Return the prompts a client's job uses, by their ids.

        Raises:
            NotFoundError: one is gone; names it.
        """
        wanted = list(dict.fromkeys(prompt_ids))
        where = Caller(client_id).own_or_public
        found = await self._documents.find(
            {**where, "_id": {"$in": _object_ids(wanted)}}
        )
        prompts = {str(doc["_id"]): Prompt.from_document(doc) for doc in found}
        for prompt_id in wanted:
            if prompt_id not in prompts:
                raise NotFoundError(f"Prompt {prompt_id}")
        return prompts

    async def _next_version(self, fields: Document) -> str:
        same = {key: fields[key] for key in ("clientId", "name", "type")}
        found = await self._documents.find(same, fields=["version"])
        whole = [_whole_number(document["version"]) for document in found]
        return str(max(whole, default=0) + 1)


def _whole_number(version: str) -> int:
    is_number = version.isascii() and version.isdecimal()
    return int(version) if is_number else 0


def _object_ids(texts: Iterable[str]) -> list[ObjectId]:
    return [ObjectId(text) for text in texts if ObjectId.is_valid(text)]


def _live_key(fields: Document) -> str:
    parts = [fields[key] for key in ("clientId", "name", "type", "version")]
    return payload.dump(parts)


def _with_live_key(fields: Document) -> Document:
    return {**fields, "liveKey": _live_key(fields)}
