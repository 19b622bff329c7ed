"""What happens is told to those who watch: `/events` and `/web`."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.models.live_models import Topic
from api.services.live.hub import Ended
from api.services.live.live_event import LiveEvent
from api.web import socket as web_socket
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.live_server import LiveServer, live_server, make_settings
from tests.support.waiting import eventually

HYPHENATED = {"admin-api-key": ADMIN["admin_api_key"]}


class Listener:
    """Reads `/events` in a thread."""

    def __init__(
        self, url: str, headers: dict[str, str], **query: str
    ) -> None:
        self.events: list[Json] = []
        self.names: list[str] = []
        self.status = 0
        self._http = httpx2.Client(base_url=url, timeout=30)
        self._headers, self._query = headers, query
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        eventually(lambda: self.status, what="an answer")

    def _read(self) -> None:
        with self._http.stream(
            "GET", "/events", headers=self._headers, params=self._query
        ) as answer:
            self.status = answer.status_code
            try:
                for line in answer.iter_lines():
                    self._take(line)
            except (httpx2.HTTPError, RuntimeError, OSError):
                pass

    def _take(self, line: str) -> None:
        if line.startswith("event: "):
            self.names.append(line.removeprefix("event: "))
        elif line.startswith("data: {") and '"id"' in line:
            self.events.append(json.loads(line.removeprefix("data: ")))

    def of(self, event_type: str, **data: Any) -> list[Json]:
        return [
            each
            for each in self.events
            if each["type"] == event_type
            and all(each["data"].get(k) == v for k, v in data.items())
        ]

    def waits_for(self, event_type: str, **data: Any) -> Json:
        return eventually(
            lambda: next(iter(self.of(event_type, **data)), None),
            what=f"{event_type} {data}",
        )

    def has(self, count: int) -> bool:
        return len(self.events) >= count

    def close(self) -> None:
        self._http.close()


@contextmanager
def listening(
    server: LiveServer, headers: dict[str, str], **query: str
) -> Iterator[Listener]:
    listener = Listener(server.url, headers, **query)
    yield listener
    listener.close()


@contextmanager
def connected(
    server: LiveServer, headers: dict[str, str], **more: Any
) -> Iterator[ClientConnection]:
    address = server.url.replace("http", "ws")
    with connect(
        f"{address}/web", additional_headers=headers, proxy=None, **more
    ) as connection:
        yield connection


def ask(
    connection: ClientConnection, pkg_id: str, **data: Any
) -> dict[str, Any]:
    req_id = f"r{time.monotonic_ns()}"
    package = {"pkg_id": pkg_id, "req_id": req_id, "data": data}
    connection.send(json.dumps(package))
    while True:
        answer: dict[str, Any] = json.loads(connection.recv(15))
        if answer["req_id"] == req_id and answer["pkg_id"] == pkg_id:
            return answer


def closed_after(
    connection: ClientConnection, messages: list[str | bytes]
) -> int | None:
    """Send, and return the code with which the connection is closed."""
    with contextlib.suppress(ConnectionClosed):
        for message in messages:
            connection.send(message)
        while True:
            connection.recv(10)
    return connection.close_code


def test_ends_of_jobs_and_batches_are_told(
    server: LiveServer, user: ApiUser
) -> None:
    model, prompt = user.model(), user.prompt()
    user.worker()
    with listening(server, user.headers, topics="job,batch") as listener:
        job = user.job(model, prompt, batchKey="night")
        told = listener.waits_for("job.processed", jobId=job["jobId"])
        assert told["clientId"] == user.client_id
        assert told["data"]["model"] == model
        batch = listener.waits_for("batch.progressed", batchKey="night")
        assert batch["data"]["ended"] == {"PROCESSED": 1}


def test_a_client_is_told_of_its_own_only(
    server: LiveServer, user: ApiUser, http: httpx2.Client
) -> None:
    stranger = ApiUser(http)
    with (
        listening(server, stranger.headers) as other,
        listening(server, HYPHENATED) as admin,
        listening(server, HYPHENATED, clientId=stranger.client_id) as narrow,
    ):
        worker_id = user.worker()
        admin.waits_for("worker.changed", workerId=worker_id)
        own = stranger.worker()
        other.waits_for("worker.changed", workerId=own)
        narrow.waits_for("worker.changed", workerId=own)
        assert other.of("worker.changed", workerId=worker_id) == []
        assert narrow.of("worker.changed", workerId=worker_id) == []
        # Nor of the sums of all clients.
        told = other.waits_for("queue.changed")
        assert told["clientId"] == stranger.client_id
        assert admin.waits_for("queue.changed")["clientId"] is None
    stranger.stop_workers()


def test_filters_by_type_and_field(server: LiveServer, user: ApiUser) -> None:
    model, prompt = user.model(), user.prompt()
    user.worker()
    with listening(
        server, user.headers, types="job.processed", operation="wanted"
    ) as listener:
        user.job(model, prompt, operation="other")
        job = user.job(model, prompt, operation="wanted")
        listener.waits_for("job.processed", jobId=job["jobId"])
        assert {each["data"]["operation"] for each in listener.events} == {
            "wanted"
        }


def test_what_was_missed_comes_after_a_break(
    server: LiveServer, user: ApiUser
) -> None:
    model, prompt = user.model(), user.prompt()
    user.worker()
    with listening(server, user.headers, topics="job") as listener:
        first = user.job(model, prompt)["jobId"]
        last = listener.waits_for("job.processed", jobId=first)["id"]
    with listening(server, user.headers, topics="worker"):
        missed = user.job(model, prompt)["jobId"]
        user.ended(missed)
    headers = {**user.headers, "Last-Event-ID": last}
    with listening(server, headers, topics="job") as again:
        again.waits_for("job.processed", jobId=missed)
        assert again.of("job.processed", jobId=first) == []
        assert again.names == []
    # What is not known any more is said to be lost.
    headers["Last-Event-ID"] = "1-unknown"
    with listening(server, headers, topics="job") as lost:
        eventually(lambda: lost.names == ["reset"], what="a reset")


def publish(server: LiveServer, events: list[LiveEvent]) -> None:
    """Publish in the server's own loop."""
    hub = server.application.services.hub
    # `on_join` wakes the gatherer, which knows the loop.
    gatherer = hub.on_join.__self__  # type: ignore[attr-defined] # a method
    gatherer._event_loop.call_soon_threadsafe(hub.publish, events)


