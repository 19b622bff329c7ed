"""No variable of the process but the model's key goes to its address."""

import contextlib
from collections.abc import AsyncIterator
from types import ModuleType

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.errors import LLMError
from llm_sdks.wires import anthropic_client, openai_client
from llm_sdks.wires.wire import Call
from tests.support.questions import KEY, ask, question

SECRET = "this-must-not-leave"
# What the vendors' libraries read by themselves.
VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_WEBHOOK_SIGNING_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENAI_API_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "OPENAI_WEBHOOK_SECRET",
    "AZURE_OPENAI_AD_TOKEN",
    "AZURE_OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_CLOUD_PROJECT",
)
NAMES = ("X-Gateway-Token", "authorization", "Api-Key", "x-api-key")
HEADERS = ("ANTHROPIC_CUSTOM_HEADERS", "OPENAI_CUSTOM_HEADERS")


class Stranger:
    """The address of somebody who makes models; notes all that comes."""

    def __init__(self) -> None:
        self.seen = self.url = ""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._note)
        self.server = TestServer(app)

    async def _note(self, request: web.Request) -> web.Response:
        self.seen += f"{request.path_qs} {request.raw_headers!r} "
        self.seen += await request.text()
        return web.json_response({"error": "no"}, status=400)


@pytest.fixture
async def stranger() -> AsyncIterator[Stranger]:
    stranger = Stranger()
    async with stranger.server:
        stranger.url = str(stranger.server.make_url(""))
        yield stranger


@pytest.mark.parametrize(
    "sdk",
    [
        "OpenAI",
        "AzureOpenAI",
        "ChatCompletionsClient",
        "Anthropic",
        "Gemini",
    ],
)
async def test_a_library_sends_no_other_variable(
    sdk: str,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)
    for name in HEADERS:
        monkeypatch.setenv(name, "\n".join(f"{h}: {SECRET}" for h in NAMES))
    with contextlib.suppress(LLMError):
        await ask(sdk, question(stranger, api_version="2024-10-21"))
    assert stranger.seen
    assert SECRET not in stranger.seen
    assert KEY in stranger.seen


@pytest.mark.parametrize("client", [openai_client, anthropic_client])
async def test_the_vendor_itself_gets_what_the_environment_says(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in HEADERS:
        monkeypatch.setenv(name, f"X-Gateway-Token: {SECRET}")
    for endpoint in ("", "https://api.openai.com/v1"):
        config = LLMConfig("m", endpoint=endpoint, api_key=SecretStr(KEY))
        wire = client.connect(config, 1.0)
        sent = await wire._request_of(Call("m", {}, {}, 1.0, 1.0, 1.0))
        assert sent.headers["X-Gateway-Token"] == SECRET
        await wire.close()
