"""Finds changes of runs, models and workers by comparing what there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.models.live_models import Topic
from api.models.model_models import Model
from api.models.run_models import RunStatus
from api.models.worker_models import Worker
from api.services.live.live_event import LiveEvent
from api.services.models.model_service import ModelService
from api.services.shared.caller import Caller
from api.services.shared.paging import MAX_LIMIT, PageRequest
from api.services.workers.worker_service import WorkerService
from utilities import payload
from utilities.cosmos_connector import Documents

_ADMIN = Caller(is_admin=True)
_ALL = PageRequest(MAX_LIMIT)
_GOING_ON = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED)
_RUN_FIELDS = (
    "clientId",
    "status",
    "revision",
    "currentIteration",
    "currentModelIndex",
    "jobsUsed",
    "tokensUsed",
    "finishReason",
    "failureReason",
)


@dataclass(frozen=True, slots=True)
class _Thing:
    """One thing as it is: whose it is, and what is shown of it."""

    client_id: str | None
    data: Mapping[str, Any]


@dataclass
class Changes:
    """What runs, models and workers were like when they were seen last."""

    runs: Documents
    models: ModelService
    workers: WorkerService
    _seen: dict[Topic, dict[str, _Thing]] = field(default_factory=dict)

    async def look(self, topic: Topic, now: int) -> list[LiveEvent]:
        """Return what has changed since the last look at this topic.

        The first look finds nothing: it is what later ones compare with.

        Raises:
            StoreError: they cannot be read now.
        """
        found = await self._read(topic)
        before = self._seen.get(topic)
        self._seen[topic] = found
        if before is None:
            return []
        changed = [
            _event(f"{topic}.changed", now, thing)
            for key, thing in found.items()
            if before.get(key) != thing
        ]
        gone = [
            _event(f"{topic}.removed", now, thing)
            for key, thing in before.items()
            if key not in found
        ]
        return changed + gone

    def forget(self, topic: Topic) -> None:
        """Compare with nothing that is old: nobody watches."""
        self._seen.pop(topic, None)

    async def _read(self, topic: Topic) -> dict[str, _Thing]:
        if topic is Topic.RUN:
            return await self._read_runs()
        if topic is Topic.MODEL:
            models = (await self.models.page(_ALL)).items
            return {each.model_id: _of_model(each) for each in models}
        workers = (await self.workers.page(_ADMIN, _ALL)).items
        return {each.worker_id: _of_worker(each) for each in workers}

    async def _read_runs(self) -> dict[str, _Thing]:
        known = self._seen.get(Topic.RUN, {})
        going_on = await self.runs.find(
            {"status": {"$in": list(_GOING_ON)}}, fields=_RUN_FIELDS
        )
        found = {str(each["_id"]): each for each in going_on}
        # Those that were going on have ended, or were deleted.
        ended = [
            thing.data["id"]
            for key, thing in known.items()
            if key not in found and thing.data["status"] in _GOING_ON
        ]
        for each in await self._by_ids(ended):
            found[str(each["_id"])] = each
        return {key: _of_run(each) for key, each in found.items()}

    async def _by_ids(self, ids: Sequence[Any]) -> list[dict[str, Any]]:
        if not ids:
            return []
        return await self.runs.find(
            {"_id": {"$in": list(ids)}}, fields=_RUN_FIELDS
        )


def _event(event_type: str, now: int, thing: _Thing) -> LiveEvent:
    data = {k: v for k, v in thing.data.items() if k != "id"}
    return LiveEvent.of(
        event_type,
        now,
        data,
        client_id=thing.client_id,
        key=payload.dump(data),
    )


def _of_run(run: Mapping[str, Any]) -> _Thing:
    data = {name: run.get(name) for name in _RUN_FIELDS}
    return _Thing(
        run["clientId"], {"id": run["_id"], "runId": str(run["_id"]), **data}
    )


def _of_model(model: Model) -> _Thing:
    suspended = model.suspended
    shown = suspended and suspended.model_dump(mode="json", by_alias=True)
    data = {
        "model_id": model.model_id,
        "name": model.name,
        "suspended": shown,
        "updatedAt": model.metadata.updated_at.isoformat(),
    }
    return _Thing(None, data)


def _of_worker(worker: Worker) -> _Thing:
    shown = worker.model_dump(
        mode="json",
        by_alias=True,
        include={"worker_id", "name", "client_id", "status", "group"},
    )
    info = worker.thread_info or {}
    data = {
        **shown,
        "replicas": worker.config.replicas,
        "threads": len(info.get("threads") or ()),
        "error": info.get("error"),
    }
    return _Thing(worker.client_id, data)
