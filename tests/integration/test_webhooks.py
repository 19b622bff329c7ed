import asyncio
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web
from openai import OpenAI

from api.models.webhook_models import EventType
from api.services.shared.events import Event
from tests.conftest import PROVIDER_KEY
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.batch_user import begin, ended, line
from tests.support.live_server import (
    LiveServer,
    free_port,
    live_server,
    make_settings,
)
from tests.support.processes import service_process
from tests.support.receiver import Receiver, running_receiver
from tests.support.waiting import eventually

JOBS = ["job.processed", "job.failed", "job.cancelled"]
ALL = [*EventType]


@pytest.fixture(scope="module")
def hooked(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """A service whose webhooks may lead to this machine."""
    settings = make_settings(
        tmp_path_factory.mktemp("hooked"), webhook_allow_private=True
    )
    keys = {"PROVIDER_KEY": PROVIDER_KEY}
    with live_server(settings, database, keys) as running:
        yield running


@pytest.fixture
def teller(hooked: LiveServer) -> Iterator[ApiUser]:
    with httpx2.Client(base_url=hooked.url, timeout=60) as client:
        user = ApiUser(client)
        yield user
        user.stop_workers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


def hook(user: ApiUser, url: str, *events: str, **fields: Any) -> Json:
    body = {"url": url, "events": list(events) or JOBS, **fields}
    made: Json = user.post("/webhooks", body)
    return made


def deliveries(user: ApiUser, made: Json, **params: Any) -> list[Json]:
    path = f"/webhooks/{made['webhookId']}/deliveries"
    found: list[Json] = user.get(path, 200, **params)
    return found


def delivered(user: ApiUser, made: Json, count: int) -> list[Json]:
    """Wait until so many deliveries have succeeded."""

    def look() -> list[Json] | None:
        found = deliveries(user, made, status="DELIVERED")
        return found if len(found) >= count else None

    return eventually(look, what=f"{count} deliveries")


def test_an_ended_job_is_told_with_a_valid_signature(
    teller: ApiUser, receiver: Receiver
) -> None:
    made = hook(teller, receiver.url)
    teller.worker()
    job = teller.job(
        teller.model(), teller.prompt(), clientReference={"order": "7"}
    )
    teller.ended(job["jobId"])
    (delivery,) = delivered(teller, made, 1)
    (message,) = receiver.verified(made["secret"])
    assert message["type"] == "job.processed"
    data = message["data"]
    assert data["jobId"] == job["jobId"]
    assert data["clientId"] == teller.client_id
    assert data["status"] == "PROCESSED"
    assert data["clientReference"] == {"order": "7"}
    assert delivery["eventId"] == receiver.ids()[0]
    assert delivery["attempts"] == 1
    assert delivery["lastAttempt"]["status"] == 200
    assert delivery["payload"] == message


def test_failed_and_cancelled_jobs_are_told(
    teller: ApiUser, receiver: Receiver
) -> None:
    made = hook(teller, receiver.url)
    model, prompt = teller.model(), teller.prompt()
    broken = teller.model(
        sdk="OpenAI", endpoint="http://127.0.0.1:9", key="KEY_X"
    )
    first, second = teller.job(model, prompt), teller.job(model, prompt)
    third = teller.job(broken, prompt)
    teller.patch(f"/jobs/{first['jobId']}", {"status": "CANCELED"})
    teller.patch(
        "/jobs/batch",
        {"jobs": [{"jobId": second["jobId"], "status": "CANCELED"}]},
    )
    teller.worker()
    delivered(teller, made, 3)
    told = {
        (each["type"], each["data"]["jobId"])
        for each in receiver.verified(made["secret"])
    }
    assert told == {
        ("job.cancelled", first["jobId"]),
        ("job.cancelled", second["jobId"]),
        ("job.failed", third["jobId"]),
    }


def test_a_cancelled_run_is_told(teller: ApiUser, receiver: Receiver) -> None:
    made = hook(teller, receiver.url, "run.cancelled")
    model, prompt = teller.model(), teller.prompt()
    run = teller.post(
        "/runs",
        {
            "initialWorkingPromptIds": [prompt],
            "evalPromptId": prompt,
            "evalModel": model,
            "metaPromptId": prompt,
            "metaModel": model,
            "workingModels": [model],
            "maxIterations": 1,
            "requestData": {},
        },
    )
    teller.patch(f"/runs/{run['runId']}/cancel", None)
    delivered(teller, made, 1)
    (message,) = receiver.verified(made["secret"])
    assert message["type"] == "run.cancelled"
    assert message["data"]["runId"] == run["runId"]


def test_the_end_of_a_batch_is_told_and_its_lines_are_not(
    teller: ApiUser, receiver: Receiver
) -> None:
    made = hook(teller, receiver.url, *JOBS, "batch.ended")
    model = teller.model()
    client = OpenAI(
        base_url=f"{teller.http.base_url}/v1",
        api_key=f"{teller.client_id}:{teller.key}",
    )
    batch = ended(client, begin(client, [line("a", model), line("b", model)]))
    delivered(teller, made, 1)
    (told,) = receiver.verified(made["secret"])
    assert told["type"] == "batch.ended"
    assert told["data"] == {
        "batchId": batch.id,
        "clientId": teller.client_id,
        "status": "completed",
        "requestCounts": {"total": 2, "completed": 2, "failed": 0},
    }


def test_other_clients_are_not_told_and_the_administrator_is(
    teller: ApiUser, receiver: Receiver
) -> None:
    other = ApiUser(teller.http)
    own = hook(other, receiver.url)
    admin = teller.request(
        "POST",
        "/webhooks",
        201,
        headers=ADMIN,
        json={"url": receiver.url, "events": ["job.cancelled"]},
    )
    job = teller.job(teller.model(), teller.prompt())
    teller.patch(f"/jobs/{job['jobId']}", {"status": "CANCELED"})
    eventually(lambda: receiver.bodies, what="the administrator's event")
    path = f"/webhooks/{admin['webhookId']}"
    assert receiver.verified(admin["secret"])[0]["data"]["jobId"]
    teller.get(path, 404)
    teller.request("DELETE", path, 204, headers=ADMIN)
    assert deliveries(other, own) == []


def test_a_repeated_delivery_has_the_same_id(
    teller: ApiUser, receiver: Receiver
) -> None:
    receiver.answer = lambda n: web.Response(status=500 if n == 0 else 200)
    made = hook(teller, receiver.url)
    path = f"/webhooks/{made['webhookId']}"
    test = teller.post(f"{path}/test")
    assert test["type"] == "webhook.test"

    def failed() -> Json | None:
        (found,) = deliveries(teller, made)
        return found if found["lastAttempt"] else None

    found = eventually(failed)
    assert found["status"] == "PENDING"
    assert found["lastAttempt"]["error"] == "status 500"
    assert found["nextAttemptAt"] is not None
    replay = f"{path}/deliveries/{test['deliveryId']}/replay"
    teller.post(replay, None, 200)
    delivered(teller, made, 1)
    teller.post(replay, None, 200)
    eventually(lambda: len(receiver.bodies) == 3, what="the second replay")
    assert set(receiver.ids()) == {test["eventId"]}
    assert len(receiver.verified(made["secret"])) == 3
    teller.post(f"{path}/deliveries/{'0' * 24}/replay", None, 404)


def test_a_receiver_that_is_back_gets_everything(teller: ApiUser) -> None:
    port = free_port()
    made = hook(teller, f"http://127.0.0.1:{port}/x")
    model, prompt = teller.model(), teller.prompt()
    jobs = [teller.job(model, prompt)["jobId"] for _ in range(6)]
    body = [{"jobId": job, "status": "CANCELED"} for job in jobs]
    teller.patch("/jobs/batch", {"jobs": body})

    def tried() -> bool:
        found = deliveries(teller, made)
        return len(found) == 6 and all(each["attempts"] for each in found)

    eventually(tried, what="a failed attempt of each")
    with running_receiver(port) as receiver:
        # Each waits for some seconds; the first that succeeds calls the rest.
        one = deliveries(teller, made)[0]["deliveryId"]
        path = f"/webhooks/{made['webhookId']}/deliveries/{one}/replay"
        teller.post(path, None, 200)
        teller.post(f"/webhooks/{made['webhookId']}/test")
        delivered(teller, made, 7)
        messages = receiver.verified(made["secret"])
        told = {each["data"].get("jobId") for each in messages}
        assert told >= set(jobs)


def test_a_slow_receiver_delays_no_other(
    teller: ApiUser, receiver: Receiver
) -> None:
    with running_receiver() as slow:
        slow.delay = 8
        lame = [hook(teller, slow.url) for _ in range(3)]
        made = hook(teller, receiver.url)
        for each in lame:
            for _ in range(10):
                teller.post(f"/webhooks/{each['webhookId']}/test")
        eventually(lambda: slow.bodies)
        teller.post(f"/webhooks/{made['webhookId']}/test")
        found = delivered(teller, made, 1)
        assert found[0]["lastAttempt"]["seconds"] < 5
        for each in lame:
            teller.delete(f"/webhooks/{each['webhookId']}")


def test_a_receiver_that_is_gone_disables_its_webhook(
    teller: ApiUser, receiver: Receiver
) -> None:
    receiver.answer = lambda _: web.Response(status=410)
    made = hook(teller, receiver.url)
    path = f"/webhooks/{made['webhookId']}"
    teller.post(f"{path}/test")
    eventually(lambda: not teller.get(path)["enabled"], what="disabled")
    assert teller.get(path)["disabledBecause"] == "GONE"
    teller.post(f"{path}/test", None, 400)
    receiver.answer = lambda _: web.Response()
    assert teller.patch(path, {"enabled": True})["disabledBecause"] is None
    delivered(teller, made, 0)


def test_redirects_are_not_followed_and_answers_are_bounded(
    teller: ApiUser, receiver: Receiver
) -> None:
    def redirect(_number: int) -> web.Response:
        return web.Response(
            status=307,
            headers={"Location": receiver.url},
            text="x" * 100_000,
        )

    receiver.answer = redirect
    made = hook(teller, receiver.url)
    teller.post(f"/webhooks/{made['webhookId']}/test")

    def tried() -> Json | None:
        attempt: Json | None = deliveries(teller, made)[0]["lastAttempt"]
        return attempt

    attempt = eventually(tried)
    assert attempt["error"] == "status 307: redirects are not followed"
    assert attempt["answer"] == "x" * 1024
    assert len(receiver.bodies) == 1


def test_a_new_secret_ends_the_old_one(
    teller: ApiUser, receiver: Receiver
) -> None:
    made = hook(teller, receiver.url)
    path = f"/webhooks/{made['webhookId']}"
    assert made["secret"].startswith("whsec_")
    assert "secret" not in teller.get(path)
    renewed = teller.post(f"{path}/rotate-secret", None, 200)
    assert renewed["secret"] != made["secret"]
    teller.post(f"{path}/test")
    delivered(teller, made, 1)
    assert receiver.verified(renewed["secret"])
    with pytest.raises(Exception, match="signature"):
        receiver.verified(made["secret"])


def test_budget_and_model_events_go_to_those_who_want_them(
    hooked: LiveServer, teller: ApiUser, receiver: Receiver
) -> None:
    made = hook(teller, receiver.url, "model.suspended")
    outbox = hooked.application.shared.webhooks.outbox
    event = Event(
        EventType.MODEL_SUSPENDED, {"model": "m"}, 1_800_000_000_000, key="k"
    )
    asyncio.run(outbox.emit_all([event, event]))
    delivered(teller, made, 1)
    (message,) = receiver.verified(made["secret"])
    assert message["data"] == {"model": "m"}
    assert message["timestamp"] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "https://user:word@example.com/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://169.254.169.254/latest",
        "https:///x",
        "https://[x",
        "ftp://example.com",
    ],
)
def test_urls_that_are_never_sent_to_are_refused(
    user: ApiUser, url: str
) -> None:
    body = {"url": url, "events": JOBS}
    user.post("/webhooks", body, 400)
    made = hook(user, "https://example.com/x", enabled=False)
    user.patch(f"/webhooks/{made['webhookId']}", {"url": url}, 400)
    user.delete(f"/webhooks/{made['webhookId']}")


