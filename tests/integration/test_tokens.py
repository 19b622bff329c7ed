"""Access tokens: made, used, revoked; never more than their maker."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from api.models.token_models import TokenCreate
from api.services.access.identity import Identity, SignedInBy
from api.services.access.jwt_check import WrongTokenError
from api.services.access.policy_file import load_policy
from api.services.access.tokens import TOKENS, AccessTokens
from tests.support.api_user import ADMIN, ApiUser, Json, unique
from tests.support.identity_provider import (
    AUDIENCE,
    IdentityProvider,
    bearer,
    identity_provider,
)
from tests.support.live_server import live_server, make_settings
from tests.support.store import Store, Time
from utilities.cosmos_connector import Documents

Headers = dict[str, str]


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def api(
    provider: IdentityProvider,
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[httpx2.Client]:
    settings = make_settings(
        tmp_path_factory.mktemp("tokens"),
        oidc_issuer=provider.issuer,
        oidc_audience=AUDIENCE,
        failed_logins_per_minute=0,
    )
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def alice(provider: IdentityProvider) -> Headers:
    token = provider.token(roles=["operator"], clients=["c1", "c2"])
    return bearer(token)


def made(
    api: httpx2.Client, headers: Headers, status: int = 201, **fields: Any
) -> Json:
    body = {"name": unique("token"), **fields}
    answer = api.post("/tokens", headers=headers, json=body)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def me(api: httpx2.Client, token: str) -> Json:
    answer = api.get("/auth/me", headers=bearer(token))
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_a_personal_token_lives(api: httpx2.Client, alice: Headers) -> None:
    token = made(api, alice)
    assert token["token"].startswith("mst_")
    assert token["prefix"] == token["token"][:10]
    found = me(api, token["token"])
    assert (found["by"], found["subject"]) == ("token", "alice")
    assert found["roles"] == ["operator"]
    assert found["clients"] == ["c1", "c2"]
    listed = api.get("/tokens", headers=alice).json()
    (own,) = [e for e in listed if e["tokenId"] == token["tokenId"]]
    assert "token" not in own
    assert "digest" not in own
    assert own["lastUsedAt"] is not None
    path = f"/tokens/{token['tokenId']}"
    assert api.delete(path, headers=alice).status_code == 204
    gone = api.get("/auth/me", headers=bearer(token["token"]))
    assert gone.status_code == 401
    assert api.delete(path, headers=alice).status_code == 404


def test_a_service_with_a_part_of_the_rights(
    api: httpx2.Client, provider: IdentityProvider
) -> None:
    user = ApiUser(api)
    clients = [user.client_id, "c2"]
    maker = bearer(provider.token(roles=["client-admin"], clients=clients))
    token = made(
        api,
        maker,
        name="importer",
        kind="service",
        roles=["client-admin"],
        clients=[user.client_id],
    )["token"]
    found = me(api, token)
    assert (found["by"], found["subject"]) == ("serviceToken", "importer")
    body = {"name": "p", "type": "t", "status": "DRAFT", "prompt": "x"}
    answer = api.post("/prompts", headers=bearer(token), json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["clientId"] == user.client_id
    assert answer.json()["_metadata"]["createdBy"] == "service:importer"
    # A role that the maker's includes.
    viewer = made(api, maker, roles=["viewer"])["token"]
    assert api.get("/jobs", headers=bearer(viewer)).status_code == 200
    answer = api.post("/prompts", headers=bearer(viewer), json=body)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param({"roles": ["admin"]}, id="admin"),
        pytest.param({"roles": ["client-admin"]}, id="more"),
        pytest.param({"roles": ["operator", "nothing"]}, id="unknown"),
        pytest.param({"clients": ["*"]}, id="all-clients"),
        pytest.param({"clients": ["c1", "c3"]}, id="another-client"),
    ],
)
def test_nobody_gives_more_than_they_have(
    api: httpx2.Client, alice: Headers, wanted: dict[str, Any]
) -> None:
    made(api, alice, 403, **wanted)
    # The control: what they have themselves.
    made(api, alice, roles=["viewer"], clients=["c1"])


def test_the_admin_key_makes_tokens_of_services(api: httpx2.Client) -> None:
    token = made(api, ADMIN, roles=["viewer"], clients=["*"])
    assert token["kind"] == "service"
    headers = bearer(token["token"])
    assert api.get("/clients", headers=headers).status_code == 200
    assert api.post("/clients", headers=headers, json={}).status_code == 403
    listed = api.get("/tokens", headers=ADMIN).json()
    assert token["tokenId"] in {each["tokenId"] for each in listed}


def test_an_admin_token_for_one_client_is_for_that_one(
    api: httpx2.Client,
) -> None:
    user, other = ApiUser(api), ApiUser(api)
    theirs = other.prompt()
    token = made(api, ADMIN, roles=["admin"], clients=[user.client_id])
    headers = bearer(token["token"])
    assert api.get("/clients", headers=headers).status_code == 403
    assert api.post("/models", headers=headers, json={}).status_code == 403
    assert api.get("/audit", headers=headers).status_code == 403
    answer = api.get(f"/prompts/{theirs}", headers=headers)
    assert answer.status_code == 404
    more = {**headers, "client_id": other.client_id}
    assert api.get("/prompts", headers=more).status_code == 404


def test_neither_clients_nor_tokens_make_tokens(
    api: httpx2.Client, alice: Headers
) -> None:
    user = ApiUser(api)
    body = {"name": "x"}
    answer = api.post("/tokens", headers=user.headers, json=body)
    assert answer.status_code == 403
    assert "Admin API key" in answer.json()["detail"]
    made(api, bearer(made(api, alice)["token"]), 403)
    assert api.post("/tokens", json=body).status_code == 401


def test_others_neither_see_nor_end_them(
    api: httpx2.Client, alice: Headers, provider: IdentityProvider
) -> None:
    token = made(api, alice)
    bob = bearer(provider.token(sub="bob", roles=["operator"], clients="*"))
    listed = api.get("/tokens", headers=bob).json()
    assert token["tokenId"] not in {each["tokenId"] for each in listed}
    path = f"/tokens/{token['tokenId']}"
    assert api.delete(path, headers=bob).status_code == 404
    assert me(api, token["token"])["subject"] == "alice"


@pytest.mark.parametrize(
    "token", ["mst_", "mst_" + "A" * 43, "mst_" + "x" * 5000, "MST_x"]
)
def test_an_invented_token(api: httpx2.Client, token: str) -> None:
    assert api.get("/jobs", headers=bearer(token)).status_code == 401


class TestStores:
    @pytest.fixture
    def tokens(self, store: Store) -> AccessTokens:
        self.time = Time()
        documents = Documents(store.application.clients, TOKENS, self.time)
        return AccessTokens(documents, load_policy(None), "p", self.time)

    async def test_they_end(self, tokens: AccessTokens) -> None:
        maker = Identity(
            "a",
            "a",
            frozenset({"viewer", "gone"}),
            frozenset({"c"}),
            SignedInBy.SESSION,
        )
        request = TokenCreate(name="t", expires_in_days=1)
        made = await tokens.create(request, maker)
        found = await tokens.find(made.token)
        # A role that the policy has no more gives nothing.
        assert found.roles == {"viewer"}
        assert found.clients == frozenset({"c"})
        stored = await tokens._documents.find_all({})
        assert made.token not in str(stored)
        self.time.now += 24 * 3600 * 1000
        with pytest.raises(WrongTokenError):
            await tokens.find(made.token)
        await tokens.remove_ended()
        assert await tokens._documents.find({}) == []
