"""Models: made by the administrator, used by every client."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr, ValidationError

from api.core.errors import ConflictError, NotFoundError, RuleError
from api.models.model_models import (
    Model,
    ModelCreate,
    ModelUpdate,
    ModelWithKey,
)
from api.models.resilience_models import ResilienceSettings
from api.models.suspension_models import Suspended
from api.services.limits.prices import known_cost
from api.services.models.llm_config import settings_of
from api.services.models.neighbours import Keys, NoRoutes, Routes, Sdks
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository
from config import RefusedModelKeyError, default_key_reference
from llm_sdks.errors import ConfigurationError
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, Filter, ObjectId
from utilities.slices import blocks

# Names and ids of one question to the database.
_BLOCK = 500


# Changes of one model at once: each merge is made again with what the
# others have stored.
_MOST_TRIES = 5
# Stands for the secret, which need not be set yet where models are made.
_NO_KEY_YET = SecretStr("set-later")


class ModelService:
    """Rules of models."""

    def __init__(
        self,
        documents: Documents,
        sdks: Sdks,
        keys: Keys,
        suspended: Callable[[str], Suspended | None] = lambda _: None,
        clock: Clock = now_ms,
        routes: Routes | None = None,
    ) -> None:
        """Take what tells, of a model's id, whether it is suspended."""
        self._documents = documents
        self._sdks = sdks
        self._keys = keys
        self._suspended = suspended
        self._clock = clock
        self._routes = routes or NoRoutes()
        self._models = Repository(documents, ModelWithKey, "Model")

    async def create(self, request: ModelCreate) -> ModelWithKey:
        """Store a model; its name must be free among the undeleted.

        Raises:
            ConflictError: a route has its name.
            RequestValidationError: the plug-in refuses its settings, or
                its key must not come from the named variable.
        """
        self._check_sdk(request.sdk)
        fields = request.model_dump(by_alias=True)
        fields["key"] = request.key or default_key_reference(request.name)
        self._check_key(fields)
        self._check_by_plugin(fields)
        await self._routes.check_free(request.name)
        model = await self._models.add({**fields, "liveKey": request.name})
        try:
            await self._routes.check_free(request.name)
        except ConflictError:
            await self._remove(model.model_id)
            raise
        return model

    async def page(self, page: PageRequest) -> Page[Model]:
        """List all models."""
        return await fetch_page(self._documents, {}, page, self._read)

    async def get(self, model_id: str) -> Model:
        """Return one.

        Raises:
            NotFoundError: there is none.
        """
        return self.shown(await self._models.get(model_id, {}))

    async def update(self, model_id: str, request: ModelUpdate) -> Model:
        """Change what is given; the result must be a valid model.

        Raises:
            ConflictError: others changed it again and again meanwhile, or
                a route has its new name.
            RequestValidationError: the plug-in refuses its settings.
        """
        if request.sdk is not None:
            self._check_sdk(request.sdk)
        if request.name is not None:
            await self._routes.check_free(request.name)
        before: list[Model] = []

        def decide(current: Model) -> Document:
            before[:] = [current]
            return self._changes(current, request)

        changed = await self._models.change(model_id, {}, decide)
        if request.name is not None:
            await self._keep_name_apart(model_id, request.name, before[0].name)
        return self.shown(changed)

    async def _keep_name_apart(
        self, model_id: str, name: str, before: str
    ) -> None:
        """Take a new name back if a route has got it meanwhile."""
        try:
            await self._routes.check_free(name)
        except ConflictError:
            old = {"name": before, "liveKey": before}
            await self._models.change(model_id, {}, lambda _: old)
            raise

    def suspended(self, model_id: str) -> Suspended | None:
        """Return the state of a model whose account is stopped."""
        return self._suspended(model_id)

    def shown(self, model: Model) -> Model:
        """Return a model with its state, as people see it."""
        suspended = self.suspended(model.model_id)
        if suspended is None:
            return model
        return model.model_copy(update={"suspended": suspended})

    def _read(self, document: Document) -> Model:
        return self.shown(Model.from_document(document))

    async def delete(self, model_id: str) -> None:
        """Delete the model; its name is free again.

        Raises:
            ConflictError: it is a target of a route.
            NotFoundError: there is none.
        """
        await self._models.get(model_id, {})
        await self._routes.check_unused(model_id)
        await self._remove(model_id)

    async def _remove(self, model_id: str) -> None:
        await self._models.remove(
            model_id, {}, {"liveKey": f"deleted:{model_id}"}
        )

    async def find(self, reference: str) -> ModelWithKey:
        """Return the model that a job names, by its name or its id.

        Raises:
            NotFoundError: there is none.
        """
        document = await self._documents.find_one(_named(reference))
        if document is None:
            raise NotFoundError("Model")
        return await self._priced(ModelWithKey.from_document(document))

    async def named(self, references: Collection[str]) -> dict[str, Model]:
        """Return the models that jobs name, by these names; no routes."""
        ids = await self.ids(references)
        found = await self.by_ids(set(ids.values()))
        models = {each.model_id: each for each in found}
        return {
            name: models[ids[name]]
            for name in references
            if ids.get(name) in models
        }

    async def by_ids(self, model_ids: Collection[str]) -> list[Model]:
        """Return those of the models that exist."""
        ids = [ObjectId(each) for each in model_ids]
        found = await self._documents.find({"_id": {"$in": ids}})
        return [Model.from_document(each) for each in found]

    async def missing(
        self, references: set[str], *, routes: bool = False
    ) -> set[str]:
        """Tell which of the models that jobs name do not exist.

        With `routes`, they may be routes as well.
        """
        gone = references - (await self.ids(references)).keys()
        if not (gone and routes):
            return gone
        return gone - await self._routes.among(gone)

    async def check(
        self, references: set[str], *, routes: bool = False
    ) -> None:
        """Make sure that all models exist that somebody names.

        Raises:
            RuleError: names one that does not, or that must not be a route.
        """
        gone = await self.missing(references, routes=routes)
        if not gone:
            return
        name = min(gone)
        if name in await self._routes.among(gone):
            raise RuleError(
                f"{name!r} is a route; here the model must be one model, "
                "whose answers are kept and compared"
            )
        raise RuleError(f"the model {name!r} was not found")

    async def ids(self, references: Collection[str]) -> dict[str, str]:
        """Return the ids of the models that jobs name, by these names."""
        found: dict[str, str] = {}
        for block in blocks(sorted(references), _BLOCK):
            ids = [ObjectId(each) for each in block if ObjectId.is_valid(each)]
            named = {"name": {"$in": list(block)}}
            where = {"$or": [named, {"_id": {"$in": ids}}]} if ids else named
            for document in await self._documents.find(where, fields=["name"]):
                model_id = str(document["_id"])
                found |= {document["name"]: model_id, model_id: model_id}
        return found

    async def _priced(self, model: ModelWithKey) -> ModelWithKey:
        """Give a model without a cost the published one, if it is known."""
        if model.cost is not None:
            return model
        cost = await asyncio.to_thread(
            known_cost,
            model.sdk,
            model.endpoint,
            model.deployment or model.name,
            self._clock() / 1000,
        )
        return model.model_copy(update={"cost": cost})

    def _check_sdk(self, name: str) -> None:
        names = self._sdks.names()
        if name not in names:
            raise _unknown_sdk(name, names)

    def _changes(self, current: Model, request: ModelUpdate) -> Document:
        """Give the fields that a change of a model sets.

        Raises:
            RuleError: the result would be no valid model.
        """
        changes = request.model_dump(by_alias=True, exclude_unset=True)
        _merge(current, request, changes)
        self._check_whole(current, changes)
        if "name" in changes:
            changes["liveKey"] = changes["name"]
        return changes

    def _check_whole(self, current: Model, changes: Document) -> None:
        for name, value in changes.items():
            if value is None and name not in _MAY_BE_NULL:
                raise RuleError(f"{name} must not be null")
        fields: dict[str, Any] = current.model_dump(by_alias=True) | changes
        if fields["maxToken"] is None and fields["maxCompletionToken"] is None:
            raise RuleError(
                "At least one of maxToken and maxCompletionToken is needed"
            )
        if fields["minTemperature"] > fields["maxTemperature"]:
            raise RuleError("minTemperature must not be above maxTemperature")
        if changes.keys() & {"key", "keys", "sdk"}:
            self._check_key(fields)
        if changes.keys() & _OF_THE_PLUGIN:
            self._check_by_plugin(fields)

    def _check_key(self, fields: Document) -> None:
        """Check a reference that was given; calls check the others too."""
        name = fields["sdk"]
        if name in self._sdks.names() and not self._sdks.needs_key(name):
            return  # it is never read
        given = list(fields.get("keys") or ())
        if fields["key"] != default_key_reference(fields["name"]):
            given.append(fields["key"])  # somebody has named it
        try:
            for reference in given:
                self._keys.check(reference)
        except RefusedModelKeyError as error:
            raise _refused_key(str(error)) from None

    def _check_by_plugin(self, fields: Document) -> None:
        """Let the plug-in judge a model's settings, but for its secret."""
        name = fields["sdk"]
        if name not in self._sdks.names():
            return  # of another installation; its calls say so
        needs_key = self._sdks.needs_key(name)
        key = _NO_KEY_YET if needs_key else SecretStr("")
        try:
            self._sdks.check(name, settings_of(fields, key))
        except ConfigurationError as error:
            raise _refused_settings(str(error)) from None


