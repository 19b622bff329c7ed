"""The audit, through the HTTP interface and on every store."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from api.services.access.audit.audit_log import (
    CHAINS,
    ENTRIES,
    MOST_EVENTS,
    AuditLog,
    AuditWriter,
)
from api.services.access.audit.audit_service import AuditFilter, AuditService
from api.services.access.audit.chain import Head, chain_key, chained, seal
from api.services.access.audit.events import Event, new_event_id
from api.services.access.audit.journal import Journal
from api.services.access.audit.verification import Verifier
from api.services.shared.date_range import TimeRange
from api.services.shared.paging import PageRequest
from cli.commands import app
from tests.support.api_user import ADMIN, ApiUser, Json, unique
from tests.support.identity_provider import bearer
from tests.support.live_server import live_server, make_settings
from tests.support.processes import service_process
from tests.support.store import Store
from tests.support.waiting import eventually
from utilities.cosmos_connector import Document, Documents, StoreError

KEY = chain_key("the-pepper")


@pytest.fixture(scope="module")
def api(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    settings = make_settings(
        tmp_path_factory.mktemp("audit"), failed_logins_per_minute=0
    )
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def user(api: httpx2.Client) -> ApiUser:
    return ApiUser(api)


def listed(api: httpx2.Client, **query: Any) -> list[Json]:
    answer = api.get("/audit", headers=ADMIN, params=query)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()
    return found


def found(api: httpx2.Client, **query: Any) -> Json:
    """Wait for the entry that a query finds."""
    return eventually(
        lambda: next(iter(listed(api, **query)), None), what=f"{query}"
    )


class TestRequests:
    def test_a_change_with_before_and_after(self, api: httpx2.Client) -> None:
        made = api.post(
            "/clients", headers=ADMIN, json={"name": unique("c")}
        ).json()
        path = f"/clients/{made['clientId']}"
        headers = {**ADMIN, "X-Correlation-ID": "its-id"}
        api.patch(path, headers=headers, json={"enabled": False})
        entry = found(
            api, target=made["clientId"], action="PATCH /clients/{client_id}"
        )
        assert entry["actor"] == "admin"
        assert entry["by"] == "adminKey"
        assert entry["address"] == "127.0.0.1"
        assert (entry["outcome"], entry["status"]) == ("done", 200)
        assert entry["path"] == path
        assert entry["correlationId"] == "its-id"
        (change,) = entry["changes"]
        assert change["kind"] == "Client"
        assert change["before"] == {"enabled": True}
        assert change["after"] == {"enabled": False}
        api.delete(path, headers=ADMIN)
        gone = found(
            api, target=made["clientId"], action="DELETE /clients/{client_id}"
        )
        assert gone["changes"][0]["before"]["clientId"] == made["clientId"]

    def test_no_secret_is_in_it(
        self, api: httpx2.Client, user: ApiUser
    ) -> None:
        made = api.post(
            "/clients", headers=ADMIN, json={"name": unique("c")}
        ).json()
        path = f"/clients/{made['clientId']}/rotate-key"
        rotated = api.post(path, headers=ADMIN).json()
        model = user.model(key="KEY_HUSH_HUSH")
        user.prompt("a text that is private")
        hook = user.post(
            "/webhooks",
            {
                "url": "https://example.com/h?token=hush-hush",
                "events": ["job.processed"],
            },
        )
        found(api, action="POST /webhooks", who=user.client_id)
        text = api.get("/audit/export", headers=ADMIN).text
        for secret in (
            made["api_key"],
            rotated["api_key"],
            hook["secret"],
            user.key,
            "HUSH",
            "hush-hush",
            "a text that is private",
            made["name"],
            "https://example.com/h",
        ):
            assert secret not in text, secret
        # The control: what is no secret is there.
        assert made["clientId"] in text
        assert model in text

    @pytest.mark.parametrize(
        ("headers", "path", "status"),
        [
            ({}, "/jobs", 401),
            ({"admin_api_key": "wrong"}, "/models", 401),
            ({"client_id": "mallory", "client_api_key": "x"}, "/runs", 401),
            ({"Authorization": "Bearer x"}, "/workers", 401),
        ],
        ids=range(4),
    )
    def test_what_is_refused(
        self,
        api: httpx2.Client,
        headers: dict[str, str],
        path: str,
        status: int,
    ) -> None:
        assert api.get(path, headers=headers).status_code == status
        entry = found(api, outcome="refused", action=f"GET {path}")
        assert entry["actor"] == "unknown"
        assert entry["status"] == status
        assert entry["name"] == headers.get("client_id", "unknown")

    def test_floods_are_few_entries(self, api: httpx2.Client) -> None:
        for _ in range(200):
            api.get("/prompts", headers={"admin_api_key": "wrong"})

        def all_there() -> bool:
            entries = listed(api, action="GET /prompts", outcome="refused")
            assert len(entries) < 50
            return bool(sum(each["count"] for each in entries) == 200)

        eventually(all_there, what="200 refusals")

    def test_jobs_are_one_entry_a_request_at_most(
        self, api: httpx2.Client, user: ApiUser
    ) -> None:
        model, prompt = user.model(), user.prompt()
        made = [user.job(model, prompt)["jobId"] for _ in range(10)]
        jobs = [user.job_body(model, prompt)] * 250
        user.post("/jobs/batch", {"jobs": jobs})

        def ids() -> set[str]:
            entries = listed(api, action="POST /jobs", who=user.client_id)
            return {each for entry in entries for each in entry["ids"]}

        eventually(lambda: ids() == set(made), what="the jobs")
        entry = found(api, action="POST /jobs/batch", who=user.client_id)
        assert (entry["things"], len(entry["ids"])) == (250, 100)
        assert entry["kind"] == "Job"

    def test_a_batch_of_changes(
        self, api: httpx2.Client, user: ApiUser
    ) -> None:
        job = user.job(user.model(), user.prompt())
        body = {
            "jobs": [
                {"jobId": job["jobId"], "priority": 7, "requestData": {"x": 1}}
            ]
        }
        user.patch("/jobs/batch", body)
        entry = found(api, action="PATCH /jobs/batch", who=user.client_id)
        (change,) = entry["changes"]
        assert change["after"]["priority"] == 7
        assert change["after"]["requestData"].keys() == {"length", "digest"}

    def test_reading_is_not_recorded(
        self, api: httpx2.Client, user: ApiUser
    ) -> None:
        mark = unique("mark")
        user.get("/jobs")
        user.request("POST", "/jobs/wait", 200, json={"jobIds": ["a" * 24]})
        user.request("POST", "/prompts", 422, json={"name": mark})
        user.prompt(name=mark)
        found(api, action="POST /prompts", who=user.client_id)
        entries = listed(api, who=user.client_id)
        actions = {entry["action"] for entry in entries}
        assert not actions & {"GET /jobs", "POST /jobs/wait"}
        assert not [e for e in entries if e["status"] == 422]

    def test_calls_are_not_recorded_but_files_are(
        self, api: httpx2.Client, user: ApiUser
    ) -> None:
        model = user.model()
        headers = bearer(f"{user.client_id}:{user.key}")
        body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
        answer = api.post("/v1/chat/completions", headers=headers, json=body)
        assert answer.status_code == 200, answer.text
        line = json.dumps(
            {
                "custom_id": "a",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
        )
        answer = api.post(
            "/v1/files",
            headers=headers,
            files={"file": ("a.jsonl", line)},
            data={"purpose": "batch"},
        )
        assert answer.status_code == 200, answer.text
        entry = found(api, action="POST /v1/files", who=user.client_id)
        assert entry["by"] == "clientKey"
        entries = listed(api, who=user.client_id)
        assert not [e for e in entries if "completions" in e["action"]]

    def test_only_the_administrator_reads_it(
        self, api: httpx2.Client, user: ApiUser
    ) -> None:
        for path in ("/audit", "/audit/export"):
            assert api.get(path).status_code == 401
            answer = api.get(path, headers=user.headers)
            assert answer.status_code == 401

    def test_pages_and_times(self, api: httpx2.Client, user: ApiUser) -> None:
        for _ in range(5):
            user.prompt()
        query = {"who": user.client_id, "action": "POST /prompts"}
        eventually(lambda: len(listed(api, **query)) >= 5, what="five")
        whole, cursor, pages = listed(api, **query), None, []
        while True:
            page = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            answer = api.get("/audit", headers=ADMIN, params={**query, **page})
            pages += answer.json()
            cursor = answer.headers.get("X-Next-Cursor")
            if cursor is None:
                break
        assert pages == whole
        times = [datetime.fromisoformat(each["at"]) for each in whole]
        assert times == sorted(times, reverse=True)
        assert {each["kind"] for each in whole} == {"Prompt"}
        late = listed(api, **query, **{"from": "2999-01-01"})
        assert late == []
        answer = api.get("/audit", headers=ADMIN, params={"from": "x"})
        assert answer.status_code == 400
        answer = api.get("/audit", headers=ADMIN, params={"outcom": "x"})
        assert answer.status_code == 422

    def test_export(self, api: httpx2.Client, user: ApiUser) -> None:
        user.prompt()
        query = {"who": user.client_id}
        found(api, **query)

        def is_the_same() -> bool:
            # What other tests did may be written down in between.
            answer = api.get("/audit/export", headers=ADMIN, params=query)
            assert answer.headers["content-type"] == "application/x-ndjson"
            lines = [json.loads(line) for line in answer.text.splitlines()]
            return lines == listed(api, **query)

        eventually(is_the_same)


def test_it_can_be_off(database: str, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, audit_log=False)
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        ApiUser(client).prompt()
        assert listed(client) == []
    assert not (tmp_path / "audit").exists()


@pytest.mark.long
def test_what_a_killed_process_has_recorded_is_kept(tmp_path: Path) -> None:
    with (
        service_process(tmp_path) as process,
        httpx2.Client(base_url=process.url, timeout=60) as http,
    ):
        # Some of these are not in the database yet.
        names = [ApiUser(http).client_id for _ in range(5)]
        process.kill()
        process.start()

        def made() -> set[str]:
            entries = listed(http, action="POST /clients")
            return {
                change["after"]["clientId"]
                for each in entries
                for change in each["changes"]
            }

        eventually(lambda: made() >= set(names), what="what it has recorded")


def event(number: int, **fields: Any) -> Event:
    return Event(
        **{
            "id": new_event_id(),
            "at": number,
            "until": number,
            "actor": "admin",
            "name": "admin",
            "by": "adminKey",
            "address": "192.0.2.1",
            "action": "POST /clients",
            "path": "/clients",
            "target": f"t{number}",
            "status": 201,
            "outcome": "done",
            **fields,
        }
    )


class Place:
    """An audit over a store, that the test drives itself."""

    def __init__(self, store: Store, directory: Path) -> None:
        clients = store.application.clients
        self.entries = Documents(clients, ENTRIES)
        self.chains = Documents(clients, CHAINS)
        self.directory = directory

    def writer(self, chain: str) -> tuple[AuditLog, AuditWriter, Journal]:
        journal = Journal(self.directory, chain)
        log = AuditLog(journal)
        made = AuditWriter(
            log, journal, self.entries, self.chains, chain=chain, key=KEY
        )
        return log, made, journal

    async def write(self, chain: str, *events: Event) -> None:
        log, writer, journal = self.writer(chain)
        await writer._begin()
        for each in events:
            log.add(each)
        await writer._store_all()
        journal.close()

    async def problems(self) -> list[str]:
        found = await Verifier(self.entries, self.chains, KEY).verify()
        return found.problems

    async def targets(self) -> list[str | None]:
        page = await AuditService(self.entries).page(
            AuditFilter(TimeRange()), PageRequest()
        )
        return [e.target for e in page.items if e.target is not None]


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Place:
    return Place(store, tmp_path / "audit")


Tamper = Callable[[Place], Any]


def _set(**fields: Any) -> Tamper:
    async def change(place: Place) -> None:
        await place.entries.raw.update_one({"target": "t2"}, {"$set": fields})

    return change


async def _remove_middle(place: Place) -> None:
    await place.entries.raw.delete_one({"target": "t2"})


async def _remove_last(place: Place) -> None:
    await place.entries.raw.delete_one({"target": "t3"})


async def _remove_first(place: Place) -> None:
    await place.entries.raw.delete_one({"action": "audit.started"})


async def _edit_text(place: Place) -> None:
    found = await place.entries.find_one({"target": "t2"})
    assert found is not None
    body = found["body"].replace('"admin"', '"nobody"')
    assert body != found["body"]
    await _set(body=body)(place)


async def _swap(place: Place) -> None:
    two = await place.entries.find_one({"target": "t2"})
    three = await place.entries.find_one({"target": "t3"})
    assert two is not None
    assert three is not None
    for one, other in ((two, three), (three, two)):
        await place.entries.raw.update_one(
            {"_id": one["_id"]},
            {"$set": {n: other[n] for n in ("body", "hash", "previous")}},
        )


async def _forge(place: Place) -> None:
    """Add an entry with a hash that is made without the service's key."""
    found = await place.entries.find_one({"target": "t3"})
    assert found is not None
    wrong, _ = _forged(found)
    await place.entries.raw.insert_one(wrong)


