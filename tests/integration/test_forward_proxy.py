"""`metasync proxy`, with curl and raw connections."""

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import uvicorn
from aiohttp import web

from cli.forward_proxy import ForwardProxy
from cli.proxy_command import proxy_config
from tests.conftest import PROVIDER_KEY
from tests.support.echo_provider import EchoProvider
from tests.support.gateway_user import GatewayUser
from tests.support.waiting import eventually

PATH = "/below/v1"
CLOSE = "connection: close\r\n"


@pytest.fixture
def user(http: httpx2.Client) -> GatewayUser:
    return GatewayUser(http)


@pytest.fixture(autouse=True)
def model(user: GatewayUser, echo: EchoProvider) -> str:
    return user.model(
        sdk="OpenAI",
        endpoint=f"{echo.url}{PATH}",
        key="PROVIDER-KEY",
        deployment="theirs",
    )


@pytest.fixture(scope="module")
def proxy(
    http: httpx2.Client, echo_server: EchoProvider
) -> Iterator[tuple[str, int]]:
    allowed = urlsplit(echo_server.url).netloc
    with running_proxy(str(http.base_url), allowed) as address:
        yield address


@contextmanager
def running_proxy(service: str, *allowed: str) -> Iterator[tuple[str, int]]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    forward = ForwardProxy(service)
    server = uvicorn.Server(proxy_config(forward, allowed))

    async def serve() -> None:
        await server.serve([listener])
        await forward.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    eventually(lambda: server.started)
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def curl(
    proxy: tuple[str, int], user: GatewayUser | None, *arguments: str
) -> tuple[int, bytes]:
    """Run curl through the proxy; return the status and the body."""
    login = ["--proxy-user", user.token] if user else []
    environment = {
        name: value
        for name, value in os.environ.items()
        if "proxy" not in name.lower()
    }
    done = subprocess.run(
        [
            "curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}",
            "-x", f"http://127.0.0.1:{proxy[1]}", *login, *arguments,
        ],
        capture_output=True,
        check=False,
        env=environment,
    )  # fmt: skip
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status or 0), body


def test_curl_gets_an_answer_with_the_models_credential(
    proxy: tuple[str, int], user: GatewayUser, echo: EchoProvider, model: str
) -> None:
    url = f"{echo.url}{PATH}/chat/completions?x=%2F"
    body = json.dumps({"model": "theirs", "messages": []})
    status, answer = curl(
        proxy, user, url, "-d", body,
        "-H", "content-type: application/json",
        "-H", "authorization: Bearer dummy", "-H", "api_key: dummy",
    )  # fmt: skip
    assert (status, json.loads(answer)) == (200, {"ok": True})
    (seen,) = echo.seen
    assert seen.target == f"{PATH}/chat/completions?x=%2F"
    assert seen.all("authorization") == [f"Bearer {PROVIDER_KEY}"]
    assert json.loads(seen.body) == json.loads(body)
    assert seen.all("host") == [urlsplit(echo.url).netloc]
    said = repr(seen.headers)
    assert user.key not in said
    assert "dummy" not in said
    assert "proxy" not in said.lower()
    assert "x-forwarded-for" not in said
    (record,) = user.records()
    assert record["model"] == model


def test_the_providers_credential_is_a_login_too(
    proxy: tuple[str, int], user: GatewayUser, echo: EchoProvider
) -> None:
    url = f"{echo.url}{PATH}/files"
    status, _ = curl(proxy, None, url, "-H", f"x-api-key: {user.token}")
    assert status == 200
    status, _ = curl(proxy, None, url)
    assert status == 407
    status, body = curl(proxy, None, url, "-H", "authorization: Bearer a:b")
    assert status == 401
    assert json.loads(body)["error"]["code"] == "invalid_api_key"
    assert len(echo.seen) == 1


def test_other_hosts_and_paths_are_refused(
    proxy: tuple[str, int], user: GatewayUser, echo: EchoProvider
) -> None:
    for url in (
        "http://evil.example/v1/models",
        f"{echo.url}/above/v1/models",
        f"{echo.url}{PATH}er/models",
        "http://127.0.0.1:1/v1/models",
    ):
        status, body = curl(proxy, user, "--path-as-is", url)
        assert status == 403, url
        assert b"No model is at" in body
    dots = f"{echo.url}{PATH}/../../secret"
    assert curl(proxy, user, "--path-as-is", dots)[0] == 400
    assert not echo.seen


@pytest.mark.parametrize(
    "head",
    [
        "GET /v1/models HTTP/1.1",
        "GET ftp://host/x HTTP/1.1",
        "GET http://user@host/x HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "nonsense",
    ],
)
def test_what_is_no_request_for_a_proxy_is_refused(
    proxy: tuple[str, int], head: str
) -> None:
    answer = raw(proxy, f"{head}\r\nhost: x\r\n{CLOSE}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 "), answer


