"""Erasure over the wire: nothing of a client is left in any file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pymongo
import pytest
from pymongo.database import Database

from tests.conftest import PROVIDER_KEY
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.batch_user import CHAT, line, lines_of
from tests.support.live_server import LiveServer, live_server, make_settings
from tests.support.receiver import running_receiver
from tests.support.waiting import eventually
from utilities.embedded.database import EmbeddedDatabase

MARKER = "Zq7marker9X"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("erasure")


@pytest.fixture(scope="module")
def forgetful(searched: Path) -> Iterator[LiveServer]:
    """A service with a database of its own, whose files are searched."""
    settings = make_settings(
        searched, webhook_allow_private=True, stop_grace_seconds=0
    )
    with (
        EmbeddedDatabase(searched) as database,
        live_server(
            settings,
            database.connection_string,
            {"PROVIDER_KEY": PROVIDER_KEY},
        ) as running,
    ):
        yield running


@pytest.fixture
def http(forgetful: LiveServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=forgetful.url, timeout=60) as client:
        yield client


def files_with(text: str, directory: Path) -> list[str]:
    return [
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def fill(user: ApiUser, receiver_url: str) -> None:
    """Leave the marker in everything that a client has."""
    model = user.model()
    prompt = user.prompt(f"Say {MARKER}.", name=f"p {MARKER}")
    user.worker(operationFilter=MARKER)
    user.post(
        "/prompt-flows",
        {"name": f"f {MARKER}", "promptIds": [prompt]},
    )
    user.post(
        "/webhooks",
        {
            "url": f"{receiver_url}/{MARKER}",
            "events": ["job.processed"],
            "description": MARKER,
        },
    )
    body = user.job_body(
        model,
        prompt,
        operation=MARKER,
        requestData={"text": MARKER * 300},
        clientReference={"note": MARKER},
    )
    jobs = user.post("/jobs/batch", {"jobs": [body] * 60})
    for job in jobs:
        user.ended(job["jobId"])
    user.delete(f"/jobs/{jobs[0]['jobId']}")
    user.http.post(
        "/stream",
        headers=user.headers,
        json={"userPrompt": MARKER * 10, "model": model},
    ).raise_for_status()
    user.post(
        "/runs",
        {
            "initialWorkingPromptIds": [prompt],
            "evalPromptId": prompt,
            "evalModel": model,
            "metaPromptId": prompt,
            "metaModel": model,
            "workingModels": [model],
            "maxIterations": 1,
            "requestData": {"text": MARKER},
        },
    )
    leave_a_batch(user, model)
    items = [{"requestData": {"t": MARKER * n}} for n in range(1, 20)]
    dataset = user.post("/datasets", {"name": MARKER, "items": items})
    user.post(
        "/evaluations",
        {
            "datasetId": dataset["datasetId"],
            "promptIds": [prompt],
            "models": [model],
            "metric": {"type": "regex", "pattern": MARKER},
        },
    )


def leave_a_batch(user: ApiUser, model: str) -> None:
    headers = {"authorization": f"Bearer {user.client_id}:{user.key}"}
    rows = lines_of([line(MARKER, model, MARKER)])
    source = user.http.post(
        "/v1/files",
        headers=headers,
        data={"purpose": "batch"},
        files={"file": (MARKER, rows)},
    ).json()
    body = {
        "input_file_id": source["id"],
        "endpoint": CHAT,
        "completion_window": "24h",
        "metadata": {"note": MARKER},
    }
    made = user.http.post("/v1/batches", headers=headers, json=body).json()

    def has_ended() -> bool:
        path = f"/v1/batches/{made['id']}"
        found = user.http.get(path, headers=headers).json()
        return bool(found["status"] == "completed")

    eventually(has_ended)


def erased(http: httpx2.Client, client_id: str) -> Json:
    path = f"/clients/{client_id}/erase"

    def look() -> Json | None:
        found: Json = http.get(path, headers=ADMIN).json()
        done = found["status"] == "DONE" and found["disksCleaned"]
        return found if done else None

    return eventually(look, seconds=40, what="the erasure's end")


@pytest.mark.long
def test_nothing_of_an_erased_client_is_left_in_any_file(
    forgetful: LiveServer, http: httpx2.Client, searched: Path
) -> None:
    user, other = ApiUser(http), ApiUser(http)
    kept = other.prompt("Another client's.")
    with running_receiver() as receiver:
        fill(user, receiver.url)
        eventually(lambda: len(receiver.bodies) >= 59, what="deliveries")
    aside = searched / "spool-unreadable" / "process.jsonl"
    aside.parent.mkdir(exist_ok=True)
    aside.write_text(f'{{"client_id":"{user.client_id}","t":"{MARKER}"}}\n')
    assert "spool-unreadable/process.jsonl" in files_with(MARKER, searched)
    # From the journal into the file.
    with connected(forgetful) as tables:
        tables.command("giveSpaceBack")
    (database,) = (searched / "db").glob("test-*.db")
    assert str(database.relative_to(searched)) in files_with(MARKER, searched)
    size = database.stat().st_size

    path = f"/clients/{user.client_id}/erase"
    user.request("POST", path, 401)
    begun = http.post(path, headers=ADMIN)
    assert begun.status_code == 202
    user.get("/jobs", 401)
    done = erased(http, user.client_id)

    assert files_with(MARKER, searched) == []
    assert done["removed"]["jobs"] >= 60
    assert database.stat().st_size < size
    assert other.get(f"/prompts/{kept}")["prompt"] == "Another client's."
    # What was spent is kept, without the client's words.
    assert left_of(forgetful, user.client_id) == {"erasures", "ledger"}
    with connected(forgetful) as tables:
        counters = list(tables["ledger"].find({"clientId": user.client_id}))
    assert {each["operation"] for each in counters} == {"(erased)"}
    # Again, it is the same erasure.
    again = http.post(path, headers=ADMIN).json()
    assert again["status"] == "DONE"
    assert again["removed"] == done["removed"]


@contextmanager
def connected(server: LiveServer) -> Iterator[Database[Json]]:
    clients = server.application.clients
    connection: pymongo.MongoClient[Json] = pymongo.MongoClient(
        clients._connection_string, retryWrites=False
    )
    with connection:
        yield connection[clients._db_name]


def left_of(server: LiveServer, client_id: str) -> set[str]:
    """Name the collections that still have anything of a client."""
    with connected(server) as database:
        return {
            name
            for name in database.list_collection_names()
            for document in database[name].find()
            if client_id in str(document)
        }


def test_an_unknown_client_cannot_be_erased(http: httpx2.Client) -> None:
    path = "/clients/00000000-0000-4000-8000-000000000000/erase"
    assert http.post(path, headers=ADMIN).status_code == 404
    assert http.get(path, headers=ADMIN).status_code == 404


def test_a_deleted_client_can_be_erased(http: httpx2.Client) -> None:
    user = ApiUser(http)
    user.prompt("x")
    user.request("DELETE", f"/clients/{user.client_id}", 204, headers=ADMIN)
    path = f"/clients/{user.client_id}/erase"
    assert http.post(path, headers=ADMIN).status_code == 202
    assert erased(http, user.client_id)["removed"]["prompts"] == 1