def _forged(last: Document) -> tuple[Document, Any]:
    head = Head(last["chain"], last["number"], last["hash"])
    documents, head = chained(b"a guess", head, [event(4)])
    return documents[0] | {"_metadata": last["_metadata"]}, head


async def _cut_with_head(place: Place) -> None:
    """Remove the last entry, and bring an older head back.

    Only the chain that began later tells of it.
    """
    await _remove_last(place)
    document = await place.chains.raw.find_one({"_id": "one"})
    assert document is not None
    two = await place.entries.find_one({"target": "t2"})
    assert two is not None
    head = Head("one", two["number"], two["hash"])
    fields = {"number": head.number, "hash": head.hash}
    await place.chains.raw.update_one(
        {"_id": "one"}, {"$set": {**fields, "seal": seal(KEY, head)}}
    )


class TestChain:
    @pytest.mark.parametrize(
        "tamper",
        [
            pytest.param(_set(hash="0" * 64), id="hash"),
            pytest.param(_set(previous="0" * 64), id="previous"),
            pytest.param(_set(number=9), id="number"),
            pytest.param(_set(chain="three"), id="chain"),
            pytest.param(_set(actor="somebody"), id="actor"),
            pytest.param(_set(at=0), id="time"),
            pytest.param(_set(body="{}"), id="empty"),
            pytest.param(_set(body="["), id="no-json"),
            pytest.param(_set(**{"_metadata.isDeleted": True}), id="deleted"),
            pytest.param(_edit_text, id="text"),
            pytest.param(_remove_first, id="first"),
            pytest.param(_remove_middle, id="middle"),
            pytest.param(_remove_last, id="last"),
            pytest.param(_swap, id="swap"),
            pytest.param(_forge, id="forged"),
            pytest.param(_cut_with_head, id="cut"),
        ],
    )
    async def test_changes_show(self, place: Place, tamper: Tamper) -> None:
        await place.write("one", event(1), event(2), event(3))
        await place.write("two", event(4))
        # The control: nothing is wrong before.
        assert await place.problems() == []
        await tamper(place)
        assert await place.problems() != []

    async def test_another_pepper(self, place: Place) -> None:
        await place.write("one", event(1))
        other = Verifier(place.entries, place.chains, chain_key("other"))
        assert (await other.verify()).problems != []


