"""Scores items through the queue.

The jobs themselves say what was asked and answered: nothing else is kept.
So the same work can be begun again, by any process and after a crash, and
finds what is there.
"""

from api.core.errors import NotFoundError
from api.models.metric_models import judges_of
from api.models.model_models import Model
from api.services.jobs.answer_jobs import AnswerJobs
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_service import PromptService
from llm_optimizers.evaluation.item_scores import ItemScores
from llm_optimizers.evaluation.questions import Asked, Questions
from llm_optimizers.evaluation.work import (
    EvaluationProgress,
    EvaluationWork,
)


class Evaluator:
    """Begins the scoring of prompts and models on items."""

    def __init__(
        self,
        jobs: AnswerJobs,
        models: ModelService,
        prompts: PromptService,
    ) -> None:
        self._jobs = jobs
        self._models = models
        self._prompts = prompts

    async def begin(self, work: EvaluationWork) -> ItemScores:
        """Prepare the scoring, which `ItemScores.advance` brings on.

        Raises:
            NotFoundError: a prompt or model is gone; names it.
        """
        answers = await self._asked(work, work.prompt_ids, work.model)
        judges = {
            position: await self._asked(work, [judge.prompt_id], judge.model)
            for position, judge in judges_of(work.metric)
        }
        return ItemScores(work, Questions(work, answers, judges), self._jobs)

    async def advance(self, work: EvaluationWork) -> EvaluationProgress:
        """Queue what is missing, read what has ended; safe to repeat.

        Whoever calls it often for one work does better with `begin`: this
        looks at every item again.

        Raises:
            NotFoundError: a prompt or model is gone; names it.
        """
        return await (await self.begin(work)).advance()

    async def _asked(
        self,
        work: EvaluationWork,
        prompt_ids: list[str] | tuple[str, ...],
        model: str,
    ) -> Asked:
        found = await self._prompts.usable(prompt_ids, work.owner)
        texts = [found[prompt_id].prompt for prompt_id in prompt_ids]
        # As a worker joins them.
        return Asked("\n\n".join(texts), await self._model(model))

    async def _model(self, name: str) -> Model:
        try:
            return await self._models.find(name)
        except NotFoundError:
            raise NotFoundError(f"Model {name}") from None
