"""Every process reports how its calls go; a request reads them all."""

from collections import Counter
from collections.abc import Collection

from api.models.model_health_models import (
    BreakerHealth,
    ModelHealth,
    ProcessHealth,
)
from api.models.model_models import Model
from api.models.profile_models import ProfileSettings
from llm_sdks.profiles.learnt import LearntProfiles
from llm_sdks.profiles.profile import NOTHING, Profile
from llm_sdks.resilience.circuit_breaker import BreakerState
from llm_sdks.resilience.model_gate import GateState, ModelGates
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import Document, Documents, Filter

# Who has not reported for so long is dead.
_FORGOTTEN_MS = 15_000


class ModelHealthService:
    """The states of gates, kept where all processes see them."""

    def __init__(
        self,
        documents: Documents,
        gates: ModelGates,
        process_id: str,
        clock: Clock = now_ms,
        learnt: LearntProfiles | None = None,
    ) -> None:
        self._documents = documents
        self._gates = gates
        self._process_id = process_id
        self._clock = clock
        self._learnt = learnt or LearntProfiles()

    async def report(self) -> None:
        """Tell how this process's calls go."""
        reports = [
            self._document(model_id, gate.state())
            for model_id, gate in self._gates.all().items()
        ]
        if reports:
            await self._documents.put_each(reports)

    async def withdraw(self) -> None:
        """Take this process's reports back, and those of dead ones."""
        forgotten = {"reportedAt": {"$lt": self._clock() - _FORGOTTEN_MS}}
        for where in ({"process": self._process_id}, forgotten):
            await self._documents.erase(where)

    async def of(self, model: Model) -> ModelHealth:
        """Put together what the living processes know of a model."""
        found = await self._reports({"modelId": model.model_id})
        processes = [process for _, process in found]
        failed = Counter[str]()
        for process in processes:
            failed.update(process.failed)
        learnt = _learnt_by(processes)
        return ModelHealth(
            model_id=model.model_id,
            name=model.name,
            available=model.suspended is None
            and all(_is_available(each) for each in processes),
            suspended=model.suspended,
            running=sum(each.running for each in processes),
            succeeded=sum(each.succeeded for each in processes),
            failed=dict(failed),
            learnt=learnt,
            refused_options=learnt.refused_options if learnt else (),
            processes=processes,
        )

    async def waits(self, model_ids: Collection[str]) -> dict[str, float]:
        """Return the seconds until models that are paused are tried."""
        waits: dict[str, float] = {}
        where = {"modelId": {"$in": list(model_ids)}}
        for model_id, process in await self._reports(where):
            if not _is_available(process):
                trial = process.circuit_breaker.next_trial_seconds or 0.0
                wait = max(trial, process.paused_seconds)
                waits[model_id] = max(wait, waits.get(model_id, 0.0))
        return waits

    async def _reports(self, where: Filter) -> list[tuple[str, ProcessHealth]]:
        """Return what living processes say, and of which model."""
        found = await self._documents.find(
            {
                **where,
                "reportedAt": {"$gt": self._clock() - _FORGOTTEN_MS},
                # A process of an earlier version reports it in another form.
                "health": {"$ne": None},
            }
        )
        return [
            (
                document["modelId"],
                ProcessHealth.model_validate_json(document["health"]),
            )
            for document in found
        ]

    def _document(self, model_id: str, state: GateState) -> Document:
        now = self._clock()
        learnt = self._learnt.of(model_id)
        health = _health_of(self._process_id, now, state, learnt)
        return {
            "_id": f"{self._process_id}/{model_id}",
            "process": self._process_id,
            "modelId": model_id,
            "reportedAt": now,
            "health": health.model_dump_json(by_alias=True),
            "_metadata.isDeleted": False,
        }


def _learnt_by(processes: list[ProcessHealth]) -> ProfileSettings | None:
    whole = NOTHING
    for process in processes:
        if process.learnt is not None:
            whole = process.learnt.profile.over(whole)
    return None if whole == NOTHING else ProfileSettings.of(whole)


def _health_of(
    process: str, now: int, state: GateState, learnt: Profile
) -> ProcessHealth:
    return ProcessHealth(
        process=process,
        reported_at=to_datetime(now),
        circuit_breaker=BreakerHealth(
            state=state.breaker,
            failures_in_a_row=state.failures_in_a_row,
            open_seconds=_rounded(state.open_seconds),
            next_trial_seconds=_rounded(state.next_trial_seconds),
        ),
        concurrency_limit=state.concurrency_limit,
        running=state.running,
        waiting=state.waiting,
        paused_seconds=round(state.paused_seconds, 1),
        succeeded=state.succeeded,
        failed=state.failed,
        last_error=state.last_error,
        last_error_seconds=_rounded(state.last_error_seconds),
        learnt=None if learnt == NOTHING else ProfileSettings.of(learnt),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _is_available(process: ProcessHealth) -> bool:
    is_closed = process.circuit_breaker.state is BreakerState.CLOSED
    return is_closed and process.paused_seconds == 0
