"""A worker that answers the simulated task with hidden rules."""

from collections import Counter
from typing import Any

from api.models.dataset_models import DatasetCreate
from api.models.metrics import Metrics
from api.models.optimization_models import DatasetRunCreate
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import ClaimedJob, Outcome, Succeeded
from benchmarks.optimizer.hidden_rules import (
    INSTRUCTION,
    HiddenRules,
    Settings,
)
from tests.support.store import Store, new_prompt
from utilities import payload

USED = Metrics(10, 1, 0.5)
SMALL = Settings(rules=6, train=60, validation=30, test=40)


class RuleWorker:
    """Answers jobs in the store, and counts what each was asked."""

    def __init__(self, store: Store, task: HiddenRules) -> None:
        self.store = store
        self.task = task
        self.answered = Counter[str]()

    async def create(self, **fields: Any) -> DatasetRunCreate:
        """Store the task's data and prompt; give a run on them."""
        services = self.store.application.services
        cases = [case for split in self.task.splits.values() for case in split]
        dataset = await services.datasets.create(
            DatasetCreate.model_validate(
                {
                    "name": "cases",
                    "items": [
                        {
                            "id": case,
                            "requestData": {"case": case},
                            "expected": "right",
                        }
                        for case in cases
                    ],
                }
            ),
            self.store.client,
        )
        prompt = await services.prompts.create(
            new_prompt("cases", prompt=INSTRUCTION), self.store.client
        )
        return DatasetRunCreate.model_validate(
            {
                "datasetId": dataset.dataset_id,
                "metric": {"type": "exact"},
                "strategy": "reflective",
                "initialWorkingPromptIds": [prompt.prompt_id],
                "workingModels": [self.store.model],
                "targetScore": 0.95,
                **fields,
            }
        )

    async def work(self, limit: int = 1000) -> int:
        """Answer what waits; return how many jobs that were."""
        self.store.time.now += 1
        jobs = await self.store.claim(limit)
        results = [Result(job, await self._answer(job)) for job in jobs]
        await self.store.queue.store(results)
        return len(jobs)

    async def _answer(self, job: ClaimedJob) -> Outcome:
        system = await self._system(job)
        self.answered[f"{job.operation}:{system}:{job.request_json}"] += 1
        asked = payload.load(job.request_json)
        if job.operation == "evaluate":
            right = self.task.is_right(system, asked["case"])
            answer = {"answer": "right" if right else "wrong"}
            return Succeeded(payload.dump(answer), USED)
        return Succeeded(payload.dump({"text": self._written(asked)}), USED)

    def _written(self, asked: dict[str, Any]) -> str:
        if "versions" in asked:
            return self.task.join("\n".join(asked["versions"]))
        if "original_prompts" in asked:
            prompt = "\n\n".join(asked["original_prompts"])
            shown = payload.dump(asked["evaluation"])
        else:
            prompt, shown = asked["currentPrompt"], payload.dump(asked)
        return f"<prompt>\n{self.task.reflect(prompt, shown)}\n</prompt>"

    async def _system(self, job: ClaimedJob) -> str:
        prompts = self.store.application.services.prompts
        found = await prompts.usable(job.working_prompts, job.client_id)
        return "\n\n".join(found[e].prompt for e in job.working_prompts)