def _merge(current: Model, given: ModelUpdate, changes: Document) -> None:
    """Put the given parts of nested objects over what is there."""
    if changes.get("cost") is not None and given.cost is not None:
        cost = current.cost or given.cost
        before = cost.model_dump(by_alias=True)
        changes["cost"] = _merged(before, changes["cost"])
    if "resilience" in changes:
        changes["resilience"] = _resilience(current, changes["resilience"])
    if "limits" in changes:
        limits = changes["limits"]
        before = current.limits.model_dump(by_alias=True)
        # Null takes all limits away.
        changes["limits"] = {} if limits is None else _merged(before, limits)
    if changes.get("filters") is not None and current.filters is not None:
        before = current.filters.model_dump(by_alias=True)
        changes["filters"] = _merged(before, changes["filters"])
    if changes.get("profile") is not None and current.profile is not None:
        said = current.profile.model_dump(by_alias=True)
        changes["profile"] = _merged(said, changes["profile"])


def _resilience(current: Model, given: Document | None) -> Document:
    """Give what is kept with what is given; null means the defaults."""
    before: Document = current.resilience.model_dump(by_alias=True)
    fields: Document = {} if given is None else _merged(before, given)
    try:
        whole = ResilienceSettings.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise RuleError(f"resilience: {problem['msg']}") from None
    return whole.model_dump(by_alias=True)


