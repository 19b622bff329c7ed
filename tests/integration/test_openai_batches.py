"""Files and batches with OpenAI's library."""

from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from provider_simulator.running import Simulator
from tests.support.api_user import ADMIN
from tests.support.batch_user import (
    CHAT,
    begin,
    content_of,
    counts_of_jobs,
    ended,
    line,
    lines_of,
    upload,
)
from tests.support.gateway_user import GatewayUser
from tests.support.timing import elapsed_seconds, is_within
from tests.support.waiting import eventually


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    return shared_simulator


@pytest.fixture
def user(http: httpx2.Client) -> GatewayUser:
    return GatewayUser(http)


@pytest.fixture
def client(user: GatewayUser) -> OpenAI:
    return user.openai()


def model_at(user: GatewayUser, simulator: Simulator, sdk: str) -> str:
    return user.model(
        sdk=sdk,
        endpoint=simulator.base_urls[sdk],
        key="PROVIDER-KEY",
        deployment=f"{sdk.lower()}-x",
    )


@pytest.fixture
def gpt(user: GatewayUser, simulator: Simulator) -> str:
    return model_at(user, simulator, "OpenAI")


@pytest.fixture
def claude(user: GatewayUser, simulator: Simulator) -> str:
    return model_at(user, simulator, "Anthropic")


def test_the_example_of_the_documentation(
    user: GatewayUser, client: OpenAI, gpt: str, claude: str
) -> None:
    rows = [
        line("request-1", gpt, "Hello world!"),
        line("request-2", claude, "Hello world!"),
    ]
    source = upload(client, rows)
    batch = client.batches.create(
        input_file_id=source.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"description": "nightly eval job"},
    )
    assert batch.object == "batch"
    assert batch.metadata == {"description": "nightly eval job"}
    assert batch.expires_at == batch.created_at + 86_400
    done = ended(client, batch)
    assert done.status == "completed"
    assert done.request_counts is not None
    assert done.request_counts.model_dump() == {
        "total": 2,
        "completed": 2,
        "failed": 0,
    }
    assert done.error_file_id is None
    found = content_of(client, done.output_file_id)
    assert [each["custom_id"] for each in found] == ["request-1", "request-2"]
    for each in found:
        assert each["error"] is None
        assert each["response"]["status_code"] == 200
        completion = openai.types.chat.ChatCompletion.model_validate(
            each["response"]["body"]
        )
        assert "Hello" in str(completion.choices[0].message.content)
    assert done.usage is not None
    assert done.usage.total_tokens > 0
    assert counts_of_jobs(user, batch) == {"PROCESSED": 2}
    (usage,) = user.get("/usage", groupBy="operation")["groups"]
    assert usage["operation"] == "batch-line"
    assert usage["totalTokens"] == done.usage.total_tokens