def test_who_does_not_read_harms_nobody(server: LiveServer) -> None:
    """Negative control: who reads, gets all of the same events."""
    host, port = server.url.removeprefix("http://").split(":")
    ask = "".join(f"{k}: {v}\r\n" for k, v in HYPHENATED.items())
    hub = server.application.services.hub
    with (
        socket.create_connection((host, int(port))) as silent,
        listening(server, HYPHENATED, topics="batch") as listener,
    ):
        path = "GET /events?topics=batch HTTP/1.1\r\nHost: x\r\n"
        silent.sendall(f"{path}{ask}\r\n".encode())
        eventually(lambda: silent.recv(1), what="an answer")
        watching = [
            each
            for each in hub._watchers
            if each.wanted.topics == {Topic.BATCH}
        ]
        assert len(watching) == 2
        for number in range(60):
            block = [
                LiveEvent.of(
                    "batch.progressed",
                    number,
                    {"text": "x" * 2_000},
                    key=f"{number} {n}",
                )
                for n in range(100)
            ]
            publish(server, block)
            eventually(
                partial(listener.has, 100 * (number + 1)),
                what="the events of who reads",
            )
        assert [each._ended for each in watching].count(Ended.SLOW) == 1
        assert max(len(each._waiting) for each in watching) == 0


def test_nobody_watches_without_a_key(http: httpx2.Client) -> None:
    assert http.get("/events").status_code == 401
    wrong = {"admin-api-key": "wrong"}
    assert http.get("/events", headers=wrong).status_code == 401
    bad = http.get("/events?topics=nothing", headers=HYPHENATED)
    assert bad.status_code == 422


def test_watching_ends_with_the_key(
    fresh: LiveServer, own: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routers.events._CHECK_SECONDS", 0.2)
    with listening(fresh, own.headers) as listener:
        path = f"/clients/{own.client_id}/rotate-key"
        own.http.post(path, headers=ADMIN).raise_for_status()
        eventually(lambda: listener.names == ["end"], what="the end")


def test_connections_of_a_user_are_limited(
    database: str, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path / "few", max_watchers_per_user=2)
    with (
        live_server(settings, database, {}, run_workers=False) as few,
        httpx2.Client(base_url=few.url) as http,
        listening(few, HYPHENATED),
        connected(few, HYPHENATED) as one,
    ):
        assert ask(one, "system.ping")["status_code"] == 200
        refused = http.get("/events", headers=HYPHENATED)
        assert refused.status_code == 429
        with connected(few, HYPHENATED) as another:
            assert closed_after(another, []) == web_socket.POLICY
        # Others may.
        with connected(few, ApiUser(http).headers) as other:
            assert ask(other, "system.ping")["status_code"] == 200
