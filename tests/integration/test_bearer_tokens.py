"""JWTs of an identity provider: who is let in, and who is not.

The control of each attack is `test_a_right_token_is_taken`: the same token
without what is wrong with it.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from jwt.algorithms import RSAAlgorithm

from api.services.access import provider_keys
from tests.support.api_user import ADMIN, ApiUser
from tests.support.identity_provider import (
    AUDIENCE,
    IdentityProvider,
    Key,
    bearer,
    identity_provider,
)
from tests.support.live_server import live_server, make_settings

VIEWER: dict[str, Any] = {"roles": ["viewer"], "clients": ["*"]}


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
        tmp_path_factory.mktemp("bearer"),
        oidc_issuer=provider.issuer,
        oidc_audience=AUDIENCE,
        failed_logins_per_minute=0,
    )
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def user(api: httpx2.Client) -> ApiUser:
    return ApiUser(api)


@pytest.fixture(scope="module")
def other(api: httpx2.Client) -> ApiUser:
    return ApiUser(api)


def status(api: httpx2.Client, token: str, path: str = "/jobs") -> int:
    return api.get(path, headers=bearer(token)).status_code


def part(content: object) -> str:
    raw = json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def now() -> int:
    return int(time.time())


class TestAttacks:
    def test_a_right_token_is_taken(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        assert status(api, provider.token(**VIEWER)) == 200
        assert api.get("/jobs").status_code == 401

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param({"aud": "another"}, id="audience"),
            pytest.param({"aud": ["another", "third"]}, id="audiences"),
            pytest.param({"aud": None}, id="no-audience"),
            pytest.param({"iss": "https://evil.example"}, id="issuer"),
            pytest.param({"iss": None}, id="no-issuer"),
            pytest.param({"iss": ["x"]}, id="issuer-list"),
            pytest.param({"exp": now() - 3600}, id="expired"),
            pytest.param({"exp": None}, id="no-expiry"),
            pytest.param({"exp": "never"}, id="expiry-text"),
            pytest.param({"nbf": now() + 3600}, id="not-yet"),
            pytest.param({"iat": now() + 3600}, id="from-the-future"),
            pytest.param({"sub": None}, id="no-subject"),
            pytest.param({"sub": ""}, id="empty-subject"),
            pytest.param({"sub": "x" * 300}, id="long-subject"),
            pytest.param({"sub": "a\nb"}, id="line-break"),
            pytest.param({"sub": {"$gt": ""}}, id="subject-object"),
        ],
    )
    def test_another_claim(
        self,
        api: httpx2.Client,
        provider: IdentityProvider,
        wrong: dict[str, Any],
    ) -> None:
        assert status(api, provider.token(**VIEWER, **wrong)) == 401

    def test_another_key_of_the_same_name(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        assert status(api, provider.token(Key("first"), **VIEWER)) == 401

    @pytest.mark.parametrize(
        "alg", ["none", "None", "NONE", "", "HS256", "RS1", None, 7, ["RS256"]]
    )
    def test_an_algorithm_that_is_not_allowed(
        self, api: httpx2.Client, provider: IdentityProvider, alg: Any
    ) -> None:
        _, claims, signature = provider.token(**VIEWER).split(".")
        header = part({"alg": alg, "kid": "first", "typ": "JWT"})
        assert status(api, f"{header}.{claims}.{signature}") == 401
        assert status(api, f"{header}.{claims}.") == 401

    def test_the_public_key_as_a_secret(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        pem = provider.key.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        claims = provider.token(**VIEWER).split(".")[1]
        text = f"{part({'alg': 'HS256', 'kid': 'first'})}.{claims}"
        made = hmac.new(pem, text.encode(), hashlib.sha256).digest()
        signature = base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        assert status(api, f"{text}.{signature}") == 401

    @pytest.mark.parametrize(
        "key_id",
        [
            "../../../dev/null",
            "first' OR '1'='1",
            "http://evil.example/jwks",
            "x" * 5000,
            "",
            ["first"],
            {"$ne": ""},
            7,
        ],
    )
    def test_an_invented_name_of_a_key(
        self, api: httpx2.Client, provider: IdentityProvider, key_id: Any
    ) -> None:
        _, claims, signature = provider.token(**VIEWER).split(".")
        header = part({"alg": "RS256", "kid": key_id})
        assert status(api, f"{header}.{claims}.{signature}") == 401

    @pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
    def test_a_key_that_the_token_brings(
        self, api: httpx2.Client, provider: IdentityProvider, name: str
    ) -> None:
        evil = Key("evil")
        brought = evil.public() if name == "jwk" else "http://evil.example/k"
        token = provider.token(evil, **VIEWER)
        claims = token.split(".")[1]
        header = part({"alg": "RS256", name: brought})
        made = evil_signature(evil, f"{header}.{claims}")
        assert status(api, f"{header}.{claims}.{made}") == 401

    def test_a_header_that_must_be_understood(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        claims = provider.token(**VIEWER).split(".")[1]
        header = part({"alg": "RS256", "kid": "first", "crit": ["exp"]})
        made = evil_signature(provider.key, f"{header}.{claims}")
        assert status(api, f"{header}.{claims}.{made}") == 401

    @pytest.mark.parametrize(
        "token",
        [
            "x",
            "a.b",
            "a.b.c",
            "....",
            "é.é.é",
            "A" * 20_000,
            "mst_nothing",
            part([]) + ".e30.",
        ],
    )
    def test_what_is_no_token(self, api: httpx2.Client, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}".encode()}
        answer = api.get("/jobs", headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert token not in answer.text or len(token) < 5

    def test_a_huge_token_that_is_signed(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        assert status(api, provider.token(pad="x" * 20_000, **VIEWER)) == 401

    def test_deep_nesting(self, api: httpx2.Client) -> None:
        deep = base64.urlsafe_b64encode(b"[" * 8000).decode().rstrip("=")
        assert status(api, f"{deep}.{deep}.x") == 401

    def test_two_tokens(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        sent = [
            ("Authorization", f"Bearer {provider.token(**VIEWER)}"),
            ("Authorization", "Bearer other"),
        ]
        assert api.get("/jobs", headers=sent).status_code == 401

    def test_expiry_has_the_leeway_and_no_more(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        assert status(api, provider.token(exp=now() - 20, **VIEWER)) == 200
        assert status(api, provider.token(exp=now() - 80, **VIEWER)) == 401


def evil_signature(key: Key, text: str) -> str:
    made = RSAAlgorithm(RSAAlgorithm.SHA256).sign(text.encode(), key.private)
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


class TestKeys:
    def test_with_a_key_nothing_else_counts(
        self, api: httpx2.Client, user: ApiUser
    ) -> None:
        for headers in (user.headers, ADMIN):
            sent = {**headers, **bearer("nonsense")}
            assert api.get("/jobs", headers=sent).status_code == 200

    def test_a_wrong_key_is_not_helped_by_a_token(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        sent = bearer(provider.token(**VIEWER), admin_api_key="wrong")
        assert api.get("/jobs", headers=sent).status_code == 401


class TestRoles:
    @pytest.mark.parametrize(
        ("role", "method", "path", "expected"),
        [
            ("viewer", "GET", "/jobs", 200),
            ("viewer", "GET", "/clients", 200),
            ("viewer", "POST", "/jobs/cancel", 403),
            ("viewer", "POST", "/clients", 403),
            ("operator", "POST", "/jobs/cancel", 422),
            ("operator", "PATCH", "/jobs/batch", 403),
            ("operator", "POST", "/jobs", 403),
            ("client-admin", "POST", "/prompts", 422),
            ("client-admin", "POST", "/models", 403),
            ("client-admin", "POST", "/clients", 403),
            ("admin", "POST", "/clients", 422),
            ("admin", "POST", "/models", 422),
            ("unknown", "GET", "/jobs", 403),
            ("", "GET", "/jobs", 403),
        ],
    )
    def test_paths(
        self,
        api: httpx2.Client,
        provider: IdentityProvider,
        role: str,
        method: str,
        path: str,
        expected: int,
    ) -> None:
        token = provider.token(roles=[role], clients=["*"])
        body: Any = {} if method != "GET" else None
        answer = api.request(method, path, headers=bearer(token), json=body)
        assert answer.status_code == expected, answer.text

    @pytest.mark.parametrize(
        "path",
        ["//clients", "/clients/", "/jobs/..%2fclients", "/jobs/../clients"],
    )
    def test_no_spelling_of_a_path_gives_more(
        self, api: httpx2.Client, provider: IdentityProvider, path: str
    ) -> None:
        token = provider.token(**VIEWER)
        answer = api.post(path, headers=bearer(token), json={"name": "x"})
        assert answer.status_code in {307, 403, 404, 405}

    def test_a_scope_shows_its_clients_only(
        self,
        api: httpx2.Client,
        provider: IdentityProvider,
        user: ApiUser,
        other: ApiUser,
    ) -> None:
        mine, theirs = user.prompt(), other.prompt()
        scoped = provider.token(
            roles=["client-admin"], clients=[user.client_id]
        )
        headers = bearer(scoped)

        def listed(**more: str) -> set[str]:
            found = api.get("/prompts", headers={**headers, **more}).json()
            return {each["promptId"] for each in found}

        assert mine in listed()
        assert theirs not in listed()
        path = f"/prompts/{theirs}"
        assert api.get(path, headers=headers).status_code == 404
        assert api.delete(path, headers=headers).status_code == 404
        named = bearer(scoped, client_id=other.client_id)
        assert api.get("/prompts", headers=named).status_code == 404
        # What it makes belongs to the only client that it has.
        body = {
            "name": "p",
            "type": "t",
            "status": "DRAFT",
            "prompt": "x",
            "isPublic": False,
        }
        made = api.post("/prompts", headers=headers, json=body).json()
        assert made["clientId"] == user.client_id
        assert made["_metadata"]["createdBy"] == "user:alice"
        body["isPublic"] = True
        refused = api.post("/prompts", headers=headers, json=body)
        assert refused.status_code == 403

    def test_of_several_clients_one_is_named(
        self,
        api: httpx2.Client,
        provider: IdentityProvider,
        user: ApiUser,
        other: ApiUser,
    ) -> None:
        both = [user.client_id, other.client_id]
        scoped = provider.token(roles=["client-admin"], clients=both)
        prompts = {user.prompt(), other.prompt()}
        found = api.get("/prompts", headers=bearer(scoped)).json()
        assert prompts <= {each["promptId"] for each in found}
        hook = {"url": "https://example.com/hook", "events": ["job.processed"]}
        answer = api.post("/webhooks", headers=bearer(scoped), json=hook)
        # It would get the events of all clients.
        assert answer.status_code == 400, answer.text
        body = {"name": "p", "type": "t", "status": "DRAFT", "prompt": "x"}
        answer = api.post("/prompts", headers=bearer(scoped), json=body)
        assert answer.status_code == 400, answer.text
        one = bearer(scoped, client_id=other.client_id)
        answer = api.post("/prompts", headers=one, json=body)
        assert answer.json()["clientId"] == other.client_id

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/jobs", []),
            ("/prompts", []),
            ("/workers", []),
            ("/runs", []),
            ("/webhooks", []),
            ("/stream", []),
            ("/datasets", []),
            ("/evaluations", []),
        ],
    )
    def test_without_clients_lists_are_empty(
        self,
        api: httpx2.Client,
        provider: IdentityProvider,
        user: ApiUser,
        path: str,
        expected: list[Any],
    ) -> None:
        user.prompt()
        token = provider.token(roles=["viewer"])
        answer = api.get(path, headers=bearer(token))
        assert answer.status_code == 200, answer.text
        # Public prompts of other tests are everybody's.
        found = [each for each in answer.json() if not each.get("isPublic")]
        assert found == expected
        summary = api.get("/jobs/summary", headers=bearer(token))
        assert summary.json()["total"] == 0

    @pytest.mark.parametrize(
        ("method", "path", "expected"),
        [
            ("GET", "/clients", 403),
            ("GET", "/clients/{own}", 200),
            ("GET", "/clients/{other}", 403),
            ("POST", "/clients/{own}/rotate-key", 200),
            ("POST", "/clients/{other}/rotate-key", 403),
            ("PATCH", "/clients/{own}", 403),
            ("DELETE", "/clients/{own}", 403),
            ("GET", "/workers/overview", 403),
        ],
    )
    def test_what_is_for_all_clients(
        self,
        api: httpx2.Client,
        provider: IdentityProvider,
        other: ApiUser,
        method: str,
        path: str,
        expected: int,
    ) -> None:
        own = ApiUser(api).client_id
        token = provider.token(roles=["client-admin"], clients=[own])
        answer = api.request(
            method,
            path.format(own=own, other=other.client_id),
            headers=bearer(token),
            json={} if method == "PATCH" else None,
        )
        assert answer.status_code == expected, answer.text

    def test_an_admin_of_one_client_is_none_of_all(
        self, api: httpx2.Client, provider: IdentityProvider
    ) -> None:
        # The built-in role opens all clients; a claim does not narrow it.
        token = provider.token(roles=["admin"])
        assert status(api, token, "/clients") == 200


class TestProvider:
    @pytest.fixture
    def moving(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[float], None]:
        """Move the clock by which keys are fetched."""

        def set_pause(seconds: float) -> None:
            monkeypatch.setattr(provider_keys, "FETCH_SECONDS", seconds)

        return set_pause

    def test_a_new_key_is_learnt_and_floods_fetch_nothing(
        self,
        api: httpx2.Client,
        provider: IdentityProvider,
        moving: Callable[[float], None],
    ) -> None:
        status(api, provider.token(**VIEWER))
        new = Key("second", "ES256")
        provider.keys.append(new.public())
        moving(0)
        assert status(api, provider.token(new, **VIEWER)) == 200
        moving(3600)
        before = provider.fetches
        for number in range(20):
            wrong = provider.token(Key(f"k{number}", "EdDSA"), **VIEWER)
            assert status(api, wrong) == 401
        assert provider.fetches == before
