"""The services and the queue over a database, with a clock of the test."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import main_app
from api.models.client_models import ClientCreate
from api.models.job_status import JobStatus
from api.models.model_models import CostInput, ModelCreate
from api.models.prompt_models import PromptCreate
from api.models.worker_models import WorkerConfig
from api.services.jobs.job_filter import JobFilter
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Claimant, ClaimedJob
from api.services.shared.caller import Caller
from config import ModelKeys
from main_app import Application
from tests.support.live_server import make_settings
from utilities.cosmos_connector import ClientManager, Documents
from utilities.store.in_memory import InMemoryClientManager
from utilities.store.schema import migrate

CONFIG = WorkerConfig(poll_interval=1, max_items_per_batch=100)
ME = Claimant("process", "worker")
# The address of no server: the store of this process's memory.
IN_MEMORY = "in-memory"
_OF_THE_SCHEMA = {"schema_steps"}


class Time:
    """A clock that stands still until it is moved; in ms."""

    now = 4_000_000_000_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Store:
    """The services and the queue over one database."""

    application: Application
    queue: JobQueue
    time: Time
    client: Caller
    model: str
    prompt: str

    async def submit(self, count: int = 1, **fields: object) -> list[str]:
        requests = [
            {
                "operation": "o",
                "workingPrompts": [self.prompt],
                "model": self.model,
                "requestData": {"n": n},
                **fields,
            }
            for n in range(count)
        ]
        jobs = await self.application.services.jobs.create_batch(
            requests, self.client
        )
        return [job.job_id for job in jobs]

    async def statuses(self) -> dict[str, int]:
        summary = await self.application.services.jobs.summary(
            self.client, JobFilter()
        )
        counts = summary.model_dump(by_alias=True)
        return {s: counts[s] for s in JobStatus if counts[s]}

    async def claim(
        self, limit: int = 100, claimant: Claimant = ME
    ) -> list[ClaimedJob]:
        return await self.queue.claim(
            str(self.client.client_id), CONFIG, claimant, limit
        )


@asynccontextmanager
async def open_store(
    address: str, tmp_path: Path, **settings: object
) -> AsyncIterator[Store]:
    """Wire everything; jobs are submitted in the past of the clock."""
    application = main_app.build(
        make_settings(tmp_path, **settings),
        ModelKeys({}),
        address,
        clients_of(address) if address == IN_MEMORY else None,
    )
    await migrate(application.clients)
    services, time = application.services, Time()
    made = await services.clients.create(ClientCreate(name="c"))
    client = Caller(made.client_id)
    name = f"m-{uuid.uuid4()}"
    await services.models.create(
        ModelCreate(
            name=name,
            sdk="test",
            max_token=1,
            cost=CostInput(input=1, output=1),
        )
    )
    prompt = await services.prompts.create(new_prompt("p"), client)
    queue = JobQueue(
        Documents(application.clients, "jobs"),
        lease_seconds=30,
        max_attempts=3,
        clock=time,
    )
    yield Store(application, queue, time, client, name, prompt.prompt_id)
    await application.clients.close()


async def empty(store: Store) -> None:
    """Remove all documents but those that say how far the schema is."""
    database = store.application.clients.database()
    for name in await database.list_collection_names():
        if name not in _OF_THE_SCHEMA:
            await database[name].delete_many({})


def clients_of(address: str, database: str = "metasync") -> ClientManager:
    """Give the clients of a server, or of the store in memory."""
    if address == IN_MEMORY:
        return InMemoryClientManager()
    return ClientManager(address, database)


def new_prompt(name: str, **fields: object) -> PromptCreate:
    return PromptCreate.model_validate(
        {
            "name": name,
            "type": "t",
            "status": "PUBLISHED",
            "prompt": "x",
            **fields,
        }
    )
