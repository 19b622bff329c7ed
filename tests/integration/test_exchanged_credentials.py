"""Models whose key is a credential that is exchanged for tokens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.support.api_user import ApiUser
from tests.support.echo_provider import EchoProvider
from tests.support.fake_provider import completion
from tests.support.gateway_user import GatewayUser
from tests.support.live_server import live_server, make_settings
from tests.support.waiting import eventually

HIDDEN = "client-secret-to-hide"
OWN_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")


class Provider:
    """A provider, and the endpoint that gives tokens for it."""

    def __init__(self, echo: EchoProvider) -> None:
        self.echo = echo
        self.exchanges = 0
        self.refuses = False
        self.life = 3600.0
        echo.handler = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/token":
            return completion('{"ok": true}')
        self.exchanges += 1
        if self.refuses:
            return web.json_response({"error": "invalid_client"}, status=401)
        return web.json_response(
            {
                "access_token": f"token-{self.exchanges}",
                "expires_in": self.life,
            }
        )

    def calls(self) -> list[Any]:
        return [each for each in self.echo.seen if each.target != "/token"]


@pytest.fixture
def provider(echo: EchoProvider) -> Provider:
    return Provider(echo)


@pytest.fixture
def user(
    database: str, tmp_path: Path, provider: Provider
) -> Iterator[ApiUser]:
    credential = {
        "clientId": "me",
        "clientSecret": HIDDEN,
        "tokenUrl": f"{provider.echo.url}/token",
        "agent": "mine/7",
    }
    settings = make_settings(tmp_path / "data", suspended_trial_seconds=1)
    keys = {"PROVIDER_CREDENTIAL": json.dumps(credential)}
    with (
        live_server(settings, database, keys) as running,
        httpx2.Client(base_url=running.url, timeout=60) as http,
    ):
        user = ApiUser(http)
        yield user
        user.stop_workers()


def model(user: ApiUser, provider: Provider, sdk: str = "OpenAI") -> str:
    return user.model(
        sdk=sdk,
        endpoint=f"{provider.echo.url}/v1",
        apiVersion="2024-10-21" if sdk == "AzureOpenAI" else "",
        key="PROVIDER-CREDENTIAL",
        deployment="theirs",
    )


def test_many_calls_share_one_token(user: ApiUser, provider: Provider) -> None:
    body = user.job_body(model(user, provider), user.prompt())
    made = user.post("/jobs/batch", {"jobs": [body] * 40})
    user.worker(maxConcurrency=40)
    for job in made:
        ended = user.ended(job["jobId"])
        assert ended["status"] == "PROCESSED"
        assert HIDDEN not in json.dumps(ended)
    assert provider.exchanges == 1
    seen = {
        (each.all("authorization")[0], each.all("user-agent")[0])
        for each in provider.calls()
    }
    assert seen == {("Bearer token-1", "mine/7")}


@pytest.mark.parametrize(
    "sdk", ["OpenAI", "AzureOpenAI", "Anthropic", "Gemini"]
)
def test_every_provider_gets_the_token_and_nothing_else(
    user: ApiUser, provider: Provider, sdk: str
) -> None:
    user.worker()
    job = user.job(model(user, provider, sdk), user.prompt())
    call = eventually(provider.calls)[0]
    assert call.all("authorization") == ["Bearer token-1"]
    for name in OWN_HEADERS:
        assert not call.all(name)
    assert HIDDEN not in str(call.headers)
    user.ended(job["jobId"])


def test_tokens_of_a_short_life_are_renewed(
    user: ApiUser, provider: Provider
) -> None:
    provider.life = 1
    user.worker(maxConcurrency=1)
    name, prompt = model(user, provider), user.prompt()

    def renewed() -> bool:
        user.ended(user.job(name, prompt)["jobId"])
        return provider.exchanges > 2

    eventually(renewed)
    used = {each.all("authorization")[0] for each in provider.calls()}
    assert len(used) > 2


def test_a_credential_that_is_refused_suspends_its_model(
    user: ApiUser, provider: Provider
) -> None:
    provider.refuses = True
    name = model(user, provider)
    user.worker()
    job = user.job(name, user.prompt())

    def suspended() -> Any:
        models = user.get("/models", limit=1000)
        return next(x for x in models if x["name"] == name)["suspended"]

    eventually(suspended)
    assert not provider.calls()

    def waits() -> bool:
        found = user.get(f"/jobs/{job['jobId']}")
        reason = found.get("waitingFor") or {}
        return bool(reason.get("kind") == "SUSPENDED")

    eventually(waits)
    provider.refuses = False
    assert user.ended(job["jobId"])["status"] == "PROCESSED"


def test_the_gateway_translates_for_it(
    user: ApiUser, provider: Provider
) -> None:
    name = model(user, provider)
    with GatewayUser(user.http).anthropic() as client:
        answer = client.messages.create(
            model=name,
            max_tokens=10,
            messages=[{"role": "user", "content": "Hello"}],
        )
    assert answer.content[0].type == "text"
    assert provider.calls()[0].all("authorization") == ["Bearer token-1"]


def test_a_credential_in_a_list_of_keys_takes_its_turn(
    user: ApiUser, provider: Provider
) -> None:
    name = user.model(
        sdk="OpenAI",
        endpoint=f"{provider.echo.url}/v1",
        keys=["PROVIDER-UNSET", "PROVIDER-CREDENTIAL"],
    )
    user.worker(maxConcurrency=1)
    prompt = user.prompt()
    for _ in range(3):
        done = user.ended(user.job(name, prompt)["jobId"])
        assert done["status"] == "PROCESSED"
    assert provider.exchanges == 1
