"""Ready means that a write works, and that no vital part has failed."""

import asyncio
from typing import Any, cast

import pytest
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    OperationFailure,
)

from api.models.health_models import CheckStatus
from api.services.monitoring.health_service import (
    HealthReport,
    HealthService,
    HealthTimes,
)
from utilities.cosmos_connector import ClientManager
from utilities.supervision import PartError, PartState


class Database:
    """Takes writes and pings, or not."""

    def __init__(self) -> None:
        self.writes = 0
        self.write_error: Exception | None = None
        self.ping_error: Exception | None = None
        self.hangs = False

    def database(self) -> "Database":
        return self

    def __getitem__(self, _name: str) -> "Database":
        return self

    async def update_one(self, *_: object, **__: object) -> None:
        self.writes += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.write_error is not None:
            raise self.write_error

    async def ping(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.ping_error is not None:
            raise self.ping_error


@pytest.fixture
def database() -> Database:
    return Database()


def service(
    database: Database, kept: float = 60.0, **parts: PartState
) -> HealthService:
    return HealthService(
        cast("ClientManager", database),
        lambda: parts,
        clock=lambda: 1_000,
        times=HealthTimes(probe=0.05, kept=kept),
    )


async def test_many_callers_cost_one_write(database: Database) -> None:
    health = service(database)
    reports = await asyncio.gather(*(health.report() for _ in range(50)))
    assert all(report.ready for report in reports)
    assert database.writes == 1


async def test_an_answer_is_kept_for_a_short_time_only(
    database: Database,
) -> None:
    health = service(database, kept=0.0)
    assert (await health.report()).ready
    database.write_error = AutoReconnect("gone")
    assert not (await health.report()).ready


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OperationFailure("no disk: /secret/path", 14031), "14031"),
        (AutoReconnect("mongodb://user:secret@host"), "AutoReconnect"),
    ],
)
async def test_a_database_that_takes_no_write_is_connected_but_not_ready(
    database: Database, error: Exception, word: str
) -> None:
    database.write_error = error
    report = await service(database).report()
    assert not report.ready
    check = report.checks.database
    assert (check.status, check.database) == ("unhealthy", "connected")
    assert word in (check.error or "")
    assert "secret" not in (check.error or "")


async def test_a_database_that_is_away_is_disconnected(
    database: Database,
) -> None:
    database.write_error = database.ping_error = AutoReconnect("gone")
    check = (await service(database).report()).checks.database
    assert (check.status, check.database) == ("unhealthy", "disconnected")


async def test_a_database_that_hangs_is_not_waited_for(
    database: Database,
) -> None:
    database.hangs = True
    async with asyncio.timeout(5):
        report = await service(database).report()
    assert not report.ready
    assert report.checks.database.database == "disconnected"


@pytest.mark.parametrize(
    "error",
    [DuplicateKeyError("E11000"), OperationFailure("conflict", 112)],
)
async def test_a_write_that_met_another_one_shows_that_writes_work(
    database: Database, error: Exception
) -> None:
    database.write_error = error
    assert (await service(database).report()).ready


def part(report: HealthReport, name: str) -> Any:
    return report.checks.model_dump()[name]


async def test_a_part_that_failed_is_named(database: Database) -> None:
    report = await service(
        database,
        workers=PartState(500, "DATA_DIR is full"),
        runs=PartState(500),
    ).report()
    assert not report.ready
    failed = part(report, "workers")
    assert failed["status"] == CheckStatus.UNHEALTHY
    assert failed["error"] == "DATA_DIR is full"
    assert failed["since"].timestamp() == 0.5
    assert part(report, "runs")["status"] == CheckStatus.HEALTHY


async def test_what_is_not_vital_is_shown_but_keeps_nobody_from_working(
    database: Database,
) -> None:
    state = PartState(500, "no time", vital=False)
    report = await service(database, clock=state).report()
    assert report.ready
    assert part(report, "clock")["status"] == CheckStatus.DEGRADED


async def test_a_probe_that_fails_or_hangs_is_named(
    database: Database,
) -> None:
    async def fails() -> None:
        raise PartError("DATA_DIR is full")

    async def hangs() -> None:
        await asyncio.Event().wait()

    health = service(database)
    health.watch("dataDir", fails)
    health.watch("other", hangs)
    report = await health.report()
    assert not report.ready
    assert part(report, "dataDir")["error"] == "DATA_DIR is full"
    assert "no answer" in part(report, "other")["error"]
