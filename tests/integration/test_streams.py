import asyncio
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from tests.conftest import PROVIDER_KEY
from tests.integration.test_workers import provider_model
from tests.support.api_user import ADMIN, ApiUser
from tests.support.fake_provider import FakeProvider, failure
from tests.support.live_server import live_server, make_settings
from tests.support.processes import service_process
from tests.support.waiting import eventually


@pytest.fixture
def model(user: ApiUser, provider: FakeProvider) -> str:
    return provider_model(user, provider)


def record(user: ApiUser, stream_id: str) -> dict[str, Any]:
    """Wait until a stream has ended; return its record."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = user.get(f"/stream/{stream_id}")
        return found if found["status"] != "streaming" else None

    return eventually(look)


def test_a_stream_is_text_and_leaves_a_record(
    user: ApiUser, model: str, provider: FakeProvider
) -> None:
    prompts = [user.prompt("one"), user.prompt("two")]
    body = {
        "userPrompt": "hi",
        "additionalPrompts": prompts,
        "model": model,
        "clientReference": {"page": 3},
    }
    answer = user.http.post("/stream", headers=user.headers, json=body)
    assert answer.status_code == 200
    assert answer.text == "Hello you"
    assert answer.headers["content-type"].startswith("text/plain")
    sent = provider.requests[0]
    assert sent["messages"] == [
        {"role": "system", "content": "one\n\ntwo"},
        {"role": "user", "content": "hi"},
    ]
    assert sent["temperature"] == 0.7
    done = record(user, answer.headers["X-Stream-Id"])
    assert done["status"] == "completed"
    assert done["model"] == model
    assert done["temperature"] == 0.7
    assert done["clientReference"] == {"page": 3}
    assert done["requestData"]["userPrompt"] == "hi"
    assert done["requestData"]["additionalPrompts"] == prompts
    assert done["responseData"]["text"] == "Hello you"
    assert done["_metadata"]["completedAt"]
    metrics = done["processingMetrics"]
    assert (metrics["inputTokens"], metrics["outputTokens"]) == (4, 3)
    assert metrics["totalCost"] == pytest.approx(0.004 + 0.006)
    assert 0 < metrics["timeToFirstToken"] <= metrics["llmDuration"]
    assert metrics["overheadDuration"] == pytest.approx(
        metrics["totalDuration"] - metrics["llmDuration"], abs=1e-5
    )


def test_a_streams_own_time_belongs_to_the_range(user: ApiUser) -> None:
    model = user.model()
    for _ in range(20):
        body = {"userPrompt": "hi", "model": model}
        answer = user.http.post("/stream", headers=user.headers, json=body)
        found = record(user, answer.headers["X-Stream-Id"])
        moment = found["_metadata"]["createdAt"]
        listed = user.get("/stream", **{"from": moment, "to": moment})
        assert found in listed


def test_pieces_come_as_the_provider_sends_them(
    user: ApiUser, model: str, provider: FakeProvider
) -> None:
    provider.pieces = [f"{n} " for n in range(10)]
    provider.most_pieces = 1
    body = {"userPrompt": "hi", "model": model}
    with user.http.stream(
        "POST", "/stream", headers=user.headers, json=body
    ) as answer:
        texts = []
        for text in answer.iter_text():
            texts.append(text)
            # The provider sends another one when this one has come.
            provider.most_pieces += 1
    assert texts == provider.pieces


def test_server_sent_events_when_asked_for(user: ApiUser, model: str) -> None:
    answer = user.http.post(
        "/stream",
        headers={**user.headers, "Accept": "text/event-stream"},
        json={"userPrompt": "hi", "model": model},
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [
        (lines[0].removeprefix("event: "), json.loads(lines[1][6:]))
        for lines in (
            block.split("\n") for block in answer.text.strip().split("\n\n")
        )
    ]
    names = [name for name, _ in events]
    assert set(names[:-2]) == {"delta"}
    assert names[-2:] == ["usage", "done"]
    text = "".join(data["text"] for name, data in events if name == "delta")
    assert text == "Hello you"
    assert events[-2][1] == {"inputTokens": 4, "outputTokens": 3}
    assert events[-1][1] == {"streamId": answer.headers["X-Stream-Id"]}


def test_what_a_stream_names_must_exist(
    user: ApiUser, model: str, http: httpx2.Client
) -> None:
    body = {"userPrompt": "hi", "model": model}
    answer = user.post("/stream", {**body, "model": "nope"}, 400)
    assert answer["detail"] == "Model nope not found"
    theirs = ApiUser(http).prompt()
    for prompt in ("0" * 24, "nonsense", theirs):
        changed = {**body, "additionalPrompts": [prompt]}
        answer = user.post("/stream", changed, 400)
        assert answer["detail"] == f"Prompt {prompt} not found"
    for bad in ({"temperature": 2.1}, {"userPrompt": ""}, {"model": None}):
        user.post("/stream", {**body, **bad}, 422)
    assert user.get("/stream") == []


def test_a_failure_after_the_first_piece_ends_the_text(
    user: ApiUser, model: str, provider: FakeProvider
) -> None:
    provider.breaks = True
    provider.piece_delay = 0.05
    body = {"userPrompt": "hi", "model": model}
    answer = user.http.post("/stream", headers=user.headers, json=body)
    assert answer.status_code == 200
    assert answer.text.startswith("Hello you[Error: ")
    assert answer.text.endswith("]")
    done = record(user, answer.headers["X-Stream-Id"])
    assert done["status"] == "error"
    assert done["responseData"]["text"] == "Hello you"
    assert done["responseData"]["error"]


def test_a_failure_before_the_first_piece_is_an_error_of_its_own(
    user: ApiUser, model: str, provider: FakeProvider
) -> None:
    async def refusing(_body: dict[str, Any]) -> web.StreamResponse:
        return failure(500, "broken")

    provider.handler = refusing
    keyless = user.model(sdk="OpenAI", key="KEY-NOT-SET")
    for name, words, kind in (
        (model, "broken", "PROVIDER_ERROR"),
        (keyless, "KEY_NOT_SET", "MISSING_KEY"),
    ):
        body = {"userPrompt": "hi", "model": name}
        answer = user.http.post("/stream", headers=user.headers, json=body)
        assert answer.status_code == 502
        assert words in answer.json()["detail"]
        done = record(user, answer.headers["X-Stream-Id"])
        assert done["status"] == "error"
        assert words in done["responseData"]["error"]
        assert done["responseData"]["errorType"] == kind


def test_a_client_that_hangs_up_ends_the_providers_call(
    user: ApiUser, model: str, provider: FakeProvider
) -> None:
    provider.pieces = ["x"] * 1000
    provider.piece_delay = 0.02
    body = {"userPrompt": "hi", "model": model}
    with user.http.stream(
        "POST", "/stream", headers=user.headers, json=body
    ) as answer:
        stream_id = answer.headers["X-Stream-Id"]
        texts = answer.iter_text()
        next(texts)
        assert user.get(f"/stream/{stream_id}")["status"] == "streaming"
    eventually(lambda: provider.running == 0, seconds=5)
    done = record(user, stream_id)
    assert done["status"] == "error"
    assert done["responseData"]["errorType"] == "CLIENT_HUNG_UP"
    assert done["responseData"]["text"].startswith("x")


def test_the_test_plug_in_streams_lorem_ipsum(user: ApiUser) -> None:
    body = {"userPrompt": "hi", "model": user.model()}
    answer = user.http.post("/stream", headers=user.headers, json=body)
    assert answer.text.startswith("Lorem ipsum")
    assert len(answer.text) > 1000


def test_an_admin_streams_for_a_client(
    user: ApiUser, http: httpx2.Client
) -> None:
    body = {"userPrompt": "hi", "model": user.model()}
    for_client = {**ADMIN, "client_id": user.client_id}
    answer = http.post("/stream", headers=for_client, json=body)
    assert answer.status_code == 200
    listed = user.get("/stream")
    assert [each["streamId"] for each in listed] == [
        answer.headers["X-Stream-Id"]
    ]
    unknown = {**ADMIN, "client_id": "nobody"}
    assert http.post("/stream", headers=unknown, json=body).status_code == 401
    assert http.post("/stream", headers=ADMIN, json=body).status_code == 401


def test_streams_are_listed_counted_and_charted(
    user: ApiUser, http: httpx2.Client
) -> None:
    euro = {"tokens": 1, "currency": "EUR", "input": 1, "output": 1}
    models = [user.model(), user.model(cost=euro)]
    prompt = user.prompt()
    for name, reference in (
        (models[0], {"a": 1}),
        (models[0], {"a": 1}),
        (models[1], None),
    ):
        answer = user.http.post(
            "/stream",
            headers=user.headers,
            json={
                "userPrompt": "hi",
                "model": name,
                "clientReference": reference,
                "additionalPrompts": [prompt],
            },
        )
        record(user, answer.headers["X-Stream-Id"])
    assert len(user.get("/stream")) == 3
    assert len(user.get("/stream", model=models[0])) == 2
    assert len(user.get("/stream", **{"clientReference.a": "1"})) == 2
    assert len(user.request("GET", "/stream?status=completed", 200)) == 3
    assert user.request("GET", "/stream?status=error", 200) == []
    summary = user.get("/stream/summary")
    assert (summary["completed"], summary["total"]) == (3, 3)
    assert summary["processingMetrics"]["totalCost"] is None
    costs = summary["processingMetrics"]["costByCurrency"]
    assert set(costs) == {"EUR", "USD"}
    one = user.get("/stream/summary", model=models[1])["processingMetrics"]
    assert one["currency"] == "EUR"
    chart = user.get("/stream/analytics")
    assert chart["totalCount"] == len(chart["dataPoints"]) == 3
    groups = {
        group["model"]: (
            group["count"],
            group["clientReference"],
            group["promptIds"],
            group["processingMetrics"]["currency"],
        )
        for group in chart["groups"]
    }
    assert groups == {
        models[0]: (2, {"a": 1}, [prompt], "USD"),
        models[1]: (1, None, [prompt], "EUR"),
    }
    assert ApiUser(http).get("/stream/analytics")["totalCount"] == 0


def test_date_ranges_are_inclusive_and_in_utc(user: ApiUser) -> None:
    answer = user.http.post(
        "/stream",
        headers=user.headers,
        json={"userPrompt": "hi", "model": user.model()},
    )
    made = record(user, answer.headers["X-Stream-Id"])
    moment = made["_metadata"]["createdAt"]
    day = moment[:10]

    def count(start: str, end: str) -> int:
        query = {"from": start, "to": end}
        counted = user.request("GET", "/stream/summary", 200, params=query)
        charted = user.request("GET", "/stream/analytics", 200, params=query)
        assert counted["total"] == charted["totalCount"]
        return int(counted["total"])

    assert count(day, day) == 1
    assert count("2000-01-01", "2000-01-02") == 0
    assert count("2000-01-01T00:00:00+02:00", "2999-01-01") == 1
    for bad in ("yesterday", "2026-13-01", "", "0000-00-00"):
        for path in ("/stream/analytics", "/stream/summary", "/stream"):
            user.request("GET", path, 400, params={"from": bad})
            user.request("GET", path, 400, params={"to": bad})


@pytest.mark.parametrize(
    "count", [120, pytest.param(500, marks=pytest.mark.long)]
)
def test_hundreds_of_streams_at_once_starve_none(
    user: ApiUser, model: str, provider: FakeProvider, count: int
) -> None:
    provider.pieces = [f"{n} " for n in range(10)]
    provider.holds = True
    body = {"userPrompt": "hi", "model": model}

    async def one(client: ClientSession) -> str:
        async with client.post("/stream", json=body) as answer:
            text = await answer.text()
        assert answer.status == 200, text
        return text

    async def run() -> list[str]:
        async with ClientSession(
            str(user.http.base_url),
            connector=TCPConnector(limit=0),
            headers=user.headers,
            timeout=ClientTimeout(total=240),
        ) as client:
            return await asyncio.gather(*(one(client) for _ in range(count)))

    with ThreadPoolExecutor(1) as thread:
        texts = thread.submit(asyncio.run, run())
        try:
            # More than a client library's pool has places.
            eventually(lambda: provider.running > 100, seconds=120)
        finally:
            provider.holds = False
        assert set(texts.result()) == {"".join(provider.pieces)}
    eventually(lambda: user.get("/stream/summary")["completed"] == count)


@pytest.mark.slow
def test_a_record_is_written_when_the_service_is_told_to_stop(
    data_dir: Path, provider: FakeProvider
) -> None:
    provider.pieces = ["x"] * 1000
    provider.piece_delay = 0.05
    with (
        service_process(data_dir, PROVIDER_KEY=PROVIDER_KEY) as service,
        httpx2.Client(base_url=service.url, timeout=30) as http,
    ):
        user = ApiUser(http)
        model = provider_model(user, provider)
        body = {"userPrompt": "hi", "model": model}
        with http.stream(
            "POST", "/stream", headers=user.headers, json=body
        ) as answer:
            stream_id = answer.headers["X-Stream-Id"]
            texts = answer.iter_text()
            next(texts)
            assert service.end(signal.SIGTERM) == 0
        service.start()
        done = user.get(f"/stream/{stream_id}")
        assert done["status"] == "error"
        assert done["responseData"]["text"].startswith("x")
        assert done["_metadata"]["completedAt"]


def test_a_client_that_reads_nothing_loses_its_place(
    database: str, tmp_path: Path, provider: FakeProvider
) -> None:
    # More than the sockets in between can hold.
    provider.pieces = ["x" * 65_536] * 800
    settings = make_settings(tmp_path, stream_stall_seconds=0.5)
    keys = {"PROVIDER_KEY": PROVIDER_KEY}
    with (
        live_server(settings, database, keys) as running,
        httpx2.Client(base_url=running.url, timeout=60) as http,
    ):
        user = ApiUser(http)
        model = provider_model(user, provider)
        body = {"userPrompt": "hi", "model": model}
        with http.stream(
            "POST", "/stream", headers=user.headers, json=body
        ) as answer:
            done = record(user, answer.headers["X-Stream-Id"])
        assert done["status"] == "error"
        assert done["responseData"]["errorType"] == "CLIENT_TOO_SLOW"
        eventually(lambda: not provider.running)
        (gate,) = running.application.shared.gates.all().values()
        assert gate.state().failures_in_a_row == 0
        assert gate.state().running == 0