def test_a_name_that_leads_to_a_private_address_is_not_connected_to(
    user: ApiUser,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        made = hook(user, f"https://localhost:{port}/x")
        user.post(f"/webhooks/{made['webhookId']}/test")

        def tried() -> Json | None:
            attempt: Json | None = deliveries(user, made)[0]["lastAttempt"]
            return attempt

        assert "not public" in eventually(tried)["error"]
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    user.delete(f"/webhooks/{made['webhookId']}")


@pytest.mark.long
def test_no_event_is_lost_by_kill_9(data_dir: Path) -> None:
    with (
        running_receiver() as receiver,
        service_process(data_dir, WEBHOOK_ALLOW_PRIVATE="true") as service,
        httpx2.Client(base_url=service.url, timeout=60) as http,
    ):
        user = ApiUser(http)
        made = hook(user, receiver.url)
        user.worker(maxItemsPerBatch=20)
        body = user.job_body(user.model(), user.prompt())
        jobs = {
            job["jobId"]
            for job in user.post("/jobs/batch", {"jobs": [body] * 200})
        }

        def told(count: int) -> bool:
            return len(set(receiver.ids())) >= count

        for wanted in (10, 80):
            eventually(partial(told, wanted), what=f"{wanted}", seconds=30)
            service.kill()
            service.start()
        eventually(partial(told, len(jobs)), seconds=60, what="all events")
        messages = receiver.verified(made["secret"])
        assert {each["data"]["jobId"] for each in messages} == jobs
        assert all(each["type"] == "job.processed" for each in messages)
