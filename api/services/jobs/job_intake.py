"""Takes jobs in: checks them, finds earlier answers, stores them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from api.core.errors import ConflictError
from api.core.request_body import read_item
from api.models.cache_models import CacheMode
from api.models.charge import Bill, Charge, Posting, dump_charged
from api.models.job_models import Job, JobBatchItem, JobCreate
from api.services.jobs import idempotency, job_documents
from api.services.jobs.answer_keys import AnswerKeys, Keyed
from api.services.jobs.answer_memory import AnswerMemory
from api.services.jobs.idempotency import JobKey
from api.services.jobs.job_references import JobReferences
from api.services.jobs.job_templates import JobTemplates
from api.services.jobs.job_view import ALL, JobView
from api.services.jobs.remembered import (
    ANSWER_KEY,
    ANSWER_NAMED,
    Remembered,
)
from api.services.queue.queue_order import Aging
from api.services.shared.endings import Endings
from api.services.shared.settlement import Block, Settles, new_charged
from utilities.clock import Clock
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.signals import JOBS_ENDED, Signals, jobs_waiting
from utilities.slices import in_slices

# What stands for the attempt of a job that needed none.
_NO_ATTEMPT = "cache"


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where answers are counted that were there already."""

    ledger: Settles | None = None
    process_id: str = ""


@dataclass(slots=True)
class _Found:
    """The earlier answers to some new jobs, by their places.

    With a ledger, they are counted by a block.
    """

    answers: dict[int, Remembered] = field(default_factory=dict)
    models: dict[int, str] = field(default_factory=dict)
    block: Block | None = None


