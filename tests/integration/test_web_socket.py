"""Packages over the WebSocket `/web`: answers, limits, who may what."""

import json
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from api.web.handlers import new_registry
from tests.integration.test_events import (
    HYPHENATED,
    ask,
    closed_after,
    connected,
)
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.live_server import LiveServer


def next_event(connection: ClientConnection, event_type: str) -> Json:
    while True:
        answer = json.loads(connection.recv(15))
        if answer["pkg_id"] == "event":
            event: Json = answer["data"]
            if event["type"] == event_type:
                return event


def test_packages_are_answered_by_their_handlers(
    server: LiveServer, user: ApiUser
) -> None:
    model, prompt = user.model(), user.prompt()
    jobs = [user.job(model, prompt)["jobId"] for _ in range(5)]
    with connected(server, user.headers) as connection:
        found = ask(connection, "jobs.list", page=2, per_page=2)
        assert [each["jobId"] for each in found["data"]] == jobs[2:4]
        assert found["meta"] == {"page": 2, "per_page": 2, "more": True}
        one = ask(connection, "jobs.get", jobId=jobs[0])["data"]
        assert one["waitingFor"]["kind"] == "NO_WORKER"
        counted = ask(
            connection,
            "jobs.cancelAll",
            filter={"operation": "test"},
            dryRun=True,
        )
        assert counted["data"] == {"matched": 5, "changed": 0}
        gone = ask(connection, "jobs.cancel", jobId=jobs[0])
        assert gone["data"]["status"] == "CANCELED"
        assert ask(connection, "jobs.summary")["data"]["PENDING"] == 4
        lost = ask(connection, "jobs.get", jobId="0" * 24)
        assert (lost["status_code"], lost["data"]) == (
            404,
            {"detail": "Job not found"},
        )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("no JSON", 400),
        ("[]", 400),
        ('{"pkg_id":"system.ping"}', 400),
        ('{"pkg_id":"x","req_id":1}', 404),
        ('{"pkg_id":"clients.list","req_id":1}', 403),
        ('{"pkg_id":"models.resume","req_id":1,"data":{"model_id":"x"}}', 403),
        ('{"pkg_id":"jobs.get","req_id":1}', 422),
        ('{"pkg_id":"jobs.get","req_id":1,"data":{"jobId":"x","y":1}}', 422),
        ('{"pkg_id":"jobs.get","req_id":1,"data":{"jobId":"x"}}', 404),
        ('{"pkg_id":"jobs.list","req_id":1,"data":{"per_page":9999}}', 422),
        ('{"pkg_id":"usage.get","req_id":1,"data":{"from":"x"}}', 400),
        ('{"pkg_id":"system.ping","req_id":"a","data":{}}', 200),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_packages_are_told_so(
    server: LiveServer, user: ApiUser, text: str, status: int
) -> None:
    with connected(server, user.headers) as connection:
        connection.send(text)
        answer = json.loads(connection.recv(10))
        assert answer["status_code"] == status
        # The connection goes on.
        assert ask(connection, "system.ping")["status_code"] == 200


def test_every_package_has_a_schema(server: LiveServer) -> None:
    with connected(server, HYPHENATED) as connection:
        listed = ask(connection, "system.handlers")["data"]
    assert listed == new_registry().described()
    assert all(each["data"]["type"] == "object" for each in listed)


def test_only_an_admin_may_use_what_is_the_admins(
    server: LiveServer, user: ApiUser
) -> None:
    """Negative control of the roles: the same packages, another caller."""
    with connected(server, HYPHENATED) as connection:
        assert ask(connection, "clients.list")["status_code"] == 200
    hidden = user.prompt()
    stranger = ApiUser(user.http)
    with connected(server, stranger.headers) as connection:
        found = ask(connection, "prompts.get", promptId=hidden)
        assert found["status_code"] == 404


def test_events_come_to_a_subscription(
    server: LiveServer, user: ApiUser
) -> None:
    with connected(server, user.headers) as connection:
        made = ask(connection, "events.subscribe", topics=["worker"])
        name = made["data"]["subscription"]
        worker_id = user.worker()
        event = next_event(connection, "worker.changed")
        assert event["data"]["workerId"] == worker_id
        ended = ask(connection, "events.unsubscribe", subscription=name)
        assert ended["status_code"] == 200
        again = ask(connection, "events.unsubscribe", subscription=name)
        assert again["status_code"] == 404


def refusal(server: LiveServer, headers: dict[str, str], **more: Any) -> int:
    """Return the status that a connection is refused with."""
    try:
        with connected(server, headers, **more):
            return 101
    except InvalidStatus as error:
        return int(error.response.status_code)


def test_other_sites_pages_cannot_connect(server: LiveServer) -> None:
    with httpx2.Client(base_url=server.url) as http:
        http.post(
            "/console/session", json={"key": ADMIN["admin_api_key"]}
        ).raise_for_status()
        (cookie,) = [f"{k}={v}" for k, v in http.cookies.items()]
    headers = {"Cookie": cookie}
    assert refusal(server, headers, origin="https://evil.example") == 403
    # Negative control: the console's own page may.
    with connected(server, headers, origin=server.url) as connection:
        assert ask(connection, "clients.list")["status_code"] == 200
    assert refusal(server, {}) == 401
    assert refusal(server, {"Cookie": "metasync_session=x"}) == 401
    assert refusal(server, {"admin-api-key": "wrong"}) == 401


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([json.dumps({"pkg_id": "system.ping", "req_id": 1})] * 500, 1008),
        ([b"binary"], 1008),
        (["x" * 2_000_000], 1009),
    ],
    ids=["flood", "binary", "large"],
)
def test_messages_are_limited(
    server: LiveServer,
    user: ApiUser,
    messages: list[str | bytes],
    code: int,
) -> None:
    with connected(server, user.headers) as connection:
        assert closed_after(connection, messages) == code
    with connected(server, user.headers) as connection:
        assert ask(connection, "system.ping")["status_code"] == 200
