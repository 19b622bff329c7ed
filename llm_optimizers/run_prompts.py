"""The prompts of a run's candidates, and those that ask for new ones."""

import hashlib

from api.core.errors import NotFoundError
from api.models.prompt_models import (
    PromptCreate,
    PromptDraft,
    PromptSource,
    PromptStatus,
)
from api.models.run_models import Run
from api.services.prompts.prompt_service import PromptService
from llm_optimizers.strategies.asking import PROMPTS
from llm_optimizers.strategies.protocol import Candidate, Purpose

_LONGEST_NAME = 256
# As often, a prompt that was deleted or changed is stored again.
_MOST_CHANGED = 100


class RunPrompts:
    """Stores the texts of candidates as DRAFT prompts, each once."""

    def __init__(self, prompts: PromptService) -> None:
        self._prompts = prompts

    async def texts(self, run: Run) -> tuple[str, ...]:
        """Return the texts of the initial prompts.

        Raises:
            NotFoundError: one is gone.
        """
        ids = run.initial_working_prompt_ids
        found = await self._prompts.usable(ids, run.client_id)
        return tuple(found[each].prompt for each in ids)

    async def ids_of(self, run: Run, candidate: Candidate) -> tuple[str, ...]:
        """Return the ids of a candidate's prompts, which are made if need be.

        Raises:
            NotFoundError: the initial prompts are gone.
        """
        initial = run.initial_working_prompt_ids
        found = await self._prompts.usable(initial, run.client_id)
        known = {found[each].prompt: each for each in reversed(initial)}
        original = found[initial[0]]
        ids = []
        for text in candidate.parts:
            if text in known:
                ids.append(known[text])
                continue
            draft = PromptDraft(
                name=original.name,
                type=original.type,
                status=PromptStatus.DRAFT,
                prompt=text,
                source=PromptSource(
                    prompt_id=original.prompt_id,
                    run_id=run.run_id,
                    candidate=candidate.number,
                ),
            )
            ids.append(await self._kept(run.run_id, draft, run.client_id))
        return tuple(ids)

    async def asking(self, run: Run, purpose: Purpose) -> tuple[str, str]:
        """Return the id and the text of the prompt that asks for a new one.

        Raises:
            NotFoundError: the run's own meta prompt is gone.
        """
        own = run.meta_prompt_id
        if purpose is Purpose.META and own is not None:
            found = await self._prompts.usable([own], run.client_id)
            return own, found[own].prompt
        text = PROMPTS[purpose]
        request = PromptCreate(
            name=f"metasync-{purpose}"[:_LONGEST_NAME],
            type="OPTIMIZER",
            status=PromptStatus.PUBLISHED,
            prompt=text,
        )
        return await self._kept(run.client_id, request, run.client_id), text

    async def _kept(
        self, scope: str, request: PromptCreate, owner: str
    ) -> str:
        """Store a prompt, and return its id; the same in each process.

        Where its client has deleted it or changed its text, there is
        another one.
        """
        for number in range(_MOST_CHANGED):
            prompt_id = _id_of(scope, request.prompt, number)
            found = await self._prompts.add_once(prompt_id, request, owner)
            deleted = found.metadata.is_deleted
            if found.prompt == request.prompt and not deleted:
                return prompt_id
        raise NotFoundError(f"Prompt {request.name}")


def _id_of(scope: str, text: str, number: int) -> str:
    content = f"{scope}\x00prompt\x00{text}"
    if number:
        content += f"\x00{number}"
    return hashlib.sha256(content.encode()).hexdigest()[:24]