class JobIntake:
    """Stores what clients submit."""

    def __init__(
        self,
        documents: Documents,
        references: JobReferences,
        templates: JobTemplates,
        keys: AnswerKeys,
        signals: Signals,
        *,
        clock: Clock,
        endings: Endings,
        aging: Aging,
        accounts: Accounts,
    ) -> None:
        self._documents = documents
        self._references = references
        self._templates = templates
        self._keys = keys
        self._memory = AnswerMemory(documents)
        self._signals = signals
        self._clock = clock
        self._endings = endings
        self._aging = aging
        self._accounts = accounts

    async def create(
        self, request: JobCreate, client_id: str, key: str | None
    ) -> Job:
        """Store one job; the same `key` again answers the first one.

        Raises:
            RuleError: a model or prompt it names does not exist.
        """
        requests = await self.checked([request], client_id)
        keys = [idempotency.of_job(key, request)]
        return (await self._insert(requests, keys, client_id))[0]

    async def create_batch(
        self,
        items: Sequence[Any],
        client_id: str,
        key: str | None,
        view: JobView = ALL,
    ) -> list[Job]:
        """Store many jobs, or none if one of them is invalid.

        Raises:
            RuleError: names the first wrong item by its index.
        """
        read = await in_slices(_read_item, enumerate(items))
        requests = await self.checked(read, client_id)
        keys = await idempotency.of_batch(key, read)
        await self._check_keys(keys, client_id)
        if key is not None:
            requests = [_in_batch(request, key) for request in requests]
        return await self._insert(requests, keys, client_id, view)

    async def checked(
        self, requests: Sequence[JobCreate], client_id: str
    ) -> Sequence[JobCreate]:
        """Return the jobs with their prompts, if all that they name exists.

        Raises:
            RuleError: it does not; names the item of a batch.
        """
        requests = await self._references.with_flows(requests, client_id)
        await self._references.check(requests, client_id)
        await self._templates.check(requests, client_id)
        return requests

    async def _insert(
        self,
        requests: Sequence[JobCreate],
        keys: Sequence[JobKey | None],
        client_id: str,
        view: JobView = ALL,
    ) -> list[Job]:
        keyed = await self._keys.of(requests, client_id)
        found = await self._earlier(requests, keyed, client_id)
        documents = await self._made(requests, keys, keyed, client_id)
        await self._answer(documents, found)
        stored, repeated = await self._documents.insert_many(documents)
        await self._count(stored, set(repeated), found)
        await self._replace_repeated(stored, repeated)
        self._signals.publish(jobs_waiting(client_id))
        return await in_slices(view.read_whole, stored)

    async def _earlier(
        self,
        requests: Sequence[JobCreate],
        keyed: Sequence[Keyed | None],
        client_id: str,
    ) -> _Found:
        """Find the answers that there are to some of the jobs."""
        found = _Found()
        asked = {CacheMode.USE: dict[int, str](), CacheMode.FRESH: {}}
        for place, known in enumerate(keyed):
            if known is not None:
                asked[requests[place].cache][place] = known.key
                found.models[place] = known.model
        if fresh := asked[CacheMode.FRESH]:
            await self._memory.trim(fresh.values(), client_id)
        if used := asked[CacheMode.USE]:
            answers = await self._memory.find(used.values(), client_id)
            found.answers = {
                place: answers[key]
                for place, key in used.items()
                if key in answers
            }
        return found

    async def _made(
        self,
        requests: Sequence[JobCreate],
        keys: Sequence[JobKey | None],
        keyed: Sequence[Keyed | None],
        client_id: str,
    ) -> list[Document]:
        now = self._clock()

        def document(numbered: tuple[int, JobCreate]) -> Document:
            index, request = numbered
            return {
                **idempotency.fields(client_id, keys[index]),
                **job_documents.new(
                    request, client_id, now, index, self._aging
                ),
                **_key_fields(keyed[index]),
            }

        return await in_slices(document, enumerate(requests))

    async def _answer(self, documents: list[Document], found: _Found) -> None:
        """Put the earlier answers into the new documents."""
        if not found.answers:
            return
        ended = [documents[place] for place in found.answers]
        ledger, now = self._accounts.ledger, self._clock()
        if ledger is not None:
            ids: list[ObjectId] = [each["_id"] for each in ended]
            found.block = await ledger.open("jobs", ids)
        await self._endings.expect_jobs(ended)
        for place, answer in found.answers.items():
            charged = self._charged(found, place)
            documents[place] = job_documents.answered(
                _without_key(documents[place]), answer, now, charged
            )

    def _charged(self, found: _Found, place: int) -> str | None:
        if found.block is None:
            return None
        bill = Bill([_taken(found.models[place])])
        process_id = self._accounts.process_id
        new = new_charged(_NO_ATTEMPT, found.block, None, bill, process_id)
        return dump_charged(None, new)

    async def _count(
        self, stored: Sequence[Document], repeated: set[int], found: _Found
    ) -> None:
        """Count the answers of the jobs that were stored now."""
        if found.answers:
            self._signals.publish(JOBS_ENDED)
        ledger = self._accounts.ledger
        if found.block is None or ledger is None:
            return
        postings = [
            Posting(
                stored[place]["clientId"],
                stored[place]["operation"],
                None,
                _taken(found.models[place]),
            )
            for place in found.answers
            if place not in repeated
        ]
        await ledger.settle(found.block, postings)

    async def _replace_repeated(
        self, stored: list[Document], repeated: Sequence[int]
    ) -> None:
        ids = [stored[index]["_id"] for index in repeated]
        if not ids:
            return
        found = await self._documents.find({"_id": {"$in": ids}})
        first = {document["_id"]: document for document in found}
        for index in repeated:
            document = first.get(stored[index]["_id"])
            if document is None:
                raise ConflictError(
                    "The job that was made with this Idempotency-Key has "
                    "been deleted; use a new key"
                )
            sent = stored[index].get(idempotency.DIGEST_FIELD)
            idempotency.check_same(sent, document)
            stored[index] = document

    async def _check_keys(
        self, keys: Sequence[JobKey | None], client_id: str
    ) -> None:
        """Refuse a batch with a key of another request, before any insert."""
        used = {
            idempotency.job_id(client_id, key): key.digest
            for key in keys
            if key is not None
        }
        if not used:
            return
        found = await self._documents.find(
            {"_id": {"$in": list(used)}}, fields=[idempotency.DIGEST_FIELD]
        )
        for document in found:
            idempotency.check_same(used[document["_id"]], document)


def _taken(model: str) -> Charge:
    return Charge(model, cached_answers=1)


def _key_fields(keyed: Keyed | None) -> Document:
    if keyed is None:
        return {}
    return {ANSWER_KEY: keyed.key, ANSWER_NAMED: keyed.named}


def _without_key(job: Document) -> Document:
    fields = {ANSWER_KEY, ANSWER_NAMED}
    return {name: job[name] for name in job if name not in fields}


def _in_batch(request: JobCreate, key: str) -> JobCreate:
    if request.batch_key is not None:
        return request
    return request.model_copy(update={"batch_key": key})


def _read_item(numbered: tuple[int, Any]) -> JobBatchItem:
    index, raw = numbered
    return read_item(JobBatchItem, index, raw)
