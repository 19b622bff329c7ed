"""What passes goes to the model's endpoint, and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from llm_sdks import errors
from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.passing import Destination, PassRequest, first_bytes
from llm_sdks.wires.passing import PassingWire
from tests.support.recorder import Recorder, recorder

KEY = "key-abcdefgh"
BASE = CompletionRequest(
    LLMConfig("m", api_key=SecretStr(KEY)), timeout=5, read_timeout=0.2
)


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


@pytest.fixture
async def wire() -> AsyncIterator[PassingWire]:
    made = PassingWire()
    yield made
    await made.close()


def until() -> float:
    return asyncio.get_running_loop().time() + 5


async def ask(wire: PassingWire, to: Destination) -> None:
    passed = await wire.send(
        to, PassRequest(BASE, "POST", "/x", body=b"{}"), until()
    )
    assert await first_bytes(passed.chunks, 100) == b"{}"


@pytest.mark.parametrize(
    "path", ["@evil.example/", ".evil.example/x", ":81/x"]
)
async def test_the_key_goes_to_the_models_host_only(
    wire: PassingWire, path: str
) -> None:
    to = Destination("http://127.0.0.1", (("x-api-key", KEY),), KEY)
    with pytest.raises(errors.BadRequestError):
        await wire.send(to, PassRequest(BASE, "GET", path), until())


async def test_no_other_login_is_added(
    wire: PassingWire,
    server: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    to = Destination(server.url, (("x-api-key", KEY),), KEY)
    await ask(wire, to)
    assert server.headers[0]["x-api-key"] == KEY
    assert "authorization" not in server.headers[0]


async def test_an_environments_proxy_is_used(
    wire: PassingWire, server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    await ask(wire, Destination("http://provider.example", (), KEY))
    assert server.headers[0]["host"] == "provider.example"


async def test_a_provider_that_says_nothing_is_left(
    wire: PassingWire,
) -> None:
    async def silent(_r: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    to = Destination(f"http://127.0.0.1:{port}", (), KEY)
    with pytest.raises(errors.CallTimeoutError):
        await wire.send(to, PassRequest(BASE, "GET", "/x"), until())
    server.close()
