"""Runs gepa on a simulated task; needs gepa, which only its venv has."""

import argparse
import contextlib
import io
import json
import time
from typing import Any

import gepa
from gepa.core.adapter import EvaluationBatch, GEPAAdapter
from gepa.strategies.proposal_sampling import (
    PxNSampling,
    SingleMutationSampling,
)
from gepa.strategies.proposal_selection import (
    AllImprovements,
    BestImprovement,
)

from benchmarks.optimizer.hidden_rules import (
    INSTRUCTION,
    HiddenRules,
    Settings,
    SimulatedModel,
)

# One rule follows the other; all of its ways to propose are tried.
WAYS: dict[str, dict[str, Any]] = {
    "1x1": {"sampling_strategy": SingleMutationSampling()},
    "1x1 merge": {
        "sampling_strategy": SingleMutationSampling(),
        "use_merge": True,
        "max_merge_invocations": 50,
    },
    "1x8 best": {
        "sampling_strategy": PxNSampling(1, 8),
        "selection_strategy": BestImprovement(),
    },
    "1x8 all": {
        "sampling_strategy": PxNSampling(1, 8),
        "selection_strategy": AllImprovements(),
    },
    "2x4 best merge": {
        "sampling_strategy": PxNSampling(2, 4),
        "selection_strategy": BestImprovement(),
        "use_merge": True,
        "max_merge_invocations": 50,
    },
}
_MOST_CALLS = 20_000
# The prompt and what it did are told apart by this line.
_TEMPLATE = "<curr_param>\n=====\n<side_info>"


class Adapter(GEPAAdapter):  # type: ignore[misc]
    """Evaluates all that is asked at once, as many calls as there may be."""

    def __init__(self, model: SimulatedModel) -> None:
        self._model = model

    def evaluate(
        self,
        batch: list[str],
        candidate: dict[str, str],
        capture_traces: bool = False,
    ) -> Any:
        return self.batch_evaluate([(candidate, batch)])[0]

    def batch_evaluate(
        self, items: list[tuple[dict[str, str], list[str]]]
    ) -> list[Any]:
        asked = [
            (candidate["prompt"], case)
            for candidate, batch in items
            for case in batch
        ]
        right = iter(self._model.answers(asked))
        found = []
        for _, batch in items:
            scores = [float(next(right)) for _ in batch]
            traces = list(zip(batch, scores, strict=True))
            outputs = ["right" if each else "wrong" for each in scores]
            found.append(
                EvaluationBatch(
                    outputs=outputs, scores=scores, trajectories=traces
                )
            )
        return found

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],
        eval_batch: Any,
        components_to_update: list[str],
    ) -> dict[str, list[dict[str, str]]]:
        shown = [
            {"Inputs": case, "Feedback": "right" if score else "wrong"}
            for case, score in eval_batch.trajectories
        ]
        return dict.fromkeys(components_to_update, shown)


class Reflection:
    """The model that reflects, asked one by one or many at once."""

    def __init__(self, model: SimulatedModel) -> None:
        self._model = model

    def __call__(self, prompt: Any) -> str:
        return self._all([str(prompt)])[0]

    def batch_complete(self, messages: list[Any], **_: Any) -> list[str]:
        return self._all([each[0]["content"] for each in messages])

    def _all(self, texts: list[str]) -> list[str]:
        asked = [tuple(text.split("\n=====\n", 1)) for text in texts]
        return [f"```\n{text}\n```" for text in self._model.reflections(asked)]  # type: ignore[arg-type]


def measure(
    seed: int, settings: Settings, way: str, target: float
) -> dict[str, Any]:
    """Search until gepa's best prompt has the target score."""
    task = HiddenRules(seed, settings)
    model = SimulatedModel(task)
    began = time.monotonic()

    def stop(state: Any) -> bool:
        best = max(state.program_full_scores_val_set, default=0.0)
        return best >= target or model.calls > _MOST_CALLS

    with contextlib.redirect_stdout(io.StringIO()):
        result = gepa.optimize(
            {"prompt": INSTRUCTION},
            task.splits["train"],
            task.splits["validation"],
            adapter=Adapter(model),
            reflection_lm=Reflection(model),
            reflection_prompt_template=_TEMPLATE,
            stop_callbacks=stop,
            cache_evaluation=True,
            seed=seed,
            **WAYS[way],
        )
    seconds = time.monotonic() - began
    model.close()
    prompt = result.best_candidate["prompt"]
    validation = task.accuracy(prompt, "validation")
    return {
        "calls": model.calls,
        "seconds": seconds,
        "validation": validation,
        "test": task.accuracy(prompt, "test"),
        "reached": validation >= target,
    }


def main() -> None:
    """Print what each way took, as JSON, for the seeds that are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--settings", type=json.loads, default={})
    given = parser.parse_args()
    settings = Settings(**given.settings)
    found = {
        way: [
            measure(seed, settings, way, given.target)
            for seed in range(given.seeds)
        ]
        for way in WAYS
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
