"""A backup of a running service, restored into a fresh directory."""

import stat
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.api_user import ApiUser
from tests.support.processes import ServiceProcess, service_process
from utilities.cosmos_connector import ClientManager, Documents, ObjectId
from utilities.store import dump
from utilities.store.dump import (
    DumpError,
    check_dump,
    restore_dump,
    write_dump,
)
from utilities.store.schema import STEPS, migrate

Json = dict[str, Any]


@pytest.fixture
async def source(database: str) -> ClientManager:
    clients = ClientManager(database, f"backup-{uuid.uuid4().hex[:8]}")
    await migrate(clients)
    return clients


@pytest.fixture
async def target(database: str) -> ClientManager:
    return ClientManager(database, f"restored-{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def path(source: ClientManager, tmp_path: Path) -> Path:
    """A backup of 1200 jobs and what belongs to them."""
    jobs = Documents(source, "jobs")
    await jobs.insert_many(
        [
            {"_id": ObjectId(), "n": n, "text": "ä\u2028" * 9}
            for n in range(1200)
        ]
    )
    await Documents(source, "workers").insert({"_id": "w", "n": 1.5})
    await Documents(source, "worker_leases").insert({"_id": "w:1"})
    path = tmp_path / "metasync.backup"
    await write_dump(source, path, "1.0")
    return path


async def everything(clients: ClientManager, name: str) -> list[Json]:
    found = clients.database()[name].find().sort("_id", 1)
    return await found.to_list()


def alone_and_private(path: Path) -> bool:
    names = [file.name for file in path.parent.iterdir()]
    return names == [path.name] and stat.S_IMODE(path.stat().st_mode) == 0o600


def content(path: Path) -> bytes:
    return path.read_bytes()


def fill(path: Path, text: bytes) -> None:
    path.write_bytes(text)


async def test_every_document_comes_back_as_it_was(
    source: ClientManager, target: ClientManager, path: Path
) -> None:
    manifest = await restore_dump(target, path)
    assert manifest.documents == 1201
    for name in ("jobs", "workers"):
        assert await everything(target, name) == await everything(source, name)
    assert await everything(target, "worker_leases") == []
    # The indexes are made, and nothing is left to do.
    indexes = await target.database()["jobs"].index_information()
    assert [("leaseToken", 1)] in [each["key"] for each in indexes.values()]
    steps = await everything(target, "schema_steps")
    assert len(steps) == len(STEPS)
    assert alone_and_private(path)


async def test_a_database_with_documents_is_left_as_it_is(
    source: ClientManager, target: ClientManager, path: Path
) -> None:
    jobs = Documents(target, "jobs")
    await jobs.insert({"_id": ObjectId(), "n": "mine"})
    with pytest.raises(DumpError, match="not empty"):
        await restore_dump(target, path)
    assert len(await everything(target, "jobs")) == 1
    await restore_dump(target, path, replace=True)
    assert await everything(target, "jobs") == await everything(source, "jobs")


async def test_a_damaged_file_changes_nothing(
    target: ClientManager, path: Path
) -> None:
    jobs = Documents(target, "jobs")
    await jobs.insert({"_id": ObjectId(), "n": "mine"})
    whole = content(path)
    for damaged in (
        whole[: len(whole) // 2],
        whole[:2000] + b"XXXX" + whole[2004:],
        b"",
    ):
        fill(path, damaged)
        with pytest.raises(DumpError, match="not a whole backup"):
            await restore_dump(target, path, replace=True)
    assert len(await everything(target, "jobs")) == 1


async def test_a_member_that_was_exchanged_is_noticed(path: Path) -> None:
    other = path.with_name("other")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "workers.bson":
                content = content[::-1]
            new.writestr(name, content)
    with pytest.raises(DumpError, match="workers is not as it was written"):
        check_dump(other)


async def test_a_file_of_a_later_version_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump, "STEPS", STEPS[:-1])
    with pytest.raises(DumpError, match=r"version 1\.0, which is later"):
        check_dump(path)


async def test_no_file_is_overwritten(
    source: ClientManager, path: Path
) -> None:
    before = content(path)
    with pytest.raises(DumpError, match="is there already"):
        await write_dump(source, path, "1.0")
    assert content(path) == before
    with pytest.raises(DumpError, match="cannot be written"):
        await write_dump(source, path / "x", "1.0")
    with pytest.raises(DumpError, match="There is no file"):
        check_dump(path.with_name("missing"))


@pytest.fixture
def running(data_dir: Path) -> Iterator[ServiceProcess]:
    with service_process(data_dir) as service:
        yield service


def command(service: ServiceProcess, data_dir: Path, *words: str) -> int:
    """Run `metasync` beside a service, with its settings."""
    other = ServiceProcess(data_dir)
    other.log = service.log.with_suffix(".command.log")
    other.spawn(*words)
    assert other.process is not None
    return other.process.wait(60)


@pytest.mark.slow
def test_a_running_service_is_backed_up_and_lives_on_elsewhere(
    running: ServiceProcess, data_dir: Path, tmp_path: Path
) -> None:
    with httpx2.Client(base_url=running.url, timeout=60) as http:
        user = ApiUser(http)
        body = user.job_body(user.model(), user.prompt())
        jobs = user.post("/jobs/batch", {"jobs": [body] * 50})
        file = str(tmp_path / "file.backup")
        assert command(running, data_dir, "backup", file) == 0
        # It is in use: nothing is restored into it.
        refused = command(running, data_dir, "restore", file, "--replace")
        assert refused == 2
    elsewhere = tmp_path / "elsewhere"
    assert command(running, elsewhere, "restore", file) == 0
    with (
        service_process(elsewhere) as service,
        httpx2.Client(base_url=service.url, timeout=60) as http,
    ):
        user.http = http
        assert user.get("/jobs/summary")["total"] == 50
        user.worker()
        assert user.ended(jobs[0]["jobId"])["status"] == "PROCESSED"
