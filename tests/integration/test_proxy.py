"""Any request of a provider's own interface, through `/proxy`."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2
import openai
import pytest
from aiohttp import web

from provider_simulator.running import Simulator
from tests.conftest import PROVIDER_KEY
from tests.support.api_user import ADMIN
from tests.support.echo_provider import EchoProvider, echo_provider
from tests.support.gateway_user import GatewayUser
from tests.support.live_server import live_server, make_settings
from tests.support.waiting import eventually

HELLO: Any = [{"role": "user", "content": "Hello"}]
CREDENTIAL_HEADERS = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
)


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    return shared_simulator


@pytest.fixture
def user(http: httpx2.Client) -> GatewayUser:
    return GatewayUser(http)


@pytest.fixture
def gpt(user: GatewayUser, echo: EchoProvider) -> str:
    return model_at(user, "OpenAI", f"{echo.url}/v1")


def model_at(user: GatewayUser, sdk: str, url: str, **fields: Any) -> str:
    return user.model(
        sdk=sdk,
        endpoint=url,
        key="PROVIDER-KEY",
        **{"deployment": "theirs", **fields},
    )


def send(
    user: GatewayUser, method: str, path: str, **extra: Any
) -> httpx2.Response:
    headers = {"authorization": f"Bearer {user.token}"}
    headers |= extra.pop("headers", {})
    return user.http.request(method, path, headers=headers, **extra)


# Credentials.


@pytest.mark.parametrize(
    ("sdk", "header", "value"),
    [
        ("OpenAI", "authorization", f"Bearer {PROVIDER_KEY}"),
        ("AzureOpenAI", "api-key", PROVIDER_KEY),
        ("ChatCompletionsClient", "api-key", PROVIDER_KEY),
        ("Anthropic", "x-api-key", PROVIDER_KEY),
        ("Gemini", "x-goog-api-key", PROVIDER_KEY),
    ],
)
@pytest.mark.parametrize("sent", [*CREDENTIAL_HEADERS, "ours", "query"])
def test_only_the_models_credential_goes_out(
    user: GatewayUser,
    echo: EchoProvider,
    sdk: str,
    header: str,
    value: str,
    sent: str,
) -> None:
    name = model_at(user, sdk, echo.url, apiVersion="2024-10-21")
    headers = {"x-note": f"see {user.key}", "cookie": "a=b"}
    query = "?alt=sse&pageToken=p"
    if sent == "ours":
        headers |= {"client-id": user.client_id, "client_api_key": user.key}
    elif sent == "query":
        query += f"&key={user.token}&x={user.key}"
    else:
        bearer = "Bearer " if sent == "authorization" else ""
        headers[sent] = bearer + user.token
    answer = user.http.get(f"/proxy/{name}/v9/things{query}", headers=headers)
    assert answer.json() == {"ok": True}
    (seen,) = echo.seen
    assert seen.target == "/v9/things?alt=sse&pageToken=p"
    assert user.key not in repr(seen.headers)
    assert user.client_id not in repr(seen.headers)
    credentials = [
        each for each in seen.headers if each[0] in CREDENTIAL_HEADERS
    ]
    assert credentials == [(header, value)]
    assert seen.all("host") == [urlsplit(echo.url).netloc]
    assert not seen.all("cookie")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong:key"},
        {"api-key": "no-colon"},
        {"authorization": "Bearer a:b", "x-goog-api-key": "c:d"},
    ],
)
def test_nobody_else_gets_in(
    user: GatewayUser, gpt: str, echo: EchoProvider, headers: dict[str, str]
) -> None:
    answer = user.http.get(f"/proxy/{gpt}/v1/files", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert not echo.seen


def test_two_tokens_that_differ_are_refused(
    user: GatewayUser, gpt: str
) -> None:
    answer = send(
        user, "GET", f"/proxy/{gpt}/v1/files", headers={"api-key": "other:x"}
    )
    assert answer.status_code == 401


# Addresses.


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/files", "/v1/files"),
        ("/files/f%20x/content", "/v1/files/f%20x/content"),
        (
            "/v1/fine_tuning/jobs/ft-1:cancel",
            "/v1/fine_tuning/jobs/ft-1:cancel",
        ),
        ("/v1/files/?after=%2Fx&b", "/v1/files/?after=%2Fx&b"),
        ("/v10/files", "/v1/v10/files"),
        ("", "/v1/"),
        ("/", "/v1/"),
        ("/http:evil.example", "/v1/http:evil.example"),
        ("/@evil.example", "/v1/@evil.example"),
    ],
)
def test_paths_are_below_the_endpoint(
    user: GatewayUser, gpt: str, echo: EchoProvider, path: str, target: str
) -> None:
    status, _ = raw_get(user, f"/proxy/{gpt}{path}")
    assert status == 200
    assert echo.seen[0].target == target


@pytest.mark.parametrize(
    "path",
    [
        "/../admin",
        "/v1/../../admin",
        "/v1/%2e%2e/admin",
        "/v1/.%2E/admin",
        "/v1/%252e%252e/admin",
        "/v1/..;/admin",
        "/v1/./files",
        "//evil.example/v1/files",
        "/v1//files",
        "/https://evil.example/",
        "/v1/files%2f..%2fadmin",
        "/v1/files%5c..%5cadmin",
        "/v1/files\\..\\admin",
        "/v1/files%0dx:y",
        "/v1/files%00",
        "/v1/files%zz",
        "/v1/%25252525252f",
    ],
)
def test_no_path_leads_elsewhere(
    user: GatewayUser, gpt: str, echo: EchoProvider, path: str
) -> None:
    status, body = raw_get(user, f"/proxy/{gpt}{path}")
    assert status == 400
    assert b"path" in body
    assert not echo.seen


def raw_get(user: GatewayUser, target: str) -> tuple[int, bytes]:
    """Send a target as it is: libraries normalise it."""
    parts = urlsplit(user.url)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        head = (
            f"GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            f"authorization: Bearer {user.token}\r\n\r\n"
        )
        sock.sendall(head.encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head_bytes, _, body = answer.partition(b"\r\n\r\n")
    return int(head_bytes.split()[1]), body


def test_a_models_name_may_have_a_slash(
    user: GatewayUser, echo: EchoProvider
) -> None:
    name = model_at(user, "OpenAI", echo.url, name=f"org/{user.client_id}")
    assert raw_get(user, f"/proxy/{name.replace('/', '%2F')}/x")[0] == 200
    assert echo.seen[0].target == "/x"


def test_unknown_models_and_other_plugins_are_refused(
    user: GatewayUser,
) -> None:
    answer = send(user, "GET", "/proxy/nobody/v1/files")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    answer = send(user, "GET", f"/proxy/{user.model(sdk='test')}/v1/files")
    assert answer.status_code == 400
    answer = send(user, "TRACE", "/proxy/nobody/v1/files")
    assert answer.status_code == 405


def test_redirects_are_handed_back(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"location": "http://e.x/"})

    echo.handler = handler
    answer = send(user, "GET", f"/proxy/{gpt}/v1/files")
    assert answer.status_code == 302
    assert answer.headers["location"] == "http://e.x/"
    assert len(echo.seen) == 1


# Headers.


def test_headers_of_one_connection_stay_there(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            {},
            headers={
                "x-kept": "1",
                "connection": "x-mine",
                "x-mine": "1",
                "keep-alive": "timeout=1",
                "set-cookie": "session=1",
                "openai-organization": "org-1",
                "access-control-allow-origin": "*",
                "x-echoed": f"Bearer {PROVIDER_KEY}",
                "x-ratelimit-remaining-requests": "9",
                "cache-control": "max-age=3",
            },
        )

    echo.handler = handler
    answer = send(
        user,
        "GET",
        f"/proxy/{gpt}/v1/files",
        headers={
            "connection": "x-own, keep-alive",
            "x-own": "1",
            "te": "trailers",
            "proxy-authorization": "Basic x",
            "x-forwarded-for": "10.0.0.1",
            "x-metasync-max-wait": "0",
            "openai-beta": "v2",
            "user-agent": "mine/1",
        },
    )
    (seen,) = echo.seen
    assert seen.all("openai-beta") == ["v2"]
    assert seen.all("user-agent") == ["mine/1"]
    assert seen.all("accept-encoding") == ["identity"]
    names = {name for name, _ in seen.headers}
    assert names == {
        "host", "accept", "accept-encoding", "user-agent", "openai-beta",
        "authorization",
    }  # fmt: skip
    kept = {"x-kept", "x-ratelimit-remaining-requests", "cache-control"}
    assert kept <= answer.headers.keys()
    assert answer.headers["cache-control"] == "max-age=3"
    gone = {
        "x-mine", "keep-alive", "set-cookie", "openai-organization",
        "access-control-allow-origin", "x-echoed",
    }  # fmt: skip
    assert not gone & answer.headers.keys()
    assert "x-correlation-id" in answer.headers
    assert "x-stream-id" in answer.headers


# Bodies.


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
)
def test_any_method_passes(
    user: GatewayUser, gpt: str, echo: EchoProvider, method: str
) -> None:
    answer = send(user, method, f"/proxy/{gpt}/v1/things/1")
    assert answer.status_code == 200
    assert echo.seen[0].method == method
    assert echo.seen[0].body == b""
    if method == "HEAD":
        assert answer.headers["content-length"] == "12"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{ "model":"other",  "x": 1.50, "x": 2}'),
        ("application/json", b"[1,  2]"),
        ("application/json", b"{broken"),
        ("application/jsonl", b'{"a": 1}\n'),
        ("application/octet-stream", bytes(range(256)) * 10),
    ],
)
def test_bodies_are_not_touched(
    user: GatewayUser, gpt: str, echo: EchoProvider, kind: str, body: bytes
) -> None:
    send(
        user,
        "POST",
        f"/proxy/{gpt}/v1/things",
        content=body,
        headers={"content-type": kind},
    )
    assert echo.seen[0].body == body
    assert echo.seen[0].all("content-length") == [str(len(body))]
    assert echo.seen[0].all("content-type") == [kind]


def test_a_body_that_is_priced_names_one_model(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    send(
        user,
        "POST",
        f"/proxy/{gpt}/v1/chat/completions",
        content=b'{"model": "dear", "mod\\u0065l": "theirs"}',
        headers={"content-type": "application/json"},
    )
    assert echo.seen[0].body == b'{"model":"theirs"}'


def test_a_body_without_a_length_passes_in_chunks(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    send(
        user,
        "PUT",
        f"/proxy/{gpt}/v1/things",
        content=iter([b"one", b"two"]),
        headers={"content-type": "text/plain"},
    )
    assert echo.seen[0].body == b"onetwo"
    assert echo.seen[0].all("transfer-encoding") == ["chunked"]


def test_the_vendors_uploads_and_lists_work(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        shown = {"id": "file-1", "object": "file", "bytes": 3, "created_at": 1}
        shown |= {"filename": "a", "purpose": "batch", "status": "uploaded"}
        if request.method == "POST":
            return web.json_response(shown)
        last = request.query.get("after")
        page = {"data": [{**shown, "id": last or "file-1"}], "object": "list"}
        return web.json_response({**page, "has_more": last is None})

    echo.handler = handler
    base = f"{user.url}/proxy/{gpt}/v1"
    with user.openai(base_url=base) as client:
        made = client.files.create(
            file=("a.jsonl", b"x" * 200_000), purpose="batch"
        )
        assert made.id == "file-1"
        assert len(list(client.files.list())) == 2
    upload, *lists = echo.seen
    assert b"x" * 200_000 in upload.body
    assert b'name="purpose"' in upload.body
    assert upload.target == "/v1/files"
    assert [each.target for each in lists] == [
        "/v1/files",
        "/v1/files?after=file-1",
    ]


# Usage, prices and records.


def test_a_call_is_metered_priced_and_recorded(
    user: GatewayUser, simulator: Simulator
) -> None:
    claude = model_at(user, "Anthropic", simulator.base_urls["Anthropic"])
    gpt = model_at(user, "OpenAI", simulator.base_urls["OpenAI"])
    with user.anthropic(base_url=f"{user.url}/proxy/{claude}") as client:
        message = client.messages.create(
            model=claude, max_tokens=50, messages=HELLO
        )
    with user.openai(base_url=f"{user.url}/proxy/{gpt}/v1") as other:
        answer = other.chat.completions.create(model="theirs", messages=HELLO)
        vectors = other.embeddings.create(model="theirs", input="one")
    assert answer.usage is not None
    records = {each["interface"]: each for each in user.records(3)}
    used = {
        "/proxy/v1/messages": message.usage.input_tokens,
        "/proxy/v1/chat/completions": answer.usage.prompt_tokens,
        "/proxy/v1/embeddings": vectors.usage.prompt_tokens,
    }
    assert records.keys() == used.keys()
    for interface, tokens in used.items():
        metrics = records[interface]["processingMetrics"]
        assert metrics["inputTokens"] == tokens > 0
        assert metrics["totalCost"] > 0
    chat = records["/proxy/v1/chat/completions"]
    assert chat["status"] == "completed"
    text = answer.choices[0].message.content
    assert chat["responseData"] == {"text": text}
    asked = chat["requestData"]
    assert (asked["method"], asked["path"]) == ("POST", "/v1/chat/completions")
    assert asked["body"]["messages"] == HELLO
    assert charged(user, 3)["unpricedRequests"] == 0


def charged(user: GatewayUser, requests: int) -> Any:
    """Wait until a number of calls is in the ledger."""

    def look() -> Any:
        groups = user.get("/usage", groupBy="operation")["groups"]
        found = [each for each in groups if each["requests"] == requests]
        return found[0] if found else None

    return eventually(look, what=f"{requests} requests in the ledger")


def test_streams_come_piece_by_piece_and_are_metered(
    user: GatewayUser, simulator: Simulator
) -> None:
    claude = model_at(user, "Anthropic", simulator.base_urls["Anthropic"])
    gpt = model_at(user, "OpenAI", simulator.base_urls["OpenAI"])
    gemini = model_at(user, "Gemini", simulator.base_urls["Gemini"])
    with (
        user.anthropic(base_url=f"{user.url}/proxy/{claude}") as client,
        client.messages.stream(
            model="theirs", max_tokens=50, messages=HELLO
        ) as stream,
    ):
        assert "Hello" in "".join(stream.text_stream)
    with user.openai(base_url=f"{user.url}/proxy/{gpt}/v1") as other:
        chunks = [
            *other.chat.completions.create(
                model="theirs", messages=HELLO, stream=True
            )
        ]
    # Its usage was asked for by us.
    assert all(chunk.choices and not chunk.usage for chunk in chunks)
    for query in ("", "?alt=sse"):
        path = "/v1beta/models/theirs:streamGenerateContent"
        body = {"contents": [{"parts": [{"text": "Hello"}], "role": "user"}]}
        answer = send(user, "POST", f"/proxy/{gemini}{path}{query}", json=body)
        assert answer.status_code == 200, answer.text
    for record in user.records(4):
        metrics = record["processingMetrics"]
        assert metrics["outputTokens"] > 1, record
        assert metrics["totalCost"] > 0
        assert "Hello" in record["responseData"]["text"]


@pytest.mark.parametrize(
    ("method", "path", "body", "tokens"),
    [
        # Nothing tells what these cost.
        ("GET", "/v1/files", None, None),
        ("POST", "/v1/audio/speech", {"model": "theirs"}, None),
        # What was answered before has its usage in it.
        ("GET", "/v1/chat/completions/c-1", None, None),
        # The model's prices are not those of another one.
        ("POST", "/v1/chat/completions", {"model": "dear"}, 7),
        ("POST", "/v1/completions", {"model": "dear"}, 7),
        ("POST", "/v1/%63ompletions/", {"model": "dear"}, 7),
        ("POST", "/v1/images/generations", {"prompt": "no model"}, 7),
    ],
)
def test_what_cannot_be_priced_has_no_cost(
    user: GatewayUser,
    gpt: str,
    echo: EchoProvider,
    method: str,
    path: str,
    body: Any,
    tokens: int | None,
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        usage = {"prompt_tokens": 7, "completion_tokens": 2}
        message = {"role": "assistant", "content": "x"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"usage": usage, "choices": [choice]})

    echo.handler = handler
    send(user, method, f"/proxy/{gpt}{path}", json=body)
    (record,) = user.records()
    metrics = record["processingMetrics"]
    assert metrics["totalCost"] is None
    assert metrics["inputTokens"] == tokens
    assert charged(user, 1)["unpricedRequests"] == 1


def test_texts_are_kept_if_the_client_wants_it(
    user: GatewayUser, simulator: Simulator
) -> None:
    user.settings(gateway={"keepTexts": False})
    gpt = model_at(user, "OpenAI", simulator.base_urls["OpenAI"])

    def call() -> bool:
        answer = send(
            user,
            "POST",
            f"/proxy/{gpt}/v1/chat/completions?q=secret",
            json={"model": "theirs", "messages": HELLO},
        )
        assert answer.status_code == 200
        return "body" not in user.records()[-1]["requestData"]

    eventually(call, what="the setting")
    record = max(user.records(), key=lambda each: each["streamId"])
    kept = record["requestData"]
    assert kept.keys() == {"method", "path", "bodyBytes"}
    assert record["responseData"] == {"text": ""}


# Failures.


def test_refusals_come_back_as_they_are(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=418,
            text=f"<p>no {PROVIDER_KEY}</p>",
            content_type="text/html",
            headers={"x-why": "tea"},
        )

    echo.handler = handler
    answer = send(user, "GET", f"/proxy/{gpt}/v1/files/none")
    assert answer.status_code == 418
    assert answer.text == "<p>no ***</p>"
    assert answer.headers["x-why"] == "tea"
    (record,) = user.records()
    assert record["status"] == "error"
    assert PROVIDER_KEY not in json.dumps(record)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 429, 500, 503])
def test_no_refusal_concerns_the_models_other_clients(
    user: GatewayUser, gpt: str, echo: EchoProvider, status: int
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        error = {"message": "The model `theirs` does not exist", "type": "x"}
        error["code"] = "model_not_found" if status == 404 else "x"
        return web.json_response({"error": error}, status=status)

    echo.handler = handler
    for _ in range(12):
        answer = send(user, "GET", f"/proxy/{gpt}/v1/files/none")
        expected = {401: 502, 402: 429}.get(status, status)
        assert answer.status_code == expected, answer.text
    echo.handler = None
    assert send(user, "GET", f"/proxy/{gpt}/v1/files").status_code == 200


def test_a_provider_that_is_away_is_told_and_breaks_the_circuit(
    user: GatewayUser,
) -> None:
    away = model_at(user, "OpenAI", "http://127.0.0.1:9/v1")
    answers = [send(user, "GET", f"/proxy/{away}/v1/files") for _ in range(12)]
    assert answers[0].status_code == 502
    assert answers[0].json()["error"]["code"] == "provider_error"
    assert answers[-1].status_code == 503


def test_a_broken_answer_is_seen_to_be_broken(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    echo.handler = handler
    with pytest.raises(httpx2.RemoteProtocolError):
        send(user, "GET", f"/proxy/{gpt}/v1/files/f/content")
    (record,) = user.records()
    assert record["responseData"]["errorType"] == "CONNECTION_ERROR"


def test_a_broken_stream_of_events_ends_with_an_error(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        kind = {"content-type": "text/event-stream"}
        response = web.StreamResponse(headers=kind)
        await response.prepare(request)
        choice = {"index": 0, "delta": {"content": "so"}}
        data = json.dumps({"choices": [choice], "id": "c", "created": 1})
        await response.write(f"data: {data}\n\n".encode())
        assert request.transport is not None
        request.transport.abort()
        return response

    echo.handler = handler
    with (
        user.openai(base_url=f"{user.url}/proxy/{gpt}/v1") as client,
        pytest.raises(openai.APIError),
    ):
        for _ in client.chat.completions.create(
            model="theirs", messages=HELLO, stream=True
        ):
            pass


def test_a_client_that_reads_nothing_gets_no_whole_answer(
    database: str, tmp_path: Path, echo: EchoProvider
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(400):
            await response.write(b"x" * 100_000)
        return response

    echo.handler = handler
    settings = make_settings(tmp_path, stream_stall_seconds=0.3)
    keys = {"PROVIDER_KEY": PROVIDER_KEY}
    with (
        live_server(settings, database, keys, run_workers=False) as server,
        httpx2.Client(base_url=server.url, timeout=20) as http,
    ):
        user = GatewayUser(http)
        model = model_at(user, "OpenAI", echo.url)
        with http.stream(
            "GET",
            f"/proxy/{model}/files",
            headers={"x-api-key": user.token},
        ) as answer:
            (record,) = user.records()
            with pytest.raises(httpx2.RemoteProtocolError):
                answer.read()
    assert record["responseData"]["errorType"] == "CLIENT_TOO_SLOW"


def test_a_client_that_hangs_up_ends_the_providers_call(
    user: GatewayUser, gpt: str, echo: EchoProvider
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1000)
            await asyncio.sleep(0.01)

    echo.handler = handler
    with user.http.stream(
        "GET",
        f"/proxy/{gpt}/v1/files/f/content",
        headers={"x-api-key": user.token},
    ) as answer:
        next(answer.iter_raw())
    eventually(lambda: echo.disconnected == 1)
    (record,) = user.records()
    assert record["responseData"]["errorType"] == "CLIENT_HUNG_UP"


def test_a_client_that_hangs_up_in_its_upload_ends_it(
    user: GatewayUser, gpt: str
) -> None:
    parts = urlsplit(user.url)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(
            f"POST /proxy/{gpt}/v1/files HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {user.token}\r\n"
            "content-length: 1000000\r\n\r\nhalf".encode()
        )
        # Until the call has begun.
        eventually(lambda: user.get("/stream") == [])
        sock.sendall(b"more")
    (record,) = user.records()
    assert record["responseData"]["errorType"] == "CLIENT_HUNG_UP"
    # It is nobody's outage.
    assert send(user, "GET", f"/proxy/{gpt}/v1/files").status_code == 200


# Limits.


def test_limits_and_budgets_hold(
    user: GatewayUser, simulator: Simulator
) -> None:
    url = simulator.base_urls["OpenAI"]
    limited = model_at(user, "OpenAI", url, limits={"requestsPerMinute": 1})
    path = f"/proxy/{limited}/v1/chat/completions"
    body = {"model": "theirs", "messages": HELLO}
    assert send(user, "POST", path, json=body).status_code == 200
    answer = send(user, "POST", path, json=body)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert send(user, "GET", f"/proxy/{limited}/v1/x").status_code == 429
    poor = model_at(
        user,
        "OpenAI",
        url,
        budget={"amount": 0.000001, "period": "day", "onExhausted": "fail"},
    )
    answer = send(
        user, "POST", f"/proxy/{poor}/v1/chat/completions", json=body
    )
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "insufficient_quota"


def test_the_keys_of_a_model_take_turns(
    database: str, tmp_path: Path, echo: EchoProvider
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "first" in request.headers["authorization"]:
            return web.json_response({"error": {"message": "x"}}, status=429)
        return web.json_response({})

    echo.handler = handler
    settings = make_settings(tmp_path)
    keys = {"KEY_A": "first", "KEY_B": "second"}
    with (
        live_server(settings, database, keys, run_workers=False) as server,
        httpx2.Client(base_url=server.url, timeout=20) as http,
    ):
        user = GatewayUser(http)
        fields: Any = {"key": None, "keys": ["KEY-A", "KEY-B"]}
        calls: list[tuple[str, Any]] = [
            ("json", {"model": "theirs"}),
            ("json", {"model": "theirs"}),
            ("content", iter([b"an ", b"upload"])),
        ]
        statuses = []
        for kind, body in calls:
            model = user.model(sdk="OpenAI", endpoint=echo.url, **fields)
            path = f"/proxy/{model}/v1/embeddings"
            answer = send(user, "POST", path, **{kind: body})
            statuses.append(answer.status_code)
    # An upload is gone once it was sent.
    assert statuses[:2] == [200, 200]
    sent = [each.body for each in echo.seen]
    assert sent.count(b"an upload") == 1
    assert b"" not in sent


# Filters.


def test_filters_strip_fields_and_headers_on_every_way(
    user: GatewayUser, echo: EchoProvider
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "id": "m", "type": "message", "role": "assistant",
                "model": "x", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "Hi"}],
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
        )  # fmt: skip

    echo.handler = handler
    name = model_at(
        user,
        "Anthropic",
        echo.url,
        filters={
            "removeFields": ["context_management", "tools[].strict"],
            "removeHeaders": ["Anthropic-Beta"],
        },
    )
    body: Any = {
        "model": name,
        "max_tokens": 5,
        "messages": HELLO,
        "context_management": {"edits": []},
        "tools": [{"name": "t", "strict": True, "input_schema": {}}],
    }
    headers = {
        "anthropic-beta": "context-1",
        "anthropic-version": "2023-06-01",
    }
    for path in (f"/proxy/{name}/v1/messages", "/v1/messages"):
        answer = send(user, "POST", path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
    for seen in echo.seen:
        sent = json.loads(seen.body)
        assert sent == {
            "model": "theirs",
            "max_tokens": 5,
            "messages": HELLO,
            "tools": [{"name": "t", "input_schema": {}}],
        }
        assert seen.all("anthropic-beta") == []
        assert seen.all("anthropic-version") == ["2023-06-01"]
    assert len(echo.seen) == 2
    # The record has what the client has sent.
    assert all(
        "context_management" in each["requestData"]["body"]
        for each in user.records(2)
    )
    answer = send(
        user,
        "POST",
        f"/proxy/{name}/v1/messages",
        content=b"\x1f\x8b",
        headers={
            "content-type": "application/json",
            "content-encoding": "gzip",
        },
    )
    assert answer.status_code == 400


def test_a_model_may_allow_some_paths_only(
    user: GatewayUser, gpt: str
) -> None:
    (model,) = [
        each for each in user.get("/models", limit=1000) if each["name"] == gpt
    ]
    path = f"/models/{model['model_id']}"
    filters = {"allowPaths": ["/v1/files*", "/v1/messages"]}
    changed = user.request(
        "PATCH", path, 200, headers=ADMIN, json={"filters": filters}
    )
    assert changed["filters"]["allowPaths"] == filters["allowPaths"]
    eventually(
        lambda: (
            send(user, "GET", f"/proxy/{gpt}/v1/batches").status_code == 403
        )
    )
    for allowed in ("v1/files", "files/f-1", "v1/messages"):
        answer = send(user, "GET", f"/proxy/{gpt}/{allowed}")
        assert answer.status_code == 200, allowed
    for other in ("v1/messages/1", "v1/%66iles", "v1/fil"):
        answer = send(user, "GET", f"/proxy/{gpt}/{other}")
        assert answer.status_code == 403, other


@pytest.mark.parametrize(
    "filters",
    [
        {"removeFields": ["model"]},
        {"removeFields": ["a..b"]},
        {"removeFields": ["a[]"]},
        {"removeFields": [""]},
        {"removeHeaders": ["a b"]},
        {"allowPaths": ["v1/files"]},
        {"allowPaths": ["/v1/*/x"]},
        {"unknown": []},
    ],
)
def test_filters_are_checked(user: GatewayUser, filters: Any) -> None:
    body = {"name": "m", "sdk": "test", "maxToken": 5, "filters": filters}
    user.request("POST", "/models", 422, headers=ADMIN, json=body)


# Hosts, as a forward proxy asks for them.


def test_a_host_leads_to_its_model(
    user: GatewayUser,
) -> None:
    with echo_provider() as echo:
        check_hosts(user, echo)


def check_hosts(user: GatewayUser, echo: EchoProvider) -> None:
    host = urlsplit(echo.url).netloc
    first = model_at(user, "OpenAI", f"{echo.url}/a/v1", deployment="one")
    other = model_at(user, "OpenAI", f"{echo.url}/a/v1", deployment="two")
    for model in ("one", "two"):
        answer = send(
            user,
            "POST",
            f"/forward/{host}/a/v1/chat/completions",
            json={"model": model},
        )
        assert answer.status_code == 200, answer.text
    assert {each.target for each in echo.seen} == {"/a/v1/chat/completions"}
    assert {each["model"] for each in user.records(2)} == {first, other}
    for target in (
        f"{host}/b/v1/x",
        "evil.example/a/v1/x",
        "127.0.0.1:1/a/v1",
    ):
        answer = send(user, "GET", f"/forward/{target}")
        assert answer.status_code == 403
        assert "No model is at" in answer.json()["error"]["message"]
    assert raw_get(user, f"/forward/{host}/a/v1/../../b")[0] == 400


def test_anthropics_own_errors_are_in_its_words(
    user: GatewayUser,
) -> None:
    with (
        user.anthropic(base_url=f"{user.url}/proxy/nobody") as client,
        pytest.raises(anthropic.NotFoundError) as caught,
    ):
        client.messages.create(model="x", max_tokens=5, messages=HELLO)
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
