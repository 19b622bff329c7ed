"""Message batches with Anthropic's library."""

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic
from anthropic.types.messages import MessageBatch

from provider_simulator.running import Simulator
from tests.support.echo_provider import EchoProvider
from tests.support.gateway_user import GatewayUser
from tests.support.waiting import eventually


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    return shared_simulator


@pytest.fixture
def user(http: httpx2.Client) -> GatewayUser:
    return GatewayUser(http)


@pytest.fixture
def client(user: GatewayUser) -> Anthropic:
    return user.anthropic()


@pytest.fixture
def claude(user: GatewayUser, simulator: Simulator) -> str:
    return model_at(user, simulator, "Anthropic")


@pytest.fixture
def gpt(user: GatewayUser, simulator: Simulator) -> str:
    return model_at(user, simulator, "OpenAI")


def model_at(
    user: GatewayUser, simulator: Simulator, sdk: str, **fields: Any
) -> str:
    return user.model(
        sdk=sdk,
        endpoint=simulator.base_urls[sdk],
        key="PROVIDER-KEY",
        deployment=f"{sdk.lower()}-x",
        **fields,
    )


def asked(custom_id: str, model: str, text: str = "Hello") -> Any:
    message = {"role": "user", "content": text}
    params = {"model": model, "max_tokens": 50, "messages": [message]}
    return {"custom_id": custom_id, "params": params}


def ended(client: Anthropic, batch: MessageBatch) -> MessageBatch:
    def look() -> MessageBatch | None:
        found = client.messages.batches.retrieve(batch.id)
        return found if found.processing_status == "ended" else None

    return eventually(look, seconds=30, what="the batch's end")


def counts(batch: MessageBatch) -> dict[str, int]:
    return {k: v for k, v in batch.request_counts.model_dump().items() if v}


def test_the_example_of_the_documentation(
    client: Anthropic, claude: str, gpt: str
) -> None:
    batch = client.messages.batches.create(
        requests=[
            asked("my-first-request", claude, "Hello, world"),
            asked("my-second-request", gpt, "Hi again, friend"),
        ]
    )
    assert (batch.type, batch.processing_status) == (
        "message_batch",
        "in_progress",
    )
    assert counts(batch) == {"processing": 2}
    assert batch.results_url is None
    assert batch.expires_at.timestamp() - batch.created_at.timestamp() == 86400
    done = ended(client, batch)
    assert counts(done) == {"succeeded": 2}
    assert done.ended_at is not None
    assert str(done.results_url).endswith(f"/{batch.id}/results")
    found = {
        each.custom_id: each.result
        for each in client.messages.batches.results(batch.id)
    }
    assert set(found) == {"my-first-request", "my-second-request"}
    for result in found.values():
        assert result.type == "succeeded"
        block = result.message.content[0]
        assert block.type == "text"
        assert block.text


def test_a_request_that_fails_is_told_in_its_result(
    client: Anthropic, claude: str, gpt: str
) -> None:
    wrong = asked("wrong", gpt)
    wrong["params"]["messages"][0]["role"] = "nobody"
    batch = client.messages.batches.create(
        requests=[asked("good", claude), wrong, asked("none", "no-such")]
    )
    done = ended(client, batch)
    assert counts(done) == {"succeeded": 1, "errored": 2}
    found = {
        each.custom_id: each.result
        for each in client.messages.batches.results(batch.id)
    }
    errors = {}
    for name in ("wrong", "none"):
        result = found[name]
        assert result.type == "errored"
        assert result.error.type == "error"
        errors[name] = result.error.error.type
    assert errors == {
        "wrong": "invalid_request_error",
        "none": "not_found_error",
    }


@pytest.mark.parametrize(
    ("body", "where"),
    [
        pytest.param(b"", "valid JSON", id="nothing"),
        pytest.param(b"[]", "valid JSON", id="list"),
        pytest.param(b'{"requests": [', "valid JSON", id="half"),
        pytest.param(b"{}", "requests", id="no requests"),
        pytest.param(b'{"requests": []}', "requests", id="empty"),
        pytest.param(b'{"requests": [1]}', "requests", id="number"),
        pytest.param(b'{"requests": [{}]}', "requests.0.custom_id", id="bare"),
        pytest.param(
            b'{"requests": [{"custom_id": "a b", "params": {"model": "m"}}]}',
            "requests.0.custom_id",
            id="id with a space",
        ),
        pytest.param(
            b'{"requests": [{"custom_id": "a", "params": {"model": "m"}}, '
            b'{"custom_id": "a", "params": {"model": "m"}}]}',
            "requests.1.custom_id",
            id="id twice",
        ),
        pytest.param(
            b'{"requests": [{"custom_id": "a", "params": {"model": "m", '
            b'"stream": true}}]}',
            "requests.0.params.stream",
            id="stream",
        ),
        pytest.param(
            b'{"requests": [{"custom_id": "a", "params": '
            + b"[" * 9000
            + b"]" * 9000
            + b"}]}",
            "requests.0",
            id="deep",
        ),
    ],
)
def test_a_batch_that_is_wrong_is_refused_as_a_whole(
    user: GatewayUser, client: Anthropic, body: bytes, where: str
) -> None:
    answer = user.http.post(
        "/v1/messages/batches",
        content=body,
        headers={"x-api-key": user.token, "content-type": "application/json"},
    )
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert told["type"] == "error"
    assert told["error"]["type"] == "invalid_request_error"
    assert where in told["error"]["message"]
    assert list(client.messages.batches.list()) == []


