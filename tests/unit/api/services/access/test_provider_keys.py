"""How often a provider is asked, and what of its answers is used."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from api.services.access.provider_keys import (
    FETCH_SECONDS,
    FRESH_SECONDS,
    STALE_SECONDS,
    ProviderKeys,
    ProviderUnavailableError,
    read_keys,
)
from tests.support.identity_provider import Key

ISSUER = "https://id.example"
RSA_KEY, EC_KEY = Key("rsa"), Key("ec", "ES256")


class World:
    """A provider without sockets, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[str] = []
        self.metadata: Any = {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/keys",
        }
        self.keys: Any = {"keys": [RSA_KEY.public()]}
        self.status = 200
        self.kept = ProviderKeys(ISSUER, self._http, clock=lambda: self.now)

    def _http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path)
        found = self.keys if request.url.path == "/keys" else self.metadata
        content = found if isinstance(found, bytes) else json.dumps(found)
        return httpx2.Response(self.status, content=content)

    async def names(self, key_id: str | None) -> list[str | None]:
        return [key.key_id for key in await self.kept.find(key_id)]


@pytest.fixture
def world() -> World:
    return World()


async def test_keys_are_kept_and_fetched_again(world: World) -> None:
    assert await world.names("rsa") == ["rsa"]
    assert await world.names(None) == ["rsa"]
    assert len(world.asked) == 2
    # Revoked: it is not found any more when the keys are old.
    world.keys = {"keys": [EC_KEY.public()]}
    world.now += FRESH_SECONDS
    assert await world.names("rsa") == []
    assert await world.names("ec") == ["ec"]


async def test_invented_names_ask_the_provider_seldom(world: World) -> None:
    await world.names("rsa")
    for number in range(1000):
        world.now += 0.02
        assert await world.names(f"k{number}") == []
    # For 20 seconds: at most once in ten, two questions each.
    assert len(world.asked) <= 2 + 2 * (20 / FETCH_SECONDS)


async def test_a_provider_that_is_away(world: World) -> None:
    await world.names("rsa")
    world.status = 500
    world.now += FRESH_SECONDS
    assert await world.names("rsa") == ["rsa"]
    world.now += STALE_SECONDS
    with pytest.raises(ProviderUnavailableError):
        await world.names("rsa")
    world.status = 200
    world.now += FETCH_SECONDS
    assert await world.names("rsa") == ["rsa"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"issuer": "https://other.example"}, id="issuer"),
        pytest.param({"issuer": ISSUER + "/"}, id="slash"),
        pytest.param({"jwks_uri": "http://id.example/keys"}, id="http"),
        pytest.param({"jwks_uri": "file:///etc/passwd"}, id="file"),
        pytest.param({"jwks_uri": ["x"]}, id="list"),
        pytest.param({"jwks_uri": None}, id="none"),
        pytest.param({"token_endpoint": "javascript:1"}, id="endpoint"),
    ],
)
async def test_metadata_that_is_not_believed(
    world: World, change: dict[str, Any]
) -> None:
    world.metadata |= change
    with pytest.raises(ProviderUnavailableError):
        await world.names("rsa")


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(b"x", id="no-json"),
        pytest.param([], id="list"),
        pytest.param({"keys": {}}, id="object"),
        pytest.param(b'{"keys": [' + b" " * 600_000 + b"]}", id="large"),
    ],
)
async def test_answers_that_are_no_keys(world: World, keys: Any) -> None:
    world.keys = keys
    with pytest.raises(ProviderUnavailableError):
        await world.names("rsa")


def _changed(**change: Any) -> Callable[[], Any]:
    return lambda: {**RSA_KEY.public(), **change}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: {"kty": "oct", "k": "c2VjcmV0"}, id="secret"),
        pytest.param(lambda: "text", id="text"),
        pytest.param(_changed(use="enc"), id="encryption"),
        pytest.param(_changed(kid=7), id="number"),
        pytest.param(_changed(kid="x" * 300), id="long"),
        pytest.param(_changed(n="AQAB"), id="short-modulus"),
        pytest.param(_changed(n=7), id="no-modulus"),
        pytest.param(_changed(alg="HS256"), id="hmac"),
        pytest.param(_changed(alg="none"), id="none"),
    ],
)
def test_keys_that_are_left_out(make: Callable[[], Any]) -> None:
    good = RSA_KEY.public()
    found = read_keys({"keys": [make(), good]})
    assert [key.key_id for key in found] == ["rsa"]
    assert len(read_keys({"keys": [good, good]})) == 2
