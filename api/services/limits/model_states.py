"""Which models are suspended: one document a model, for all processes.

Every change is conditional: on the state that was seen, on its `epoch`, or
on the token of the trial call. An epoch ends when the model is resumed:
what a call of an earlier epoch tells is out of date.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import structlog

from api.models.model_models import Model
from api.models.suspension_models import (
    OnSuspended,
    Suspended,
    SuspendReason,
)
from utilities.clock import to_datetime
from utilities.cosmos_connector import Document, Documents, DuplicateKeyError

log = structlog.get_logger(__name__)

_SUSPENDED, _ACTIVE = True, False


@dataclass(frozen=True, slots=True)
class ModelState:
    """A suspended model; times in ms.

    `names` are what its jobs may call it. `revision` is the model's, as it
    was when it was suspended.
    """

    model_id: str
    names: frozenset[str]
    policy: OnSuspended
    reason: SuspendReason
    message: str
    since: int
    retry_at: int
    epoch: int = 0
    revision: str = ""

    @property
    def name(self) -> str:
        """The model's name."""
        return next(iter(self.names - {self.model_id}), self.model_id)

    @property
    def is_waited_for(self) -> bool:
        """Whether the model's jobs wait in the queue."""
        return self.policy is OnSuspended.WAIT

    def shown(self) -> Suspended:
        """Give it as the API shows it."""
        return Suspended(
            reason=self.reason,
            message=self.message,
            since=to_datetime(self.since),
            retry_at=to_datetime(self.retry_at),
        )

    def of_model(self, model: Model) -> Self:
        """Take over what the model's document says by now."""
        names = frozenset({model.model_id, model.name})
        return replace(self, names=names, policy=model.on_suspended)


def revision_of(model: Model) -> str:
    """Tell one version of a model's settings from another."""
    return model.metadata.updated_at.isoformat()


class ModelStateStore:
    """The queries of the states."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def read(self) -> tuple[list[ModelState], dict[str, int]]:
        """Return the suspended models, and the epochs of all others."""
        suspended: list[ModelState] = []
        epochs: dict[str, int] = {}
        for document in await self._documents.find({}):
            try:
                if document["suspended"]:
                    suspended.append(_read(document))
                else:
                    epochs[document["_id"]] = document["epoch"]
            except (KeyError, ValueError, TypeError) as error:
                log.warning(
                    "model_state_broken",
                    modelId=str(document["_id"]),
                    error=type(error).__name__,
                )
        return suspended, epochs

    async def suspend(self, state: ModelState) -> bool:
        """Suspend a model that is not; False if its epoch has ended."""
        seen = {
            "_id": state.model_id,
            "suspended": _ACTIVE,
            "epoch": state.epoch,
        }
        fields = _fields(state)
        if await self._documents.update(seen, fields):
            return True
        if state.epoch:
            return False
        try:
            new = {"_id": state.model_id, "epoch": 0, **fields}
            await self._documents.insert(new)
        except DuplicateKeyError:
            return False
        return True

    async def take_trial(
        self, state: ModelState, retry_at: int, token: str
    ) -> bool:
        """Take the one trial call that is due; the next is at `retry_at`."""
        seen = {**_suspended(state), "retryAt": state.retry_at}
        changes = {"retryAt": retry_at, "trial": token}
        return bool(await self._documents.update(seen, changes))

    async def trial_failed(self, state: ModelState, token: str) -> None:
        """Note what the trial call with this token told."""
        seen = {**_suspended(state), "trial": token}
        changes = {
            "reason": state.reason,
            "message": state.message,
            "retryAt": state.retry_at,
        }
        await self._documents.update(seen, changes)

    async def resume(self, state: ModelState) -> bool:
        """End the state; False if it has ended already."""
        changes = {"suspended": _ACTIVE, "epoch": state.epoch + 1}
        return bool(await self._documents.update(_suspended(state), changes))

    async def changed(
        self, state: ModelState, revision: str, now: int
    ) -> None:
        """Have a trial call made at once: the model was changed."""
        seen = {**_suspended(state), "revision": state.revision}
        changes = {"revision": revision, "retryAt": now}
        await self._documents.update(seen, changes)

    async def forget(self, model_id: str) -> None:
        """Remove the state of a model that was deleted."""
        await self._documents.erase({"_id": model_id})


def _suspended(state: ModelState) -> Document:
    return {
        "_id": state.model_id,
        "suspended": _SUSPENDED,
        "epoch": state.epoch,
    }


def _fields(state: ModelState) -> Document:
    return {
        "suspended": _SUSPENDED,
        "name": state.name,
        "policy": state.policy,
        "reason": state.reason,
        "message": state.message,
        "since": state.since,
        "retryAt": state.retry_at,
        "revision": state.revision,
        "trial": None,
    }


def _read(document: Mapping[str, Any]) -> ModelState:
    model_id = document["_id"]
    return ModelState(
        model_id=model_id,
        names=frozenset({model_id, document["name"]}),
        policy=OnSuspended(document["policy"]),
        reason=SuspendReason(document["reason"]),
        message=document["message"],
        since=document["since"],
        retry_at=document["retryAt"],
        epoch=document["epoch"],
        revision=document["revision"],
    )
