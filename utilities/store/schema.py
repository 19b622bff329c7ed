"""The database's indexes, made at start, step by step.

Each step runs once, in order, and is recorded in `schema_steps`; running
it twice does no harm, so two processes that start together need no lock.
A change of the schema is a new step at the end, never an edit of an old
one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from pydantic_core import from_json
from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, PyMongoError

from utilities.clock import now_ms
from utilities.cosmos_connector import ClientManager, Document, retrying

Database = AsyncDatabase[Document]
Step = Callable[[Database], Awaitable[None]]

_START_SECONDS = 60.0
# As `WaitingJobs` marks deleted jobs.
_NEVER = 2**53 - 1
# As `job_documents` numbers jobs, and as `Aging` ranks them by default.
_SEQUENCE_STEPS, _AGING_MS = 1_000_000, 600_000
# Documents that a step changes at once.
_BLOCK = 1000
_UNREACHABLE = (
    "The database did not answer for a minute. Check that the server runs "
    "and that DB_CONNECTION_STRING has its address."
)

log = structlog.get_logger(__name__)


async def _first_indexes(database: Database) -> None:
    # `liveKey` is what must be unique among the undeleted; a deleted
    # document's is its own id. That needs no partial index, which not
    # every server has.
    for name in ("models", "prompts"):
        await database[name].create_index([("liveKey", 1)], unique=True)
    await database["clients"].create_index([("clientId", 1)], unique=True)
    await database["workers"].create_index([("clientId", 1)])
    await database["workers"].create_index([("status", 1)])
    jobs = database["jobs"]
    # To claim: the first of a client's waiting jobs, in order.
    await jobs.create_index(
        [("clientId", 1), ("status", 1), ("priority", 1), ("sequence", 1)]
    )
    # To list: in order of arrival.
    await jobs.create_index([("clientId", 1), ("sequence", 1)])
    await jobs.create_index([("sequence", 1)])
    # To read a claimed block, to extend leases, to find those that ended.
    await jobs.create_index([("leaseToken", 1)])
    await jobs.create_index([("status", 1), ("leaseExpiresAt", 1)])


async def _indexes_of_streams(database: Database) -> None:
    streams = database["streams"]
    await streams.create_index([("clientId", 1), ("startedAt", 1)])
    await streams.create_index([("startedAt", 1)])


async def _indexes_of_runs(database: Database) -> None:
    await database["runs"].create_index([("clientId", 1)])
    await database["runs"].create_index([("status", 1)])


async def _indexes_of_holds(database: Database) -> None:
    holds = database["worker_holds"]
    await holds.create_index([("pool", 1)])
    await holds.create_index([("workerId", 1)])


async def _index_of_jobs_by_status(database: Database) -> None:
    # Otherwise a list of the few that have ended reads all that wait.
    await database["jobs"].create_index(
        [("clientId", 1), ("status", 1), ("sequence", 1)]
    )


async def _indexes_of_worker_leases(database: Database) -> None:
    # The collection's new name; leases last for seconds, so none is copied.
    leases = database["worker_leases"]
    await leases.create_index([("pool", 1)])
    await leases.create_index([("workerId", 1)])
    await database["worker_holds"].drop()


async def _indexes_of_claims(database: Database) -> None:
    # Jobs that are not due come behind all others: claims never read them.
    jobs = database["jobs"]
    for filtered_by in ((), ("model",), ("operation",)):
        names = ("clientId", "status", *filtered_by, "deferredUntil")
        await jobs.create_index(
            [(name, 1) for name in (*names, "priority", "sequence")]
        )
    await _defer_waiting_jobs(jobs)
    await _drop_index(jobs, "clientId", "status", "priority", "sequence")


async def _drop_index(
    collection: AsyncCollection[Document], *fields: str
) -> None:
    """Drop the index of these fields, ascending, if it is there.

    By its name as the server has it: servers name indexes differently, and
    some pass over fields that they are given instead, without an error.
    """
    keys = [(field, 1) for field in fields]
    for name, index in (await collection.index_information()).items():
        if [tuple(key) for key in index["key"]] == keys:
            await collection.drop_index(name)


async def _defer_waiting_jobs(jobs: AsyncCollection[Document]) -> None:
    """Mark the jobs that an earlier version has deferred or deleted."""
    waiting: Document = {"status": {"$eq": "PENDING"}, "deferredUntil": None}
    await jobs.update_many(
        {**waiting, "_metadata.isDeleted": True},
        {"$set": {"deferredUntil": _NEVER}},
    )
    not_due = {**waiting, "availableAt": {"$gt": now_ms()}}
    while found := (
        await jobs.find(not_due, ["availableAt"]).limit(_BLOCK).to_list()
    ):
        await jobs.bulk_write(
            [
                UpdateOne(
                    {"_id": job["_id"], "status": "PENDING"},
                    {"$set": {"deferredUntil": job["availableAt"]}},
                )
                for job in found
            ],
            ordered=False,
        )


async def _indexes_of_prompts(database: Database) -> None:
    # To find the highest version of a name, where its counter starts.
    await database["prompts"].create_index([("clientId", 1), ("name", 1)])


async def _indexes_of_webhooks(database: Database) -> None:
    await database["webhooks"].create_index([("clientId", 1)])
    await database["webhook_endings"].create_index([("lookAt", 1)])
    await database["webhook_endings"].create_index([("clientId", 1)])
    deliveries = database["webhook_deliveries"]
    # To claim, to find who has something due, to list, to erase.
    await deliveries.create_index(
        [("webhookId", 1), ("status", 1), ("nextAttemptAt", 1)]
    )
    await deliveries.create_index([("status", 1), ("nextAttemptAt", 1)])
    await deliveries.create_index([("webhookId", 1), ("madeAt", 1)])
    await deliveries.create_index([("clientId", 1)])


async def _index_of_expiries(database: Database) -> None:
    # Sparse: most jobs never expire, and are not in it.
    await database["jobs"].create_index([("expiryDue", 1)], sparse=True)


async def _index_of_batches(database: Database) -> None:
    # Sparse, as above.
    await database["jobs"].create_index([("batchKey", 1)], sparse=True)


async def _error_types(database: Database) -> None:
    """Give the failed jobs of earlier versions the type of their error."""
    jobs = database["jobs"]
    where: Document = {
        "status": {"$eq": "ERROR_PROCESSING"},
        "errorType": None,
    }
    while found := (
        await jobs.find(where, ["errorData"]).limit(_BLOCK).to_list()
    ):
        await jobs.bulk_write(
            [
                UpdateOne(
                    {"_id": job["_id"]},
                    {"$set": {"errorType": _error_type(job)}},
                )
                for job in found
            ],
            ordered=False,
        )


def _error_type(job: Document) -> str:
    try:
        return str(from_json(job["errorData"])["errorType"])
    except (KeyError, TypeError, ValueError):
        return ""


async def _indexes_of_the_ledger(database: Database) -> None:
    # A client's usage by day, everybody's, and a run's.
    ledger = database["ledger"]
    await ledger.create_index([("clientId", 1), ("day", 1)])
    await ledger.create_index([("day", 1)])
    await ledger.create_index([("runId", 1)])


async def _indexes_of_datasets(database: Database) -> None:
    await database["datasets"].create_index([("clientId", 1)])
    blocks = database["dataset_blocks"]
    await blocks.create_index([("datasetId", 1), ("number", 1)])
    await blocks.create_index([("clientId", 1)])
    evaluations = database["evaluations"]
    await evaluations.create_index([("clientId", 1)])
    await evaluations.create_index([("status", 1)])
    results = database["evaluation_results"]
    await results.create_index([("evaluationId", 1)])
    await results.create_index([("clientId", 1)])


async def _indexes_of_ranks(database: Database) -> None:
    """Order waiting jobs by rank, which also counts how long they wait."""
    jobs = database["jobs"]
    for status in ("PENDING", "PROCESSING"):
        await _rank_jobs(jobs, status)
    for filtered_by in ((), ("model",), ("operation",)):
        names = ("clientId", "status", *filtered_by, "deferredUntil")
        await jobs.create_index(
            [(name, 1) for name in (*names, "rank", "sequence")]
        )
        await _drop_index(jobs, *names, "priority", "sequence")
    # Version 0.1's, which an earlier step has not dropped everywhere.
    await _drop_index(jobs, "clientId", "status", "priority", "sequence")


async def _rank_jobs(jobs: AsyncCollection[Document], status: str) -> None:
    """Give the jobs of earlier versions their ranks; see `queue_order`."""
    where: Document = {"status": {"$eq": status}, "rank": None}
    fields = ["sequence", "priority"]
    while found := (
        await jobs.find(where, fields)
        .sort([("_id", 1)])
        .limit(_BLOCK)
        .to_list()
    ):
        await jobs.bulk_write(
            [
                UpdateOne({"_id": job["_id"]}, {"$set": {"rank": _rank(job)}})
                for job in found
            ],
            ordered=False,
        )
        # Those before have theirs, and need not be read again.
        where["_id"] = {"$gt": found[-1]["_id"]}


def _rank(job: Document) -> int:
    submitted = int(job.get("sequence") or 0) // _SEQUENCE_STEPS
    return submitted + int(job.get("priority") or 100) * _AGING_MS


async def _indexes_of_run_waves(database: Database) -> None:
    for name in ("run_waves", "run_candidates"):
        await database[name].create_index([("runId", 1), ("number", 1)])
        await database[name].create_index([("clientId", 1)])


async def _indexes_of_routes(database: Database) -> None:
    await database["routes"].create_index([("liveKey", 1)], unique=True)


async def _indexes_of_vendor_batches(database: Database) -> None:
    for name in ("files", "batches"):
        await database[name].create_index([("clientId", 1), ("sequence", 1)])
        await database[name].create_index([("status", 1), ("sequence", 1)])
    await database["files"].create_index([("expiresAt", 1)])
    await database["file_pieces"].create_index([("fileId", 1)])
    await database["file_pieces"].create_index([("clientId", 1)])


async def _indexes_of_audit(database: Database) -> None:
    entries = database["audit_entries"]
    # To list, by who and what about; to verify.
    await entries.create_index([("at", 1)])
    await entries.create_index([("actor", 1), ("at", 1)])
    await entries.create_index([("target", 1), ("at", 1)])
    await entries.create_index([("chain", 1), ("number", 1)])


async def _indexes_of_access(database: Database) -> None:
    for name in ("access_sessions", "access_tokens"):
        await database[name].create_index([("digest", 1)], unique=True)
        await database[name].create_index([("expiresAt", 1)])


async def _index_of_answers(database: Database) -> None:
    # Sparse, as above: jobs without a cache are not in it.
    await database["jobs"].create_index([("answerKey", 1)], sparse=True)


async def _indexes_of_the_console(database: Database) -> None:
    sessions = database["console_sessions"]
    await sessions.create_index([("expiresAt", 1)])
    await sessions.create_index([("clientId", 1)])
    await database["live_events"].create_index([("at", 1)])


STEPS: tuple[Step, ...] = (
    _first_indexes,
    _indexes_of_streams,
    _indexes_of_runs,
    _indexes_of_holds,
    _index_of_jobs_by_status,
    _indexes_of_worker_leases,
    _indexes_of_claims,
    _indexes_of_prompts,
    _indexes_of_webhooks,
    _index_of_expiries,
    _index_of_batches,
    _error_types,
    _indexes_of_the_ledger,
    _indexes_of_datasets,
    _indexes_of_ranks,
    _indexes_of_run_waves,
    _indexes_of_routes,
    _indexes_of_vendor_batches,
    _indexes_of_audit,
    _indexes_of_access,
    _index_of_answers,
    _indexes_of_the_console,
)


class DatabaseError(Exception):
    """The database cannot be used; says what to check."""


async def migrate_when_up(clients: ClientManager) -> None:
    """Wait for the database, then migrate.

    Raises:
        DatabaseError: it did not come up, or refuses us.
    """
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return await migrate(clients)
        except ConnectionFailure as error:
            if time.monotonic() > deadline:
                raise DatabaseError(_UNREACHABLE) from error
            log.warning("waiting_for_database", error=type(error).__name__)
            await asyncio.sleep(1)
        except PyMongoError as error:
            raise DatabaseError(
                f"The database refuses us: {type(error).__name__}. Check "
                "user, password and rights in DB_CONNECTION_STRING."
            ) from error


async def migrate(clients: ClientManager) -> None:
    """Bring the database to this version's schema.

    Indexes are built here: on some servers the first start takes half a
    minute, and the log names the step that it waits for.
    """
    database = clients.database()
    steps = database["schema_steps"]
    done = {document["_id"] for document in await steps.find().to_list()}
    for number, step in enumerate(STEPS, start=1):
        if number in done:
            continue
        log.info("schema_step_started", step=number, of=len(STEPS))
        await retrying(partial(step, database))
        record = {"$set": {"appliedAt": now_ms()}}
        await steps.update_one({"_id": number}, record, upsert=True)
        log.info("schema_step_applied", step=number)