def test_the_library_raises_its_exception(client: Anthropic) -> None:
    requests = [asked("a", "m"), asked("a", "m")]
    with pytest.raises(anthropic.BadRequestError, match=r"requests\.1"):
        client.messages.batches.create(requests=requests)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve("msgbatch_none")


def test_batches_are_listed_in_pages_both_ways(
    client: Anthropic, claude: str
) -> None:
    made = [
        client.messages.batches.create(requests=[asked("a", claude)]).id
        for _ in range(5)
    ][::-1]
    pages = client.messages.batches.list(limit=2)
    assert [each.id for each in pages] == made
    older = client.messages.batches.list(limit=2, after_id=made[1])
    assert [each.id for each in older.data] == made[2:4]
    newer = client.messages.batches.list(limit=2, before_id=made[3])
    assert [each.id for each in newer.data] == made[1:3]
    assert newer.has_more


def test_a_cancelled_batch_keeps_its_answers(
    user: GatewayUser, client: Anthropic, simulator: Simulator
) -> None:
    slow = model_at(user, simulator, "Anthropic", limits={"maxConcurrency": 2})
    simulator.configure(latency_ms=150)
    batch = client.messages.batches.create(
        requests=[asked(f"r{i}", slow) for i in range(60)]
    )
    eventually(lambda: simulator.stats()["requests"] >= 12)
    canceled = client.messages.batches.cancel(batch.id)
    assert canceled.processing_status in ("canceling", "ended")
    assert canceled.cancel_initiated_at is not None
    done = ended(client, batch)
    found = list(client.messages.batches.results(batch.id))
    assert sorted(each.custom_id for each in found) == sorted(
        f"r{i}" for i in range(60)
    )
    kinds = [each.result.type for each in found]
    assert set(kinds) == {"succeeded", "canceled"}
    assert counts(done) == {kind: kinds.count(kind) for kind in set(kinds)}


def test_only_an_ended_batch_is_deleted(
    client: Anthropic, claude: str, simulator: Simulator
) -> None:
    simulator.configure(latency_ms=500)
    batch = client.messages.batches.create(requests=[asked("a", claude)])
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.delete(batch.id)
    ended(client, batch)
    gone = client.messages.batches.delete(batch.id)
    assert (gone.id, gone.type) == (batch.id, "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.results(batch.id)


def test_nobody_sees_what_another_client_has(
    client: Anthropic, claude: str, http: httpx2.Client
) -> None:
    batch = ended(
        client, client.messages.batches.create(requests=[asked("a", claude)])
    )
    user = GatewayUser(http)
    other = user.anthropic().messages.batches
    for call in (other.retrieve, other.cancel, other.delete, other.results):
        with pytest.raises(anthropic.NotFoundError):
            call(batch.id)
    answer = user.http.get(
        f"/v1/messages/batches/{batch.id}/results",
        headers={"x-api-key": user.token},
    )
    assert answer.status_code == 404
    # The requests' file is nobody's, its own client's neither.
    assert (
        json.loads(
            user.http.get("/v1/files", headers={"x-api-key": user.token}).text
        )["data"]
        == []
    )


def test_beta_headers_go_with_every_request(
    user: GatewayUser, client: Anthropic, echo: EchoProvider
) -> None:
    own = user.model(sdk="Anthropic", endpoint=echo.url, key="PROVIDER-KEY")
    batch = client.beta.messages.batches.create(
        requests=[asked("a", own)], betas=["something-2026"]
    )
    eventually(lambda: echo.seen, what="the call")
    (sent,) = echo.seen[0].all("anthropic-beta")
    assert "something-2026" in sent
    found = client.beta.messages.batches.retrieve(batch.id)
    assert found.id == batch.id


def test_the_same_key_is_the_same_batch(
    user: GatewayUser, claude: str
) -> None:
    headers = {"x-api-key": user.token, "idempotency-key": "k-1"}

    def post(custom_id: str) -> httpx2.Response:
        return user.http.post(
            "/v1/messages/batches",
            headers=headers,
            json={"requests": [asked(custom_id, claude)]},
        )

    first, again, other = post("a"), post("a"), post("b")
    assert first.json()["id"] == again.json()["id"]
    assert other.status_code == 400
    assert "Idempotency-Key" in other.json()["error"]["message"]
    assert len(list(user.anthropic().messages.batches.list())) == 1
