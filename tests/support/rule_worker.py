"""A worker that answers the simulated task with hidden rules."""

from collections import Counter
from typing import Any

from api.models.dataset_models import DatasetCreate
from api.models.metrics import Metrics
from api.models.optimization_models import DatasetRunCreate
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import ClaimedJob, Failed, Outcome, Succeeded
from benchmarks.optimizer.hidden_rules import (
    INSTRUCTION,
    HiddenRules,
    Settings,
)
from tests.support.store import Store, new_prompt
from utilities import payload

USED = Metrics(10, 1, 0.5)
SMALL = Settings(rules=6, train=60, validation=30, test=40)
TINY = Settings(rules=3, train=16, validation=8, test=8, misled=0.3)


class RuleWorker:
    """Answers jobs in the store, and counts what each was asked."""

    def __init__(self, store: Store, task: HiddenRules) -> None:
        self.store = store
        self.task = task
        self.answered = Counter[str]()
        self.fails = False

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
        if self.fails:
            return Failed({"errorType": "NO_KEY", "message": "no key"})
        system = await self._system(job)
        self.answered[f"{job.operation}:{system}:{job.request_json}"] += 1
        text = self.task.reply(system, payload.load(job.request_json))
        answer = {"text": text} if job.as_text else payload.load(text)
        return Succeeded(payload.dump(answer), USED)

    async def _system(self, job: ClaimedJob) -> str:
        prompts = self.store.application.services.prompts
        found = await prompts.usable(job.working_prompts, job.client_id)
        return "\n\n".join(found[e].prompt for e in job.working_prompts)
