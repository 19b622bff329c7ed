"""Prompts: versioned, a client's own or public."""

from collections.abc import Iterable
from dataclasses import dataclass

from api.core.errors import ConflictError, NotFoundError
from api.models.prompt_models import (
    Prompt,
    PromptCreate,
    PromptStatus,
    PromptUpdate,
)
from api.services.prompts.version_counters import (
    VersionCounters,
    VersionedName,
    whole_number,
)
from api.services.shared import sharing
from api.services.shared.audit_trail import note_made
from api.services.shared.caller import Caller
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import REVISION, Repository
from utilities import payload
from utilities.cosmos_connector import (
    Document,
    Documents,
    DuplicateKeyError,
    Filter,
    ObjectId,
    StoreError,
)
from utilities.slices import blocks

_WHAT = "prompt"
# A number is taken already where a client named it itself, or where the
# counter has just started again.
_VERSION_ATTEMPTS = 20
# Ids of one question to the database.
_BLOCK = 500


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

    def __init__(
        self, documents: Documents, versions: VersionCounters
    ) -> None:
        self._documents = documents
        self._versions = versions
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
        """Store a prompt of `owner`, which is None if it is public.

        Raises:
            RuleError: this version exists already.
            ConflictError: every number that was tried was taken just then.
        """
        fields = {**request.model_dump(by_alias=True), "clientId": owner}
        name = VersionedName(owner, request.name, request.type)
        if request.version is None:
            return await self._add_next(name, fields)
        prompt = await self._prompts.add(_with_live_key(fields))
        if number := whole_number(request.version):
            await self._versions.raise_to(name, number)
        return prompt

    async def add_once(
        self, prompt_id: str, request: PromptCreate, owner: str
    ) -> Prompt:
        """Store a prompt of `owner` under an id that was made of its content.

        Again, and at the same time elsewhere, it answers the first one;
        also one that has been deleted since.
        """
        known = await self._documents.find_all({"_id": ObjectId(prompt_id)})
        if known:
            return self._prompts.read(known[0])
        fields = {
            **request.model_dump(by_alias=True),
            "_id": ObjectId(prompt_id),
            "clientId": owner,
        }
        name = VersionedName(owner, request.name, request.type)
        return await self._add_next(name, fields)

    async def _add_next(self, name: VersionedName, fields: Document) -> Prompt:
        for _ in range(_VERSION_ATTEMPTS):
            version = str(await self._versions.next(name))
            document = _with_live_key({**fields, "version": version})
            try:
                stored = await self._documents.insert(
                    {"_id": ObjectId(), REVISION: 0, **document}
                )
            except DuplicateKeyError:
                if (known := await self._stored(fields)) is not None:
                    return known
                await self._versions.catch_up(name)
            except StoreError:
                # Its number is not used: the next prompt shall have it.
                await self._versions.forget(name)
                raise
            else:
                note_made("Prompt", stored)
                return self._prompts.read(stored)
        raise ConflictError(
            "Too many versions of this prompt are being added; try again"
        )

    async def _stored(self, fields: Document) -> Prompt | None:
        """Return a prompt that another process has stored in its place."""
        if "_id" not in fields:
            return None
        known = await self._documents.find_all({"_id": fields["_id"]})
        return self._prompts.read(known[0]) if known else None

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
        """Change the given fields.

        Raises:
            ForbiddenError: what only the administrator may do.
            RuleError: this version exists already.
        """
        before = await self.get(prompt_id, caller)
        after = await self._prompts.change(
            prompt_id,
            caller.own_or_public,
            lambda current: _changes(current, request, caller),
        )
        if after.version != before.version or (
            after.client_id != before.client_id
        ):
            for prompt in (before, after):
                await self._versions.forget(VersionedName.of(prompt))
        return after

    async def delete(self, prompt_id: str, caller: Caller) -> None:
        """Delete one; its version is free again."""
        prompt = await self.get(prompt_id, caller)
        sharing.check_may("delete", prompt, caller, _WHAT)
        # Before, so that the counter never stays ahead.
        if number := whole_number(prompt.version):
            await self._versions.forget(VersionedName.of(prompt), number)
        await self._prompts.remove(
            prompt_id,
            caller.own_or_public,
            {"liveKey": f"deleted:{prompt_id}"},
            check=lambda current: sharing.check_may(
                "delete", current, caller, _WHAT
            ),
        )

    async def missing(
        self, prompt_ids: Iterable[str], client_id: str
    ) -> set[str]:
        """Tell which of these the client's work cannot use.

        Also for an administrator, who sees more than the work will.
        """
        wanted = set(prompt_ids)
        own_or_public = Caller(client_id).own_or_public
        found: set[str] = set()
        for block in blocks(_object_ids(wanted), _BLOCK):
            where = {**own_or_public, "_id": {"$in": list(block)}}
            for document in await self._documents.find(where, fields=["_id"]):
                found.add(str(document["_id"]))
        return wanted - found

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


def _changes(
    current: Prompt, request: PromptUpdate, caller: Caller
) -> Document:
    """Give the fields that a change of a prompt sets.

    Raises:
        ForbiddenError: the change needs the administrator.
        RuleError: the result would make no sense.
    """
    changes = sharing.changes_of(current, request, caller, _WHAT)
    fields = current.model_dump(by_alias=True) | changes
    return {**changes, "liveKey": _live_key(fields)}


def _object_ids(texts: Iterable[str]) -> list[ObjectId]:
    return [ObjectId(text) for text in texts if ObjectId.is_valid(text)]


def _live_key(fields: Document) -> str:
    parts = [fields[key] for key in ("clientId", "name", "type", "version")]
    return payload.dump(parts)


def _with_live_key(fields: Document) -> Document:
    return {**fields, "liveKey": _live_key(fields)}