class TestWriter:
    async def test_what_a_dead_process_left_is_stored_once(
        self, place: Place
    ) -> None:
        log, writer, journal = place.writer("dead")
        await writer._begin()
        first, second = event(1), event(2)
        log.add(first)
        await writer._store_all()
        log.add(second)
        # It dies after the database has it, before its file is removed.
        log.next_segment()
        path = log.waiting[0][0]
        kept = path.read_bytes()
        await writer._store_all()
        path.write_bytes(kept + b'{"half')
        third = event(3)
        log.add(third)
        journal._lock.release()
        await place.write("next")
        assert sorted(map(str, await place.targets())) == ["t1", "t2", "t3"]
        assert await place.problems() == []
        assert list(place.directory.glob("dead*")) == []

    async def test_a_process_that_lives_keeps_its_files(
        self, place: Place
    ) -> None:
        log, _, journal = place.writer("alive")
        log.add(event(1))
        await place.write("next")
        assert await place.targets() == []
        journal.close()
        await place.write("third")
        assert await place.targets() == ["t1"]

    async def test_a_database_that_is_away(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log, writer, _ = place.writer("one")
        await writer._begin()

        async def fails(*_: Any) -> None:
            raise StoreError

        with monkeypatch.context() as patched:
            patched.setattr(place.entries, "insert_many", fails)
            log.add(event(1))
            await writer._store_all()
            log.add(event(2))
            await writer._store_all()
            assert writer.problem is not None
        await writer._store_all()
        assert writer.problem is None
        assert sorted(map(str, await place.targets())) == ["t1", "t2"]
        assert await place.problems() == []

    async def test_more_than_it_holds_is_counted_and_told(
        self, place: Place
    ) -> None:
        log, writer, _ = place.writer("one")
        await writer._begin()
        for number in range(MOST_EVENTS + 7):
            log.add(event(number, is_frequent=True))
        assert log.counts.lost == 7
        await writer._store_all()
        assert log.counts.stored == MOST_EVENTS + 1
        told = await place.entries.find({"action": "audit.lost"})
        assert "7 events" in told[0]["body"]
        frequent = await place.entries.find({"action": "POST /clients"})
        assert [json.loads(e["body"])["count"] for e in frequent] == [
            MOST_EVENTS
        ]
        log.add(event(1))
        await writer._store_all()
        assert log.counts.lost == 7

    async def test_without_a_disk(self, place: Place) -> None:
        place.directory.write_text("no directory")
        await place.write("one", event(1))
        assert await place.targets() == ["t1"]


def test_the_command_line_verifies_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path)
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        ApiUser(client)
        found(client, action="POST /clients")
    for name, value in {
        "ADMIN_API_KEY": "a",
        "API_KEY_PEPPER": "the-pepper",
        "DOCS_SECRET": "d",
        "DB_CONNECTION_STRING": database,
        "DB_NAME": settings.db_name,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["audit", "verify"])
    assert result.exit_code == 0, result.output
    assert "2 entries in 1 chains: unchanged" in result.output
    monkeypatch.setenv("API_KEY_PEPPER", "another")
    result = CliRunner().invoke(app, ["audit", "verify"])
    assert result.exit_code == 1
    assert "it was changed" in result.output
