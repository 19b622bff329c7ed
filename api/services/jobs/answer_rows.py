"""Answers many rows from memory, without making a job of each."""

from collections.abc import Iterable, Sequence
from typing import Any

from api.models.answer_models import AnswersWanted
from api.models.charge import Charge, Posting
from api.models.job_models import JobCreate
from api.services.jobs.answer_key import Asker
from api.services.jobs.answer_keys import AnswerKeys
from api.services.jobs.answer_memory import AnswerMemory
from api.services.jobs.job_intake import Accounts, JobIntake
from api.services.jobs.job_templates import TemplateFailedError
from api.services.jobs.remembered import Remembered
from api.services.shared.caller import Caller
from utilities import payload
from utilities.cosmos_connector import Documents
from utilities.slices import in_slices

_Row = dict[str, Any]


class AnswerRows:
    """Finds what is known of rows that are asked alike."""

    def __init__(
        self,
        documents: Documents,
        intake: JobIntake,
        keys: AnswerKeys,
        accounts: Accounts,
    ) -> None:
        self._intake = intake
        self._keys = keys
        self._memory = AnswerMemory(documents)
        self._accounts = accounts

    async def find(
        self, wanted: AnswersWanted, caller: Caller
    ) -> list[Remembered | None]:
        """Return the known answers, by the places of the rows.

        They are counted as taken.

        Raises:
            RuleError: a model or prompt that the job names does not exist.
        """
        client_id = caller.require_client()
        (job,) = await self._intake.checked([wanted.job], client_id)
        made = await self._keys.asker(job, client_id)
        if made is None:
            return [None] * len(wanted.rows)
        asker, model = made
        keys = await in_slices(lambda row: _key(asker, job, row), wanted.rows)
        known = await self._memory.find(filter(None, keys), client_id)
        found = [known.get(key) if key else None for key in keys]
        count = sum(each is not None for each in found)
        await self._count(client_id, job.operation, model.name, count)
        return found

    async def _count(
        self, client_id: str, operation: str, model: str, count: int
    ) -> None:
        ledger = self._accounts.ledger
        if not count or ledger is None:
            return
        block = await ledger.open("jobs", [])
        charge = Charge(model, cached_answers=count)
        await ledger.settle(
            block, [Posting(client_id, operation, None, charge)]
        )


def body_of(found: Sequence[Remembered | None]) -> bytes:
    """Write the answer's body: the texts are JSON as they are stored."""
    answers = ",".join(
        "null" if each is None else _written(each) for each in found
    )
    known = sum(each is not None for each in found)
    return f'{{"known":{known},"answers":[{answers}]}}'.encode()


def _written(answer: Remembered) -> str:
    fields = {"responseData": answer.response_json}
    if answer.logprobs_json is not None:
        fields["responseLogprobs"] = answer.logprobs_json
    return _object({"jobId": f'"{answer.job_id}"', **fields}.items())


def _object(fields: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields) + "}"


def _key(asker: Asker, job: JobCreate, row: _Row) -> str | None:
    """Give a row's key; None if it cannot be asked: who asks is told."""
    try:
        if job.variables is None:
            return asker.key(payload.dump(row), job.messages)
        data = job.request_data
        asked = "" if data is None else payload.dump(data)
        return asker.key(asked, job.messages, row)
    except (TemplateFailedError, payload.PayloadError):
        return None
