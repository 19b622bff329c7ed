"""What is sent directly is what the vendor's library would have sent."""

from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from llm_sdks import errors
from llm_sdks.base_sdk import LLMConfig
from llm_sdks.wires import anthropic_client, azure_openai_client, openai_client
from llm_sdks.wires.direct import needs_proxy
from llm_sdks.wires.stainless import StainlessWire
from llm_sdks.wires.wire import Call

KEY = "sk-abcdefgh-ijklmnop"
CLIENTS = [openai_client, azure_openai_client, anthropic_client]
# Each connection's own affair.
NOT_COMPARED = {"Accept-Encoding", "Connection", "Host"}

Seen = list[tuple[str, dict[str, str], Any]]
Answer = Callable[[web.Request], web.StreamResponse]


class Recorder:
    """Notes what arrives, on a real socket."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self.answer: Answer = lambda _: web.json_response({"is": "answered"})
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        """The base URL."""
        return str(self.server.make_url(""))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = {
            name.title(): value
            for name, value in request.headers.items()
            if name.title() not in NOT_COMPARED
        }
        self.seen.append((request.path_qs, headers, await request.json()))
        return self.answer(request)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    async with recorder.server:
        yield recorder


@pytest.fixture
async def other() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    async with recorder.server:
        yield recorder


def call(model: str = "m", **headers: str) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": "é"}]}
    return Call(model, body, headers, 5.0, 5.0, 5.0)


def wire_to(url: str, client: ModuleType = openai_client) -> StainlessWire:
    config = LLMConfig(
        "m", endpoint=url, api_key=SecretStr(KEY), api_version="2024-10-21"
    )
    return cast("StainlessWire", client.connect(config, 1.0))


@pytest.mark.parametrize("client", CLIENTS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=str)
async def test_a_request_is_the_librarys(
    recorder: Recorder, client: ModuleType, headers: dict[str, str]
) -> None:
    wire = wire_to(recorder.url, client)
    await wire.ask(call(**headers))
    await wire._ask_by_library(wire._client, call(**headers))
    direct, by_library = recorder.seen
    assert direct == by_library
    assert any(KEY in value for value in direct[1].values())
    await wire.close()


async def test_a_later_call_has_its_own_headers(recorder: Recorder) -> None:
    wire = wire_to(recorder.url)
    for key in ("first", "second"):
        await wire.ask(call(**{"Idempotency-Key": key}))
    await wire.ask(call())
    keys = [headers.get("Idempotency-Key") for _, headers, _ in recorder.seen]
    assert keys == ["first", "second", None]
    await wire.close()


async def test_each_model_has_its_own_address(recorder: Recorder) -> None:
    wire = wire_to(recorder.url, azure_openai_client)
    for model in ("a", "b", "a"):
        await wire.ask(call(model))
    assert [path.split("/")[3] for path, _, _ in recorder.seen] == [
        *("a", "b", "a")
    ]
    await wire.close()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda each: each.__name__)
async def test_a_redirection_is_followed_without_the_key(
    recorder: Recorder, other: Recorder, client: ModuleType
) -> None:
    there = f"{other.url}/elsewhere"
    recorder.answer = lambda _: web.Response(
        status=308, headers={"Location": there}
    )
    wire = wire_to(recorder.url, client)
    reply = await wire.ask(call())
    assert reply.content == b'{"is": "answered"}'
    ((path, headers, body),) = other.seen
    assert (path, body) == ("/elsewhere", call().body)
    # The key is the first host's only.
    assert not any(KEY in value for value in headers.values())
    await wire.close()


async def test_an_answer_may_be_compressed(recorder: Recorder) -> None:
    def answer(_: web.Request) -> web.Response:
        response = web.json_response({"text": "x" * 1000})
        response.enable_compression()
        return response

    recorder.answer = answer
    wire = wire_to(recorder.url)
    reply = await wire.ask(call())
    assert len(reply.content) > 1000
    await wire.close()


@pytest.mark.parametrize("status", [400, 529, 599])
async def test_a_failure_is_told_whatever_its_status(
    recorder: Recorder, status: int
) -> None:
    recorder.answer = lambda _: web.json_response(
        {"error": f"no, {KEY}"}, status=status
    )
    wire = wire_to(recorder.url)
    with pytest.raises(errors.LLMError, match=rf"{status}: no, \[key\]"):
        await wire.ask(call())
    await wire.close()


async def test_behind_a_proxy_the_library_sends(
    recorder: Recorder, other: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", other.url)
    wire = wire_to(recorder.url)
    await wire.ask(call())
    assert len(other.seen) == 1
    assert not recorder.seen
    await wire.close()


def test_a_proxy_is_used_for_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert not needs_proxy("https://api.openai.com/v1/")
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert not needs_proxy("https://api.openai.com/v1/")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert needs_proxy("https://api.openai.com/v1/")
    monkeypatch.setenv("NO_PROXY", "localhost,.internal")
    assert not needs_proxy("http://localhost:8000/v1")
    assert not needs_proxy("https://vllm.internal/v1")
    assert needs_proxy("https://api.openai.com/v1/")
