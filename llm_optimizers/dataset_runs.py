"""Brings runs on a dataset on: wave after wave, each stored before the next.

The session of a run is a pure function of its stored waves. It is kept in
memory while the run is running, and made anew from the waves after a
restart, or where another process has gone on with the run. A wave is
planned, done and stored; dying between any two steps leads to the same
prompts, since plans are stored first and jobs are known by their content.
"""

import asyncio
from typing import Any

import structlog

from api.core.errors import MetasyncError
from api.models.run_models import FinishReason, Run, RunStatus
from api.services.runs.run_jobs import RunJobs, RunUsage
from api.services.runs.run_service import RunService
from api.services.runs.run_waves import RunWaves, StoredWave
from llm_optimizers import run_results
from llm_optimizers.call_bounds import CallBounds, at_once
from llm_optimizers.live_run import LiveRun, StoppedError
from llm_optimizers.run_material import (
    MaterialReader,
    UnusableDataError,
)
from llm_optimizers.run_results import as_json
from llm_optimizers.strategies.protocol import Results, Stop
from llm_optimizers.strategies.session import Proposed, Session, Stage
from llm_optimizers.wave_cut import (
    Allowance,
    allowances,
    cut,
    jobs_left,
    money_left,
    tightest,
)
from llm_optimizers.wave_text import (
    dump_plan,
    dump_results,
    load_plan,
)
from llm_optimizers.wave_work import (
    BUDGET_EXHAUSTED,
    Found,
    WaveMaker,
)

_UNCONFIRMED = (
    "The best was not tried on all validation items, since a limit was "
    "reached: its score there is partly that of the prompts it was made of."
)
_UNTESTED = (
    "A limit was reached before the test: there is no verdict. Allow more "
    "jobs, tokens or cost."
)

_NO_MONEY = (
    "maxCost does not suffice for the first call: as much as it could cost at "
    "most is set aside. Begin a new run with a higher maxCost, or set the "
    "model's limit of tokens."
)

_CHANGED_AT_BEGIN = (
    "A prompt was changed in the moment when the run began. Resume the run."
)

log = structlog.get_logger(__name__)