def _merged(before: Document, given: Document) -> Document:
    """Put what is given over what was there, at every level."""
    merged = dict(before)
    for name, value in given.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[name] = _merged(old, value)
        else:
            merged[name] = value
    return merged


_MAY_BE_NULL = frozenset(
    {"service", "maxToken", "maxCompletionToken", "profile", "cost"}
    | {"budget", "filters", "keys"}
)
# What a plug-in's check of the settings depends on.
_OF_THE_PLUGIN = frozenset(
    {
        "sdk", "name", "endpoint", "apiType", "apiVersion", "deployment",
        "service", "maxToken", "maxCompletionToken", "minTemperature",
        "maxTemperature", "profile",
    }
)  # fmt: skip


def _named(reference: str) -> Filter:
    if ObjectId.is_valid(reference):
        return {"$or": [{"name": reference}, {"_id": ObjectId(reference)}]}
    return {"name": reference}


def _unknown_sdk(name: str, names: list[str]) -> RequestValidationError:
    # The contract answers this as a failure of the request's schema.
    message = f"Unknown SDK {name!r}; registered are: {', '.join(names)}"
    return RequestValidationError(
        [{"type": "unknown_sdk", "loc": ("body", "sdk"), "msg": message}]
    )


def _refused_settings(message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "model_settings", "loc": ("body",), "msg": message}]
    )


def _refused_key(message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "model_key", "loc": ("body", "key"), "msg": message}]
    )
