"""Checks of the configured database itself, where no service runs."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

from api.models.model_models import ModelWithKey
from cli.doctor.findings import Finding, fail, ok, warn
from cli.doctor.model_calls import check_models
from cli.doctor.work import (
    SAMPLE,
    JobFacts,
    WorkerFacts,
    check_waiting_jobs,
    check_workers,
)
from cli.errors import CommandError
from cli.service import check_address
from config import ModelKeys, Settings
from main_app import database_of
from utilities import payload
from utilities.cosmos_connector import ClientManager, Documents, StoreError
from utilities.embedded.database import (
    DataDirectoryInUseError,
    EmbeddedDatabaseError,
)
from utilities.store.schema import STEPS, DatabaseError

_CLOCK_SECONDS = 1.0
_SLOW_SECONDS = 0.2
_FIRST_START = "its first start makes it, which may take 20 s"


def check_database(
    settings: Settings, keys: ModelKeys, *, call_seconds: float | None
) -> list[Finding]:
    """Check the database, what is in it, and each model with one call.

    `call_seconds` None makes no calls. An embedded database is started
    for it, and ended; one that is not there is not made.
    """
    embedded = settings.db_connection_string is None
    if embedded and not (settings.data_dir / "db").is_dir():
        return [ok("database", f"embedded; {_FIRST_START}")]
    try:
        if settings.db_connection_string is not None:
            check_address(settings.db_connection_string.get_secret_value())
        with database_of(settings) as address:
            clients = ClientManager(
                address, settings.db_name, settings.db_timeout_seconds
            )
            checks = _check(clients, keys, call_seconds)
            return asyncio.run(_all(checks, clients))
    except DataDirectoryInUseError as error:
        return [
            fail(
                "database",
                f"the embedded one is in use by process {error.pid}, which "
                "does not answer at HOST and PORT",
                "Give the service's address: metasync doctor --url URL",
            )
        ]
    except EmbeddedDatabaseError as error:
        return [fail("database", str(error), "Check DATA_DIR and its log")]
    except (CommandError, DatabaseError) as error:
        return [fail("database", str(error), "Set DB_CONNECTION_STRING")]


async def _all(
    checks: AsyncIterator[Finding], clients: ClientManager
) -> list[Finding]:
    findings = []
    try:
        async for finding in checks:
            findings.append(finding)  # noqa: PERF401 - kept if one fails
    except StoreError as error:
        findings.append(
            fail(
                "database",
                f"{type(error).__name__}: it cannot be used",
                "Check that it runs, and its address, user, password and "
                "rights in DB_CONNECTION_STRING",
            )
        )
    finally:
        await clients.close()
    return findings


async def _check(
    clients: ClientManager, keys: ModelKeys, call_seconds: float | None
) -> AsyncIterator[Finding]:
    yield await _reach(clients)
    yield await _write(clients)
    yield await _clock(clients)
    yield await _schema(clients)
    for finding in await _work(clients):
        yield finding
    documents = await Documents(clients, "models").find({})
    models = [ModelWithKey.from_document(each) for each in documents]
    async for finding in check_models(models, keys, call_seconds):
        yield finding


async def _reach(clients: ClientManager) -> Finding:
    await clients.ping()
    started = time.monotonic()
    await clients.ping()
    took = time.monotonic() - started
    text = f"it answers, within {took * 1000:.1f} ms"
    if took > _SLOW_SECONDS:
        return warn(
            "database",
            text,
            "Use a database with less latency: "
            "each claim makes several requests",
        )
    return ok("database", text)


async def _write(clients: ClientManager) -> Finding:
    collection = Documents(clients, "doctor_checks").raw
    key = f"{os.uname().nodename}-{os.getpid()}"
    await collection.update_one(
        {"_id": key}, {"$set": {"at": datetime.now(UTC)}}, upsert=True
    )
    await collection.delete_one({"_id": key})
    return ok("database-write", "a document was written and deleted")


async def _clock(clients: ClientManager) -> Finding:
    before = time.time()
    told = (await clients.hello()).get("localTime")
    middle = (before + time.time()) / 2
    theirs = _seconds(told)
    if theirs is None:
        return warn(
            "clock",
            "the database does not give its time",
            "Synchronize the clocks of all machines by NTP",
        )
    difference = theirs - middle
    text = f"the database's differs from this machine's by {difference:+.3f} s"
    if abs(difference) > _CLOCK_SECONDS:
        return warn("clock", text, "Set both by NTP; the database's is used")
    return ok("clock", text)


def _seconds(moment: object) -> float | None:
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.timestamp()
    return moment / 1000 if isinstance(moment, int) else None


async def _schema(clients: ClientManager) -> Finding:
    done = await clients.database()["schema_steps"].count_documents({})
    if done == 0:
        return ok("schema", f"none yet: {_FIRST_START}")
    if done < len(STEPS):
        return ok("schema", f"{done} of {len(STEPS)} steps; {_FIRST_START}")
    return ok("schema", f"all {done} steps")


async def _work(clients: ClientManager) -> list[Finding]:
    documents = await Documents(clients, "workers").find({})
    leases = Documents(clients, "worker_leases").raw
    now = time.time() * 1000
    held = {
        lease["workerId"]
        for lease in await leases.find({"expiresAt": {"$gt": now}}).to_list()
    }
    workers = [_worker(document, held) for document in documents]
    jobs = await Documents(clients, "jobs").find(
        {"status": {"$eq": "PENDING"}},
        limit=SAMPLE,
        fields=["clientId", "model", "operation", "clientReference"],
    )
    return list(_judge(workers, [_job(document) for document in jobs]))


def _judge(
    workers: list[WorkerFacts], jobs: list[JobFacts]
) -> Iterator[Finding]:
    yield check_workers(workers)
    yield from check_waiting_jobs(jobs, workers)


def _worker(document: dict[str, Any], held: set[str]) -> WorkerFacts:
    worker = WorkerFacts.from_json({**document, "threadInfo": None})
    return WorkerFacts(
        worker.client,
        worker.running,
        str(document["_id"]) in held,
        worker.config,
    )


def _job(document: dict[str, Any]) -> JobFacts:
    reference = document.get("clientReference")
    if isinstance(reference, str):
        reference = payload.load(reference)
    return JobFacts.from_json({**document, "clientReference": reference})
