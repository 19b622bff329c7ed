"""A run on a dataset in memory, as its stored waves have made it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.models.metrics import ProcessingMetrics, add_up
from api.models.optimization_models import RunProgress
from api.services.runs.run_waves import StoredWave
from llm_optimizers.run_material import Material
from llm_optimizers.strategies.protocol import Evaluate, Stop, Wave
from llm_optimizers.strategies.session import Proposed, Session
from llm_optimizers.wave_cut import Largest, Size
from llm_optimizers.wave_text import load_plan, load_results, same_wave
from llm_optimizers.wave_work import WaveWork

_CHANGED = (
    "What was stored of this run does not fit it any more: its dataset, its "
    "prompts or Metasync have changed. Begin a new run; answers that are "
    "there already cost nothing."
)


class StoppedError(Exception):
    """The run cannot go on; says why."""


@dataclass(slots=True)
class LiveRun:
    """A run in memory: its session, and sums over its waves."""

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
    # How the best score has grown with what was spent.
    progress: list[RunProgress] = field(default_factory=list)
    # Candidates whose documents are not up to date.
    changed: set[int] = field(default_factory=set)

    def take(self, wave: StoredWave) -> None:
        """Accept the results of the wave that is under way.

        Raises:
            StoppedError: the session has proposed another wave.
        """
        proposed, limit = load_plan(wave.plan)
        expected = self.session.proposed
        if (
            expected is None
            or wave.results is None
            or expected.stage is not proposed.stage
            or not same_wave(proposed.wave, expected.wave)
        ):
            raise StoppedError(_CHANGED)
        before = len(self.session.candidates())
        self._tally(wave.results, proposed)
        self.session.accept(load_results(wave.results), limit)
        made = self.session.candidates()[before:]
        self.changed.update(each.number for each in made)
        self.number, self.work, self.planned = wave.number + 1, None, None
        self._note_progress(wave.results["usage"])

    def _note_progress(self, usage: Mapping[str, Any]) -> None:
        """Note a new best score, with what it has taken to find it."""
        search = self.session.searches[-1]
        if not search.pool.admitted:
            return
        score = search.pool.score(search.pool.best())
        last = self.progress[-1] if self.progress else None
        if last and (last.model, last.score) == (search.model, score):
            return
        self.progress.append(
            RunProgress(
                iteration=self.number,
                model=search.model,
                candidate=search.pool.best(),
                score=score,
                **usage,
            )
        )

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