class DatasetRuns:
    """Advances runs on datasets; any number of processes may."""

    def __init__(
        self,
        runs: RunService,
        waves: RunWaves,
        jobs: RunJobs,
        materials: MaterialReader,
        maker: WaveMaker,
        bounds: CallBounds,
    ) -> None:
        self._runs = runs
        self._waves = waves
        self._jobs = jobs
        self._materials = materials
        self._maker = maker
        self._bounds = bounds
        self._live: dict[str, LiveRun] = {}

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
        except (MetasyncError, UnusableDataError, StoppedError) as error:
            current = await self._fail(run, str(error))
        except BaseException:
            # What is in memory may be half of a step.
            self.forget(run.run_id)
            raise
        self.forget(run.run_id)

    async def _live_of(self, run: Run) -> LiveRun:
        live = self._live.get(run.run_id)
        if live is None or live.attempt != run.attempt:
            live = await self._load(run)
            self._live[run.run_id] = live
        return live

    async def _load(self, run: Run) -> LiveRun:
        """Bring a session to where the stored waves have brought it."""
        waves = await self._waves.of_run(run.run_id)
        texts = waves[0].plan.get("texts") if waves else None
        material = await self._materials.read(run, texts)
        # Up to some seconds for the largest datasets.
        session = await asyncio.to_thread(material.session, run)
        live = LiveRun(session, material, run.attempt)
        live.changed.update(e.number for e in live.session.candidates())
        for wave in waves:
            if wave.results is None:
                live.planned = wave
            else:
                live.take(wave)
        return live

    async def _do_wave(self, run: Run, live: LiveRun) -> bool:
        """Plan and do a wave; tell whether it is done and stored."""
        if live.work is None:
            await self._begin(run, live)
        assert live.work is not None  # noqa: S101 - it has just begun
        found = await live.work.advance()
        if found is None:
            return False
        if found.is_out_of_money and run.max_cost is None:
            # The budget of the client or of a model: the run has no own.
            raise StoppedError(
                f"{found.refusal} Wait, or have that budget raised; then "
                "resume the run."
            )
        if found.is_out_of_money and not (live.number or found.outcomes):
            raise StoppedError(_NO_MONEY)
        failure = found.failure
        if failure is not None and not failure.startswith(BUDGET_EXHAUSTED):
            raise StoppedError(
                f"The model fails: {failure} Remove the cause, then resume "
                "the run."
            )
        if found.not_scored is not None and _is_baseline(live, found):
            raise StoppedError(
                f"The answers cannot be scored: {found.not_scored} Correct "
                "the metric or its judge, or begin a run with another one."
            )
        usage = await self._jobs.usage(run.run_id, run.client_id)
        results = self._results(run, live, found, usage)
        live.take(await self._waves.finish(run.run_id, live.number, results))
        return True

    def _results(
        self, run: Run, live: LiveRun, found: Found, usage: RunUsage
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
            "usage": {
                "jobs": usage.jobs,
                "tokens": usage.metrics.total_tokens,
                "cost": usage.metrics.total_cost,
            },
            "largest": [
                [largest.answer.tokens, largest.answer.cost],
                [largest.ask.tokens, largest.ask.cost],
            ],
        }

    async def _begin(self, run: Run, live: LiveRun) -> None:
        """Store the plan of the next wave, and prepare it."""
        expected = live.session.proposed
        assert expected is not None  # noqa: S101 - it has not stopped
        material = live.material
        candidates = {each.number: each for each in live.session.candidates()}
        usage = await self._jobs.usage(run.run_id, run.client_id)
        bound = await self._bounds.most(
            run, expected.wave, candidates, material.longest_item
        )
        if live.planned is None:
            live.planned = await self._plan(run, live, usage, bound)
        proposed, _ = load_plan(live.planned.plan)
        live.work = await self._maker.begin(
            run,
            proposed.wave,
            candidates,
            material.items,
            material.train,
            at_once(run, money_left(run, usage), bound),
            # A plan is not made again when a run is resumed, but jobs that
            # failed are.
            jobs_left(run, usage, material.shares, proposed.stage),
        )

    async def _plan(
        self, run: Run, live: LiveRun, usage: RunUsage, bound: float
    ) -> StoredWave:
        proposed = live.session.proposed
        assert proposed is not None  # noqa: S101 - it has not stopped
        shares, stage = live.material.shares, proposed.stage
        allowed = allowances(run, usage, shares, live.largest, stage, bound)
        wave, limit = cut(proposed, allowed, live.material.per_item)
        if limit is Stop.MAX_COST and not (live.number or wave):
            raise StoppedError(_NO_MONEY)
        plan = dump_plan(Proposed(proposed.stage, wave), limit)
        if live.number == 0:
            # The prompts may change while the run is running.
            plan["texts"] = list(live.material.task.texts)
        stored = await self._waves.plan(
            run.run_id, run.client_id, live.number, plan
        )
        if stored.plan.get("texts") != plan.get("texts"):
            raise StoppedError(_CHANGED_AT_BEGIN)
        return stored

    async def _show(self, run: Run, live: LiveRun) -> Run | None:
        """Write what is known by now to the run and its candidates."""
        await self._store_candidates(run, live)
        fields = await self._progress(run, live)
        log.info("run_advanced", wave=live.number)
        return await self._runs.advance(run, fields)

    async def _store_candidates(self, run: Run, live: LiveRun) -> None:
        documents = run_results.candidate_documents(
            live.session, live.prompt_ids, live.used, live.changed
        )
        await self._waves.put_candidates(run.run_id, run.client_id, documents)
        live.changed.clear()

    async def _progress(self, run: Run, live: LiveRun) -> dict[str, Any]:
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
            "progress": as_json(live.progress),
        }

    async def _complete(self, run: Run, live: LiveRun) -> Run | None:
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


def _is_baseline(live: LiveRun, found: Found) -> bool:
    """Tell whether a wave is the first that measures a prompt.

    A single answer, which only tells how large answers are, is none.
    """
    is_first = not live.session.searches[0].pool.admitted
    return is_first and len(found.outcomes) > 1


def _warnings(session: Session, found: run_results.Outcomes) -> list[str]:
    warnings = []
    best = session.best
    if best is not None and not session.pool_of(best).confirmed(best.number):
        warnings.append(_UNCONFIRMED)
    if found.verdict is None:
        warnings.append(_UNTESTED)
    return warnings