def raw(proxy: tuple[str, int], sent: bytes) -> bytes:
    with socket.create_connection(proxy, timeout=10) as sock:
        sock.sendall(sent)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_second_request_is_one_for_the_proxy_again(
    proxy: tuple[str, int], user: GatewayUser, echo: EchoProvider
) -> None:
    head = (
        f"POST {echo.url}{PATH}/files HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {user.token}\r\ncontent-length: 2\r\n\r\nhi"
    )
    other = f"GET /health HTTP/1.1\r\nhost: x\r\n{CLOSE}\r\n"
    answer = raw(proxy, (head + other).encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in answer
    assert echo.seen[0].body == b"hi"


def test_heads_have_limits(proxy: tuple[str, int]) -> None:
    large = f"GET http://h/ HTTP/1.1\r\nx: {'x' * 70_000}\r\n\r\n"
    assert raw(proxy, large.encode()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.long
def test_slow_heads_end(proxy: tuple[str, int]) -> None:
    with socket.create_connection(proxy, timeout=20) as sock:
        sock.sendall(b"GET http://h/ HTTP/1.1\r\nx: ")
        assert sock.recv(100).startswith(b"HTTP/1.1 408 ")


def test_bodies_stream_both_ways(
    proxy: tuple[str, int], user: GatewayUser, echo: EchoProvider
) -> None:
    go_on = threading.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await asyncio.to_thread(go_on.wait, 10)
        await response.write(b"last")
        return response

    echo.handler = handler
    with (
        httpx2.Client(
            proxy=f"http://{user.token}@127.0.0.1:{proxy[1]}",
            trust_env=False,
        ) as client,
        client.stream(
            "POST", f"{echo.url}{PATH}/files", content=iter([b"a", b"b"])
        ) as answer,
    ):
        pieces = answer.iter_raw()
        assert next(pieces) == b"first"
        go_on.set()
        assert b"".join(pieces) == b"last"
    assert echo.seen[0].body == b"ab"


def test_a_client_that_hangs_up_ends_the_call(
    proxy: tuple[str, int], user: GatewayUser, echo: EchoProvider
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)

    echo.handler = handler
    with socket.create_connection(proxy) as sock:
        sock.sendall(
            f"GET {echo.url}{PATH}/files HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {user.token}\r\n\r\n".encode()
        )
        assert sock.recv(100)
    (record,) = user.records()
    assert record["responseData"]["errorType"] == "CLIENT_HUNG_UP"


def test_a_service_that_is_away_is_told(user: GatewayUser) -> None:
    with running_proxy("http://127.0.0.1:9") as address:
        status, body = curl(address, user, "http://api.openai.com/v1/models")
    assert status == 502
    assert b"Metasync cannot be reached" in body


# CONNECT.


def connect(
    proxy: tuple[str, int], target: str, token: str | None
) -> tuple[socket.socket, bytes]:
    login = ""
    if token is not None:
        basic = base64.b64encode(token.encode()).decode()
        login = f"proxy-authorization: Basic {basic}\r\n"
    sock = socket.create_connection(proxy, timeout=10)
    sock.sendall(
        f"CONNECT {target} HTTP/1.1\r\nhost: x\r\n{login}\r\n".encode()
    )
    return sock, sock.recv(4096)


def test_a_tunnel_leads_to_an_allowed_host_only(
    proxy: tuple[str, int], user: GatewayUser, echo: EchoProvider
) -> None:
    target = urlsplit(echo.url).netloc
    sock, answer = connect(proxy, target, user.token)
    with sock:
        assert answer.startswith(b"HTTP/1.1 200 ")
        # Blind: nothing is put in, and more than one request passes.
        for _ in range(2):
            sock.sendall(b"GET /blind HTTP/1.1\r\nhost: x\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert [each.target for each in echo.seen] == ["/blind", "/blind"]
    assert not echo.seen[0].all("authorization")
    for wanted, token, status in (
        ("127.0.0.1:22", user.token, 403),
        ("evil.example:443", user.token, 403),
        (f"x.{target}", user.token, 403),
        (target, None, 407),
        (target, "wrong:key", 407),
        ("nothing", user.token, 400),
    ):
        sock, answer = connect(proxy, wanted, token)
        sock.close()
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), wanted


def test_a_tunnel_carries_much_and_ends_at_both_sides(
    proxy: tuple[str, int], user: GatewayUser, echo: EchoProvider
) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"z" * 5_000_000)

    echo.handler = handler
    status, body = curl(proxy, user, "--proxytunnel", f"{echo.url}/much")
    assert (status, len(body)) == (200, 5_000_000)
    status, _ = curl(
        proxy, user, "--proxytunnel", f"{echo.url}/up",
        "-H", "expect:", "-d", "x" * 100_000,
    )  # fmt: skip
    assert status == 200
    assert len(echo.seen[-1].body) == 100_000


def test_no_tunnel_is_allowed_at_first(
    http: httpx2.Client, user: GatewayUser
) -> None:
    with running_proxy(str(http.base_url)) as address:
        sock, answer = connect(address, "api.openai.com:443", user.token)
        sock.close()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"PROXY_CONNECT_HOSTS" in answer


# The command.


def test_the_command_runs(
    http: httpx2.Client, user: GatewayUser, echo: EchoProvider
) -> None:
    command: Any = [
        sys.executable, "-m", "cli", "proxy", "--port", "0",
        "--url", str(http.base_url),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            while b"http://127.0.0.1" in line.encode() and ";" not in line:
                line += process.stdout.readline().decode()
            port = int(line.split(" on http://127.0.0.1:")[1].split(";")[0])
            status, _ = curl(
                ("127.0.0.1", port), user, f"{echo.url}{PATH}/files"
            )
            assert status == 200
        finally:
            process.terminate()
        assert process.wait(20) == 0
