import contextlib
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pymongo
import pytest
import structlog
from filelock import FileLock
from pymongo.errors import AutoReconnect, BulkWriteError, PyMongoError

from tests.support.paths import ROOT
from utilities.embedded.database import (
    DataDirectoryInUseError,
    EmbeddedDatabase,
    EmbeddedDatabaseError,
    EmbeddedDatabaseStartError,
)
from utilities.embedded.handler import DurableHandler

Client = pymongo.MongoClient[dict[str, Any]]

DEADLINE = 30.0

# A parent to be killed: it stores one document, tells its child's address
# and its child's pid, and waits.
PARENT = """
import sys, time
from pathlib import Path
import pymongo
from utilities.embedded.database import EmbeddedDatabase

database = EmbeddedDatabase(Path(sys.argv[1]))
database.start()
client = pymongo.MongoClient(database.connection_string)
client["app"]["jobs"].insert_one({"_id": "kept"})
pid = client["admin"].command("serverStatus")["pid"]
print(pid, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit, "the condition never became true"
        time.sleep(0.01)


def wait_for_more(items: list[int]) -> None:
    enough = len(items) + 50
    wait_until(lambda: len(items) > enough)


def restarted(database: EmbeddedDatabase, times: int) -> bool:
    return database.restarts == times


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody reaps (as in a container) has ended too.
    status = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(FileNotFoundError):
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    return not Path("/proc").exists()


@contextlib.contextmanager
def parent(data_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run PARENT; give its process and the pid of its child."""
    command = [sys.executable, "-c", PARENT, str(data_dir)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def child_pid(client: Client) -> int:
    return int(client["admin"].command("serverStatus")["pid"])


@contextlib.contextmanager
def connected(database: EmbeddedDatabase) -> Iterator[Client]:
    client: Client = pymongo.MongoClient(
        database.connection_string, serverSelectionTimeoutMS=20_000
    )
    with client:
        yield client


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def database(data_dir: Path) -> Iterator[EmbeddedDatabase]:
    with EmbeddedDatabase(data_dir) as started:
        yield started


@pytest.fixture
def client(database: EmbeddedDatabase) -> Iterator[Client]:
    with connected(database) as client:
        yield client


class TestStartAndStop:
    def test_data_survives_a_stop(self, data_dir: Path) -> None:
        with EmbeddedDatabase(data_dir) as first, connected(first) as client:
            client["app"]["jobs"].insert_one({"_id": "a", "n": 1})
        with EmbeddedDatabase(data_dir) as again, connected(again) as client:
            assert client["app"]["jobs"].find_one() == {"_id": "a", "n": 1}

    def test_one_object_starts_again_on_its_port(self, data_dir: Path) -> None:
        database = EmbeddedDatabase(data_dir)
        addresses = set()
        for _ in range(2):
            with database:
                assert database.alive
                addresses.add(database.connection_string)
        assert len(addresses) == 1

    def test_stop_is_idempotent_from_any_thread(self, data_dir: Path) -> None:
        database = EmbeddedDatabase(data_dir)
        database.stop()
        database.start()
        stoppers = [threading.Thread(target=database.stop) for _ in range(3)]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join(DEADLINE)
        database.stop()
        assert not database.alive
        assert not (data_dir / "metasync.pid").exists()

    def test_a_clean_stop_leaves_no_journal(self, data_dir: Path) -> None:
        with EmbeddedDatabase(data_dir) as database:
            with connected(database) as client:
                client["app"]["jobs"].insert_many([{"n": n} for n in range(9)])
            assert list((data_dir / "db").glob("*.db-wal"))
        assert not list((data_dir / "db").glob("*.db-wal"))

    def test_the_directory_is_private(
        self, database: EmbeddedDatabase, data_dir: Path
    ) -> None:
        assert database.alive
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert (data_dir / "metasync.pid").read_text() == f"{os.getpid()}\n"

    def test_a_wanted_port_is_used(self, data_dir: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with EmbeddedDatabase(data_dir, port=port) as database:
            assert f"127.0.0.1:{port}/" in database.connection_string

    def test_no_address_before_the_start(self, data_dir: Path) -> None:
        database = EmbeddedDatabase(data_dir)
        with pytest.raises(EmbeddedDatabaseError, match="no port"):
            _ = database.connection_string

    def test_started_twice(self, database: EmbeddedDatabase) -> None:
        with pytest.raises(EmbeddedDatabaseError, match="already started"):
            database.start()
        assert database.alive

    @pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="reads /proc"
    )
    def test_the_child_is_given_no_secrets(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ADMIN_API_KEY", "hidden")
        monkeypatch.setenv("HOMEBREW_TOKEN", "hidden")
        with EmbeddedDatabase(data_dir) as database:
            with connected(database) as client:
                pid = child_pid(client)
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"PYTHONPATH=" in environment
        assert b"hidden" not in environment

    def test_works_from_any_directory(
        self, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoy = tmp_path / "elsewhere" / "utilities"
        decoy.mkdir(parents=True)
        (decoy / "__init__.py").write_text("raise SystemExit('decoy')")
        monkeypatch.chdir(decoy.parent)
        with EmbeddedDatabase(data_dir) as database:
            assert database.alive


class TestDirectoryInUse:
    def test_by_another_object(
        self, database: EmbeddedDatabase, data_dir: Path
    ) -> None:
        with pytest.raises(DataDirectoryInUseError) as caught:
            EmbeddedDatabase(data_dir).start()
        assert caught.value.pid == os.getpid()
        assert database.alive
        assert (data_dir / "metasync.pid").exists()

    def test_by_another_process(
        self, database: EmbeddedDatabase, data_dir: Path
    ) -> None:
        second = subprocess.run(
            [sys.executable, "-c", PARENT, str(data_dir)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert second.returncode == 1
        for part in (
            "DataDirectoryInUseError",
            str(data_dir),
            f"process {os.getpid()}",
            "DATA_DIR",
            "DB_CONNECTION_STRING",
        ):
            assert part in second.stderr
        assert database.alive

    def test_holder_unknown(
        self, database: EmbeddedDatabase, data_dir: Path
    ) -> None:
        assert database.alive
        (data_dir / "metasync.pid").unlink()
        with pytest.raises(DataDirectoryInUseError, match="another process"):
            EmbeddedDatabase(data_dir).start()


class TestChildDies:
    def test_killed_child_returns_with_all_acknowledged_writes(
        self, database: EmbeddedDatabase, client: Client
    ) -> None:
        acknowledged: list[int] = []
        enough = threading.Event()

        def write() -> None:
            number = 0
            while not enough.is_set():
                number += 1
                # What was cut off may or may not be there: not counted.
                with contextlib.suppress(PyMongoError):
                    client["app"]["jobs"].insert_one({"_id": number})
                    acknowledged.append(number)

        address = database.connection_string
        writer = threading.Thread(target=write)
        writer.start()
        with structlog.testing.capture_logs() as events:
            for kill in (1, 2):
                wait_for_more(acknowledged)
                os.kill(child_pid(client), signal.SIGKILL)
                wait_until(partial(restarted, database, kill))
            wait_for_more(acknowledged)
        enough.set()
        writer.join(DEADLINE)

        assert database.alive
        assert database.connection_string == address
        stored = {job["_id"] for job in client["app"]["jobs"].find()}
        assert stored >= set(acknowledged)
        expected = {
            "event": "embedded_database_restarted",
            "exit_code": -signal.SIGKILL,
            "log_level": "warning",
        }
        assert events == [expected, expected]

    def test_stop_while_the_child_cannot_return(
        self, database: EmbeddedDatabase, client: Client, data_dir: Path
    ) -> None:
        pid = child_pid(client)
        admin = data_dir / "db" / "admin.db"
        with structlog.testing.capture_logs() as events:
            os.kill(pid, signal.SIGKILL)
            admin.write_bytes(b"damaged" * 1000)
            wait_until(lambda: events)
            database.stop()
        assert events[0]["event"] == "embedded_database_failed"
        assert "admin.db" in events[0]["error"]
        assert not database.alive
        assert database.restarts == 0

    def test_sigint_does_not_end_the_child(
        self, database: EmbeddedDatabase, client: Client
    ) -> None:
        pid = child_pid(client)
        os.kill(pid, signal.SIGINT)
        assert child_pid(client) == pid
        assert database.restarts == 0

    def test_sigterm_ends_the_child_cleanly(
        self, database: EmbeddedDatabase, client: Client
    ) -> None:
        client["app"]["jobs"].insert_one({"_id": "a"})
        with structlog.testing.capture_logs() as events:
            os.kill(child_pid(client), signal.SIGTERM)
            wait_until(lambda: database.restarts == 1)
        assert [event["exit_code"] for event in events] == [0]
        assert client["app"]["jobs"].find_one({"_id": "a"})

    def test_a_child_that_does_not_end_is_killed(
        self,
        database: EmbeddedDatabase,
        client: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("utilities.server_process._STOP_SECONDS", 0.2)
        pid = child_pid(client)
        os.kill(pid, signal.SIGSTOP)
        database.stop()
        assert not running(pid)


class TestParentDies:
    def test_killed_parent_takes_the_child_with_it(
        self, data_dir: Path
    ) -> None:
        with parent(data_dir) as (process, pid):
            assert running(pid)
            process.kill()
            wait_until(lambda: not running(pid))
        with EmbeddedDatabase(data_dir) as again, connected(again) as client:
            assert client["app"]["jobs"].find_one() == {"_id": "kept"}

    def test_successor_waits_for_a_child_that_still_has_the_files(
        self, data_dir: Path
    ) -> None:
        data_dir.mkdir()
        orphan = FileLock(data_dir / "database.lock", thread_local=False)
        orphan.acquire()
        ended = threading.Event()

        def end() -> None:
            ended.set()
            orphan.release()

        threading.Timer(1.0, end).start()
        with EmbeddedDatabase(data_dir) as database:
            assert ended.is_set()
            assert database.alive


class TestStartFails:
    def test_directory_is_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "data"
        file.touch()
        database = EmbeddedDatabase(file)
        with pytest.raises(EmbeddedDatabaseStartError) as caught:
            database.start()
        assert str(file) in str(caught.value)
        assert "DATA_DIR" in str(caught.value)

    def test_damaged_database(self, data_dir: Path) -> None:
        database = EmbeddedDatabase(data_dir)
        with database, connected(database) as client:
            client["app"]["jobs"].insert_one({})
        path = data_dir / "db" / "app.db"
        good = path.read_bytes()
        path.write_bytes(b"this is not a database" * 1000)

        with pytest.raises(EmbeddedDatabaseStartError) as caught:
            database.start()
        assert f"{path} is not a readable database" in str(caught.value)
        # One sentence, no log.
        assert "\n" not in str(caught.value)
        assert not database.alive

        path.write_bytes(good)
        with database, connected(database) as client:
            assert client["app"]["jobs"].find_one()

    @pytest.mark.parametrize(
        "harm", ["emptied", "removed", "cut", "overwritten"]
    )
    def test_a_harmed_file_is_no_fresh_start(
        self, data_dir: Path, harm: str
    ) -> None:
        database = EmbeddedDatabase(data_dir)
        with database, connected(database) as client:
            jobs = client["app"]["jobs"]
            jobs.insert_many([{"text": "x" * 500} for _ in range(500)])
        path = data_dir / "db" / "app.db"
        good = path.read_bytes()
        middle = len(good) // 2
        match harm:
            case "removed":
                path.unlink()
            case "emptied":
                path.write_bytes(b"")
            case "cut":
                path.write_bytes(good[:middle])
            case "overwritten":
                harmed = good[:middle] + b"?" * 20_000 + good[middle:]
                path.write_bytes(harmed[: len(good)])

        with pytest.raises(EmbeddedDatabaseStartError) as caught:
            database.start()
        message = str(caught.value)
        assert f"{path} is not a readable database" in message
        assert "put a backup in its place" in message

        path.write_bytes(good)
        with database, connected(database) as client:
            assert client["app"]["jobs"].count_documents({}) == 500

    def test_a_dropped_database_is_a_fresh_start(self, data_dir: Path) -> None:
        with (
            EmbeddedDatabase(data_dir) as database,
            connected(database) as client,
        ):
            client["app"]["jobs"].insert_one({})
            client.drop_database("app")
        with EmbeddedDatabase(data_dir) as database:
            assert database.alive

    def test_a_directory_that_cannot_be_written_to(
        self, data_dir: Path
    ) -> None:
        data_dir.mkdir()
        (data_dir / "db").write_text("a file in the way")
        with pytest.raises(EmbeddedDatabaseStartError) as caught:
            EmbeddedDatabase(data_dir).start()
        message = str(caught.value)
        assert "File exists" in message
        assert "exit code" not in message
        assert "\n" not in message

    def test_an_open_directory_is_made_private(self, data_dir: Path) -> None:
        with (
            EmbeddedDatabase(data_dir) as database,
            connected(database) as client,
        ):
            client["app"]["jobs"].insert_one({})
        spool = data_dir / "spool" / "p"
        spool.mkdir(parents=True)
        (spool / "line").write_text("{}")
        (data_dir / "notes.txt").write_text("somebody else's")
        for path in [data_dir, *data_dir.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        with EmbeddedDatabase(data_dir):
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode)
                for path in [data_dir, *data_dir.rglob("*")]
            }
        assert modes.pop("notes.txt") == 0o644
        open_to_others = {name for name in modes if modes[name] & 0o077}
        assert open_to_others == set()
        assert modes["database.log"] == 0o600

    def test_port_is_taken(self, data_dir: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            database = EmbeddedDatabase(data_dir, port=taken.getsockname()[1])
            with pytest.raises(
                EmbeddedDatabaseStartError, match="address already in use"
            ):
                database.start()

    def test_too_slow(self, data_dir: Path) -> None:
        database = EmbeddedDatabase(data_dir, start_timeout=0.01)
        with pytest.raises(EmbeddedDatabaseStartError, match=r"within 0.01 s"):
            database.start()
        assert not (data_dir / "metasync.pid").exists()


class TestCommands:
    def test_documents_before_an_ordered_error_are_kept(
        self, client: Client
    ) -> None:
        jobs = client["app"]["jobs"]
        with pytest.raises(BulkWriteError) as caught:
            jobs.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 1}, {"_id": 3}])
        assert caught.value.details["nInserted"] == 2
        assert [job["_id"] for job in jobs.find()] == [1, 2]

    def test_clients_are_cut_off_at_the_stop(
        self, database: EmbeddedDatabase
    ) -> None:
        # Short, as a client's close says goodbye to a server that is gone.
        impatient: Client = pymongo.MongoClient(
            database.connection_string, serverSelectionTimeoutMS=100
        )
        with impatient:
            impatient["app"]["jobs"].insert_one({"_id": 1})
            database.stop()
            with pytest.raises(AutoReconnect):
                impatient["app"]["jobs"].find_one()


@pytest.fixture
def handler(data_dir: Path) -> Iterator[DurableHandler]:
    handler = DurableHandler(data_dir=str(data_dir))
    yield handler
    handler.close_all()


def message(**body: object) -> dict[str, Any]:
    return {"request_id": 1, "sections": [("body", {**body, "$db": "app"})]}


def insertion(count: int, **options: object) -> dict[str, Any]:
    documents = [{"text": "x" * 500} for _ in range(count)]
    return message(insert="jobs", documents=documents, **options)


def stored(handler: DurableHandler) -> int:
    return int(handler.get_database("app")["jobs"].count_documents({}))


class TestDurableHandler:
    @pytest.mark.parametrize(
        "concern", [{"w": 0}, {"w": 1}, {"w": "majority"}, {"j": True}]
    )
    def test_every_write_is_synced(
        self, handler: DurableHandler, concern: dict[str, object]
    ) -> None:
        handler.handle_insert(insertion(1, writeConcern=concern))
        connection = handler.get_database("app").db
        full = 2
        assert connection.execute("PRAGMA synchronous").fetchone() == (full,)

    def test_a_full_disk_is_never_reported_as_success(
        self, handler: DurableHandler
    ) -> None:
        handler.handle_insert(insertion(1))
        connection = handler.get_database("app").db
        connection.execute("PRAGMA max_page_count = 30")
        reported = 1
        with contextlib.suppress(sqlite3.OperationalError):
            _, answer = handler.handle_insert(insertion(1000, ordered=True))
            assert answer["writeErrors"]
            reported += answer["n"]
        assert stored(handler) == reported
        assert not connection.in_transaction

    def test_an_error_undoes_the_whole_command(
        self, handler: DurableHandler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handler.handle_insert(insertion(3))

        def fail(*_: object) -> None:
            handler.get_database("app")["jobs"].delete_many({})
            raise RuntimeError

        monkeypatch.setattr(handler, "_handle_delete", fail)
        with pytest.raises(RuntimeError):
            handler.handle_command(message(delete="jobs", deletes=[]))
        assert stored(handler) == 3

    def test_a_clients_own_transaction_is_the_clients(
        self, handler: DurableHandler
    ) -> None:
        session = {"lsid": {"id": "one"}, "autocommit": False}
        handler.handle_insert(insertion(1))
        handler.handle_insert(insertion(2, **session, startTransaction=True))
        handler.handle_insert(insertion(4))
        assert stored(handler) == 7
        handler.handle_command(message(abortTransaction=1, **session))
        assert stored(handler) == 1


def test_foreign_readers_see_whole_commands(
    database: EmbeddedDatabase, client: Client, data_dir: Path
) -> None:
    """Count rows from outside while blocks of ten are inserted."""
    assert database.alive
    jobs = client["app"]["jobs"]
    jobs.insert_many([{"n": n} for n in range(10)])
    seen = set()
    done = threading.Event()

    def read() -> None:
        path = data_dir / "db" / "app.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            while not done.is_set():
                counted = connection.execute("SELECT count(*) FROM jobs")
                seen.add(counted.fetchone()[0] % 10)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        jobs.insert_many([{"n": n} for n in range(10)])
    done.set()
    reader.join(DEADLINE)
    assert seen == {0}
