"""Brings runs on a dataset on: wave after wave, each stored before the next.

The session of a run is a pure function of its stored waves. It is kept in
memory while the run is running, and made anew from the waves after a
restart, or where another process has gone on with the run. A wave is
planned, done and stored; dying between any two steps leads to the same
prompts, since plans are stored first and jobs are known by their content.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from api.core.errors import MetasyncError
from api.models.metrics import ProcessingMetrics, add_up
from api.models.run_models import FinishReason, Run, RunStatus
from api.services.runs.run_jobs import RunJobs, RunUsage
from api.services.runs.run_service import RunService
from api.services.runs.run_waves import RunWaves, StoredWave
from llm_optimizers import run_results
from llm_optimizers.run_material import (
    Material,
    MaterialReader,
    UnusableDataError,
)
from llm_optimizers.run_results import as_json
from llm_optimizers.strategies.protocol import Evaluate, Results, Stop, Wave
from llm_optimizers.strategies.session import Proposed, Session, Stage
from llm_optimizers.wave_cut import (
    Allowance,
    Largest,
    Size,
    allowances,
    cut,
    tightest,
)
from llm_optimizers.wave_text import (
    dump_plan,
    dump_results,
    load_plan,
    load_results,
    same_wave,
)
from llm_optimizers.wave_work import (
    BUDGET_EXHAUSTED,
    Found,
    WaveMaker,
    WaveWork,
)

_CHANGED = (
    "What was stored of this run does not fit it any more: its dataset, its "
    "prompts or Metasync have changed. Begin a new run; answers that are "
    "there already cost nothing."
)
_UNCONFIRMED = (
    "The best was not tried on all validation items, since a limit was "
    "reached: its score there is partly that of the prompts it was made of."
)
_UNTESTED = (
    "A limit was reached before the test: there is no verdict. Allow more "
    "jobs, tokens or cost."
)

log = structlog.get_logger(__name__)


class _StoppedError(Exception):
    """The run cannot go on; says why."""


@dataclass(slots=True)
class _Live:
    """A run in memory."""

    session: Session
    material: Material
    attempt: int
    # The number of the wave that is planned or under way.
    number: int = 0
    planned: StoredWave | None = None
    work: WaveWork | None = None
    limit: Stop | None = None
    prompt_ids: dict[int, tuple[str, ...]] = field(default_factory=dict)
    used: dict[int, tuple[int, ProcessingMetrics]] = field(
        default_factory=dict
    )
    cached: int = 0
    looks: int = 0
    largest: Largest = field(default_factory=Largest)
    # Candidates whose documents are not up to date.
    changed: set[int] = field(default_factory=set)

    def take(self, wave: StoredWave) -> None:
        """Accept the results of the wave that is under way.

        Raises:
            _StoppedError: the session has proposed another wave.
        """
        proposed, limit = load_plan(wave.plan)
        expected = self.session.proposed
        if (
            expected is None
            or wave.results is None
            or expected.stage is not proposed.stage
            or not same_wave(proposed.wave, expected.wave)
        ):
            raise _StoppedError(_CHANGED)
        before = len(self.session.candidates())
        self._tally(wave.results, proposed)
        self.session.accept(load_results(wave.results), limit)
        made = self.session.candidates()[before:]
        self.changed.update(each.number for each in made)
        self.number, self.work, self.planned = wave.number + 1, None, None

    def _tally(self, results: Mapping[str, Any], proposed: Proposed) -> None:
        for number, (count, metrics) in results["used"].items():
            self._add(int(number), count, metrics)
        for number, ids in results["promptIds"].items():
            self.prompt_ids[int(number)] = tuple(ids)
            self.changed.add(int(number))
        self.cached += results["cached"]
        answer, ask = results["largest"]
        self.largest = self.largest.or_larger(
            Largest(Size(*answer), Size(*ask))
        )
        self.looks += self._looks(proposed.wave)

    def _add(
        self, number: int, count: int, metrics: Mapping[str, Any]
    ) -> None:
        jobs, sums = self.used.get(number, (0, ProcessingMetrics()))
        new = ProcessingMetrics.model_validate(metrics)
        self.used[number] = (jobs + count, add_up([sums, new]))

    def _looks(self, wave: Wave) -> int:
        validation = set(self.material.task.validation)
        return sum(
            isinstance(each, Evaluate)
            and not validation.isdisjoint(each.items)
            for each in wave
        )


class DatasetRuns:
    """Advances runs on datasets; any number of processes may."""

    def __init__(
        self,
        runs: RunService,
        waves: RunWaves,
        jobs: RunJobs,
        materials: MaterialReader,
        maker: WaveMaker,
    ) -> None:
        self._runs = runs
        self._waves = waves
        self._jobs = jobs
        self._materials = materials
        self._maker = maker
        self._live: dict[str, _Live] = {}

    def forget(self, run_id: str) -> None:
        """Drop what is kept of a run in memory."""
        self._live.pop(run_id, None)

    async def advance(self, run: Run) -> None:
        """Bring a running run as far as it can go."""
        current: Run | None = run
        try:
            while current is not None and current.status is RunStatus.RUNNING:
                live = await self._live_of(current)
                if live.session.stopped:
                    current = await self._complete(current, live)
                elif await self._do_wave(current, live):
                    current = await self._show(current, live)
                else:
                    return
        except (MetasyncError, UnusableDataError, _StoppedError) as error:
            current = await self._fail(run, str(error))
        except BaseException:
            # What is in memory may be half of a step.
            self.forget(run.run_id)
            raise
        self.forget(run.run_id)

    async def _live_of(self, run: Run) -> _Live:
        live = self._live.get(run.run_id)
        if live is None or live.attempt != run.attempt:
            live = await self._load(run)
            self._live[run.run_id] = live
        return live

    async def _load(self, run: Run) -> _Live:
        """Bring a session to where the stored waves have brought it."""
        material = await self._materials.read(run)
        live = _Live(material.session(run), material, run.attempt)
        live.changed.update(e.number for e in live.session.candidates())
        for wave in await self._waves.of_run(run.run_id):
            if wave.results is None:
                live.planned = wave
            else:
                live.take(wave)
        return live

    async def _do_wave(self, run: Run, live: _Live) -> bool:
        """Plan and do a wave; tell whether it is done and stored."""
        if live.work is None:
            await self._begin(run, live)
        assert live.work is not None  # noqa: S101 - it has just begun
        found = await live.work.advance()
        if found is None:
            return False
        failure = found.failure
        if failure is not None and not failure.startswith(BUDGET_EXHAUSTED):
            raise _StoppedError(
                f"The model fails: {failure} Remove the cause, then resume "
                "the run."
            )
        usage = await self._jobs.usage(run.run_id, run.client_id)
        results = self._results(run, live, found, usage)
        live.take(await self._waves.finish(run.run_id, live.number, results))
        return True

    def _results(
        self, run: Run, live: _Live, found: Found, usage: RunUsage
    ) -> dict[str, Any]:
        largest = live.largest.or_larger(found.largest)
        shares = live.material.shares
        allowed = allowances(run, usage, shares, largest, Stage.SEARCH)
        least = tightest(allowed)
        if found.is_out_of_money or found.failure is not None:
            least = Allowance(Stop.MAX_COST, 0)
        return {
            **dump_results(
                Results(found.outcomes, found.texts, least.units, least.limit)
            ),
            "used": {
                str(number): [count, metrics.model_dump(by_alias=True)]
                for number, (count, metrics) in found.used.items()
            },
            "promptIds": {
                str(number): list(ids)
                for number, ids in found.prompt_ids.items()
            },
            "cached": found.cached,
            "largest": [
                [largest.answer.tokens, largest.answer.cost],
                [largest.ask.tokens, largest.ask.cost],
            ],
        }

    async def _begin(self, run: Run, live: _Live) -> None:
        """Store the plan of the next wave, and prepare it."""
        if live.planned is None:
            live.planned = await self._plan(run, live)
        proposed, _ = load_plan(live.planned.plan)
        live.work = await self._maker.begin(
            run,
            proposed.wave,
            {each.number: each for each in live.session.candidates()},
            live.material.items,
            live.material.train,
        )

    async def _plan(self, run: Run, live: _Live) -> StoredWave:
        proposed = live.session.proposed
        assert proposed is not None  # noqa: S101 - it has not stopped
        usage = await self._jobs.usage(run.run_id, run.client_id)
        allowed = allowances(
            run, usage, live.material.shares, live.largest, proposed.stage
        )
        wave, limit = cut(proposed, allowed, live.material.per_item)
        plan = dump_plan(Proposed(proposed.stage, wave), limit)
        return await self._waves.plan(
            run.run_id, run.client_id, live.number, plan
        )

    async def _show(self, run: Run, live: _Live) -> Run | None:
        """Write what is known by now to the run and its candidates."""
        await self._store_candidates(run, live)
        fields = await self._progress(run, live)
        log.info("run_advanced", wave=live.number)
        return await self._runs.advance(run, fields)

    async def _store_candidates(self, run: Run, live: _Live) -> None:
        documents = run_results.candidate_documents(
            live.session, live.prompt_ids, live.used, live.changed
        )
        await self._waves.put_candidates(run.run_id, run.client_id, documents)
        live.changed.clear()

    async def _progress(self, run: Run, live: _Live) -> dict[str, Any]:
        usage = await self._jobs.usage(run.run_id, run.client_id)
        session = live.session
        models = run_results.model_results(
            session, live.prompt_ids, run.seed or 0
        )
        return {
            "currentIteration": live.number,
            "currentModelIndex": max(len(session.searches) - 1, 0),
            "jobsUsed": usage.jobs,
            "tokensUsed": usage.metrics.total_tokens,
            "cost": usage.metrics.total_cost,
            "usage": as_json(usage.metrics),
            "cachedAnswers": live.cached,
            "validationLooks": live.looks,
            "candidateCount": len(session.candidates()),
            "refusedCandidates": sum(e.refused for e in session.searches),
            "modelResults": as_json(models),
        }

    async def _complete(self, run: Run, live: _Live) -> Run | None:
        """End a run whose session has stopped."""
        session = live.session
        assert session.reason is not None  # noqa: S101 - it has stopped
        found = run_results.outcomes(session, live.prompt_ids, run.seed or 0)
        live.changed.update(e.number for e in session.candidates())
        await self._store_candidates(run, live)
        fields = {
            **await self._progress(run, live),
            "baseline": as_json(found.baseline),
            "best": as_json(found.best),
            "bestPromptIds": list(found.best.prompt_ids)
            or run.initial_working_prompt_ids,
            "modelResults": as_json(found.models),
            "test": as_json(found.test),
            "verdict": found.verdict,
            "warnings": [*(run.warnings or []), *_warnings(session, found)],
            "status": RunStatus.COMPLETED,
            "finishReason": FinishReason(session.reason),
        }
        log.info("run_completed", verdict=found.verdict)
        return await self._runs.advance(run, fields)

    async def _fail(self, run: Run, reason: str) -> Run | None:
        current = await self._runs.running_one(run.run_id)
        if current is None:
            return None
        fields = {
            "status": RunStatus.FAILED,
            "failureReason": reason,
            "finishReason": FinishReason.FAILED,
        }
        return await self._runs.advance(current, fields)


def _warnings(session: Session, found: run_results.Outcomes) -> list[str]:
    warnings = []
    best = session.best
    if best is not None and not session.pool_of(best).confirmed(best.number):
        warnings.append(_UNCONFIRMED)
    if found.verdict is None:
        warnings.append(_UNTESTED)
    return warnings