def test_a_line_that_fails_is_told_in_the_error_file(
    user: GatewayUser, client: OpenAI, gpt: str, claude: str
) -> None:
    bad: Any = line("wrong", claude)
    bad["body"]["n"] = 3
    untranslatable: Any = line("odd", claude)
    untranslatable["body"]["messages"] = [{"role": "nobody", "content": "x"}]
    rows = [line("a", gpt), bad, untranslatable, line("b", claude)]
    done = ended(client, begin(client, rows))
    assert done.status == "completed"
    assert done.request_counts is not None
    assert done.request_counts.completed == 2
    assert done.request_counts.failed == 2
    good = content_of(client, done.output_file_id)
    assert [each["custom_id"] for each in good] == ["a", "b"]
    wrong = content_of(client, done.error_file_id)
    assert [each["custom_id"] for each in wrong] == ["wrong", "odd"]
    for each in wrong:
        assert each["response"]["status_code"] == 400
        error = each["response"]["body"]["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]
    assert counts_of_jobs(user, done) == {
        "PROCESSED": 2,
        "ERROR_PROCESSING": 2,
    }


def test_every_wrong_line_is_named_by_its_number(
    client: OpenAI, gpt: str
) -> None:
    nested = b'{"custom_id": "deep", "method": "POST", "url": "%s", "body": '
    deep = nested % CHAT.encode() + b"[" * 5000 + b"]" * 5000 + b"}\n"
    rows: list[Any] = [
        line("a", gpt),
        line("a", gpt),
        line("c", gpt, url="/v1/embeddings"),
        {**line("d", gpt), "method": "GET"},
        {**line("e", gpt), "body": [1]},
        line("f", "no-such-model"),
        {**line("g", gpt), "custom_id": 7},
        {"method": "POST"},
        line("i", "m\x00"),
        line("j\x00", gpt),
    ]
    content = lines_of(rows) + b"{]\n\n" + deep + b"\xff\xfe\n"
    failed = ended(client, begin(client, content))
    assert failed.status == "failed"
    assert failed.output_file_id is None
    assert failed.errors is not None
    data = failed.errors.data or []
    found = [(each.line, each.code) for each in data]
    assert found == [
        (2, "duplicate_custom_id"),
        (3, "mismatched_endpoint"),
        (4, "invalid_method"),
        (5, "invalid_request"),
        (6, "model_not_found"),
        (7, "invalid_custom_id"),
        (8, "missing_required_parameter"),
        (9, "model_not_found"),
        (10, "invalid_custom_id"),
        (11, "invalid_json_line"),
        (13, "invalid_json_line"),
        (14, "invalid_json_line"),
    ]
    assert all(each.message for each in data)


def test_files_are_typed_listed_and_deleted(client: OpenAI, gpt: str) -> None:
    content = lines_of([line("ü", gpt)]) + b"\xff not text"
    made = [upload(client, content) for _ in range(5)]
    assert client.files.wait_for_processing(made[0].id) == made[0]
    first = made[0]
    assert (first.object, first.bytes) == ("file", len(content))
    assert (first.purpose, first.status) == ("batch", "processed")
    assert first.filename == "input.jsonl"
    assert first.expires_at == first.created_at + 30 * 86_400
    assert client.files.retrieve(first.id) == first
    assert client.files.content(first.id).read() == content
    pages = client.files.list(limit=2, order="asc", purpose="batch")
    assert [each.id for each in pages] == [each.id for each in made]
    newest = client.files.list(limit=1)
    assert newest.data[0].id == made[-1].id
    assert newest.has_more
    gone = client.files.delete(first.id)
    assert (gone.id, gone.deleted) == (first.id, True)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(first.id)
    assert len(list(client.files.list())) == 4


def test_a_file_expires_when_it_is_said(client: OpenAI) -> None:
    made = client.files.create(
        file=("a.jsonl", b"{}"),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert made.expires_at == made.created_at + 3600
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(
            file=("a.jsonl", b"{}"),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 5},
        )
    assert refused.value.param == "expires_after[seconds]"


def test_wrong_uploads_are_refused(client: OpenAI, user: GatewayUser) -> None:
    purpose: Any
    for purpose in ("fine-tune", "nonsense"):
        with pytest.raises(openai.BadRequestError) as refused:
            client.files.create(file=("a", b"{}"), purpose=purpose)
        assert refused.value.param == "purpose"
    with pytest.raises(openai.BadRequestError) as empty:
        client.files.create(file=("a", b""), purpose="batch")
    assert empty.value.param == "file"
    url, headers = "/v1/files", {"authorization": f"Bearer {user.token}"}
    for body, kind in (
        (b"{}", "application/json"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
    ):
        answer = user.http.post(
            url, content=body, headers={**headers, "content-type": kind}
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["type"] == "invalid_request_error"
    assert list(client.files.list()) == []


def test_wrong_batches_are_refused(client: OpenAI, gpt: str) -> None:
    source = upload(client, [line("a", gpt)]).id
    good: dict[str, Any] = {
        "input_file_id": source,
        "endpoint": CHAT,
        "completion_window": "24h",
    }
    for name, value in (
        ("input_file_id", "file-none"),
        ("endpoint", "/v1/completions"),
        ("completion_window", "1h"),
        ("metadata", {"k" * 65: "v"}),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.batches.create(**{**good, name: value})
        assert refused.value.param == name
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
    assert list(client.batches.list()) == []


def test_an_empty_file_fails(client: OpenAI) -> None:
    failed = ended(client, begin(client, b"\n  \n"))
    assert failed.errors is not None
    assert [each.code for each in failed.errors.data or []] == ["empty_file"]


def test_batches_are_listed_newest_first_in_pages(
    client: OpenAI, gpt: str
) -> None:
    source = upload(client, [line("a", gpt)]).id
    made = [
        client.batches.create(
            input_file_id=source, endpoint=CHAT, completion_window="24h"
        ).id
        for _ in range(5)
    ]
    assert [each.id for each in client.batches.list(limit=2)] == made[::-1]
    page = client.batches.list(limit=2, after=made[3])
    assert [each.id for each in page.data] == [made[2], made[1]]


def test_nobody_sees_what_another_client_has(
    client: OpenAI, gpt: str, http: httpx2.Client
) -> None:
    done = ended(client, begin(client, [line("a", gpt)]))
    other = GatewayUser(http).openai()
    for file_id in (done.input_file_id, done.output_file_id):
        with pytest.raises(openai.NotFoundError):
            other.files.content(str(file_id))
        with pytest.raises(openai.NotFoundError):
            other.files.delete(str(file_id))
    for call in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call(done.id)
    with pytest.raises(openai.BadRequestError):
        other.batches.create(
            input_file_id=done.input_file_id,
            endpoint=CHAT,
            completion_window="24h",
        )
    assert list(other.batches.list()) == []
    assert list(other.files.list()) == []


def test_a_batch_outlives_its_input_file(
    client: OpenAI, gpt: str, simulator: Simulator
) -> None:
    simulator.configure(latency_ms=300)
    batch = begin(client, [line(f"r{i}", gpt) for i in range(20)])
    client.files.delete(batch.input_file_id)
    done = ended(client, batch)
    assert done.status == "completed"
    assert len(content_of(client, done.output_file_id)) == 20


def test_a_batch_that_is_cancelled_keeps_its_answers(
    user: GatewayUser, client: OpenAI, simulator: Simulator
) -> None:
    slow = user.model(
        sdk="OpenAI",
        endpoint=simulator.base_urls["OpenAI"],
        key="PROVIDER-KEY",
        deployment="slow-x",
        limits={"maxConcurrency": 2},
    )
    simulator.configure(latency_ms=200)
    rows = [line(f"r{i}", slow) for i in range(100)]
    batch = begin(client, rows)

    def some_are_answered() -> bool:
        counts = client.batches.retrieve(batch.id).request_counts
        return counts is not None and counts.completed >= 3

    eventually(some_are_answered)
    cancelling = client.batches.cancel(batch.id)
    assert cancelling.status in ("cancelling", "cancelled")
    done = ended(client, batch)
    assert done.status == "cancelled"
    assert done.cancelled_at is not None
    good = content_of(client, done.output_file_id)
    rest = content_of(client, done.error_file_id)
    assert 3 <= len(good) < 100
    assert {each["custom_id"] for each in good + rest} == {
        each["custom_id"] for each in rows
    }
    assert len(good) + len(rest) == 100
    assert {each["error"]["code"] for each in rest} == {"batch_cancelled"}
    assert counts_of_jobs(user, done) == {
        "PROCESSED": len(good),
        "CANCELED": len(rest),
    }
    # Nothing is called any more, and a second time it is refused.
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        pytest.param("/v1/responses", {"input": "Say hello."}, id="responses"),
        pytest.param("/v1/embeddings", {"input": ["a", "b"]}, id="embeddings"),
    ],
)
def test_other_endpoints_have_their_own_answers(
    client: OpenAI, gpt: str, claude: str, endpoint: Any, asked: Any
) -> None:
    models = [gpt, claude] if "responses" in endpoint else [gpt]
    rows = [
        {
            "custom_id": f"r{number}",
            "method": "POST",
            "url": endpoint,
            "body": {"model": model, **asked},
        }
        for number, model in enumerate(models)
    ]
    done = ended(client, begin(client, rows, endpoint))
    assert done.endpoint == endpoint
    found = content_of(client, done.output_file_id)
    assert len(found) == len(models), content_of(client, done.error_file_id)
    for each in found:
        body = each["response"]["body"]
        if endpoint == "/v1/responses":
            response = openai.types.responses.Response.model_validate(body)
            assert response.output_text
        else:
            vectors = openai.types.CreateEmbeddingResponse.model_validate(body)
            assert len(vectors.data) == 2


def test_lines_may_name_routes(
    user: GatewayUser, client: OpenAI, gpt: str, claude: str
) -> None:
    name = f"route-{gpt}"
    body = {"name": name, "targets": [{"model": gpt}, {"model": claude}]}
    user.request("POST", "/routes", 201, json=body, headers=ADMIN)
    done = ended(client, begin(client, [line("a", name), line("b", gpt)]))
    assert done.status == "completed"
    assert len(content_of(client, done.output_file_id)) == 2
    assert done.model is None


@pytest.mark.timing
def test_fifty_thousand_lines_are_checked_in_seconds(
    client: OpenAI, gpt: str
) -> None:
    rows = [
        line(f"r{i}", gpt if i % 5 else "none", "word " * 60)
        for i in range(50_000)
    ]
    content = lines_of(rows)

    def check() -> float:
        def work() -> None:
            failed = ended(client, begin(client, content), seconds=60)
            assert failed.errors is not None
            data = failed.errors.data or []
            assert len(data) == 1001
            assert str(data[-1].message).endswith(", 49991, 49996")

        return elapsed_seconds(work)

    assert is_within(5.0, check)
    too_many = ended(client, begin(client, content + lines_of(rows[:1])))
    assert too_many.errors is not None
    codes = {each.code for each in too_many.errors.data or []}
    assert codes == {"model_not_found", "too_many_requests"}


def test_lines_wait_for_the_budget_of_their_client(
    user: GatewayUser, client: OpenAI, simulator: Simulator
) -> None:
    priced = user.model(
        sdk="OpenAI",
        endpoint=simulator.base_urls["OpenAI"],
        key="PROVIDER-KEY",
        cost={"tokens": 1, "currency": "USD", "input": 1.0, "output": 1.0},
    )
    user.settings(budget={"amount": 1, "period": "total"})
    eventually(lambda: user.get("/budgets"))
    batch = begin(client, [line(f"r{i}", priced) for i in range(3)])

    def all_wait() -> bool:
        found = user.get("/jobs")
        kinds = [(each["waitingFor"] or {}).get("kind") for each in found]
        return kinds == ["BUDGET"] * 3

    eventually(all_wait)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    assert simulator.stats()["requests"] == 0
    client.batches.cancel(batch.id)
    done = ended(client, batch)
    assert done.request_counts is not None
    assert done.request_counts.failed == 3
    assert simulator.stats()["requests"] == 0


def test_lines_of_a_disabled_client_do_not_run(
    user: GatewayUser, client: OpenAI, gpt: str, simulator: Simulator
) -> None:
    simulator.configure(latency_ms=400)
    batch = begin(client, [line(f"r{i}", gpt) for i in range(600)])
    eventually(lambda: simulator.stats()["requests"] > 0)
    path = f"/clients/{user.client_id}/toggle"
    user.request("POST", path, 200, headers=ADMIN)
    calls = simulator.stats()["requests"]

    def is_quiet() -> bool:
        nonlocal calls
        before, calls = calls, simulator.stats()["requests"]
        return bool(before == calls)

    eventually(is_quiet)
    assert calls < 600
    user.request("POST", path, 200, headers=ADMIN)
    simulator.configure(latency_ms=0)
    done = ended(client, batch, seconds=60)
    assert done.status == "completed"
    assert len(content_of(client, done.output_file_id)) == 600
