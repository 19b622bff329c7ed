"""Sign-in with a browser: what protects it, against a provider of ours.

The control of each attack is `test_somebody_signs_in_and_out`.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from api.services.access.identity import Identity, SignedInBy
from api.services.access.kept import Kept
from api.services.access.sealed import Sealer
from api.services.access.sessions import (
    SESSIONS,
    SessionEndedError,
    Sessions,
    SessionTimes,
)
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.identity_provider import (
    AUDIENCE,
    IdentityProvider,
    Key,
    bearer,
    identity_provider,
)
from tests.support.live_server import LiveServer, live_server, make_settings
from tests.support.store import Store, Time
from tests.support.waiting import eventually
from utilities.cosmos_connector import Documents

PUBLIC = "https://metasync.example/base"
ORIGIN = "https://metasync.example"
CLIENT = "the-web-client"
SECRET = "a secret: with / signs"
LOGIN, SESSION = "__Host-metasync-login", "__Host-metasync-session"
SESSION_KIND = SignedInBy.SESSION
WHO: dict[str, Any] = {"roles": ["operator"], "clients": ["*"]}


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def place(
    provider: IdentityProvider,
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LiveServer]:
    settings = make_settings(
        tmp_path_factory.mktemp("sign-in"),
        oidc_issuer=provider.issuer,
        oidc_audience=AUDIENCE,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        public_url=PUBLIC,
        failed_logins_per_minute=0,
    )
    with live_server(settings, database, {}, run_workers=False) as running:
        yield running


@pytest.fixture(scope="module")
def api(place: LiveServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=place.url, timeout=60) as client:
        yield client


@dataclass
class Browser:
    """A browser that keeps cookies as the service sets them."""

    api: httpx2.Client
    provider: IdentityProvider
    cookies: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    set: list[str] = field(default_factory=list)

    def send(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx2.Response:
        sent = "; ".join(f"{n}={v}" for n, v in self.cookies.items())
        answer = self.api.request(
            method,
            path,
            headers={**({"Cookie": sent} if sent else {}), **headers},
            json=body,
        )
        self.set = answer.headers.get_list("set-cookie")
        for cookie in self.set:
            name, _, rest = cookie.partition("=")
            value = rest.partition(";")[0].strip('"')
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    def login(self, path: str = "/console") -> httpx2.Response:
        """Begin; what the provider is asked for is kept."""
        answer = self.send("GET", f"/auth/login?next={path}")
        assert answer.status_code == 303, answer.text
        query = urlsplit(answer.headers["location"]).query
        self.asked = {k: v[0] for k, v in parse_qs(query).items()}
        return answer

    def id_token(self, key: Key | None = None, **claims: Any) -> str:
        """Have the provider sign what it was asked for."""
        whole = {
            "aud": CLIENT,
            "nonce": self.asked["nonce"],
            "preferred_username": "Alice",
            **WHO,
            **claims,
        }
        return self.provider.token(key, **whole)

    def back(
        self, id_token: str | None = None, **query: str
    ) -> httpx2.Response:
        """Come back from the provider."""
        self.provider.tokens = {"id_token": id_token or self.id_token()}
        params = {"code": "c", "state": self.asked["state"], **query}
        text = "&".join(f"{n}={v}" for n, v in params.items() if v != "-")
        return self.send("GET", f"/auth/callback?{text}")

    def sign_in(self, **claims: Any) -> "Browser":
        self.login()
        answer = self.back(self.id_token(**claims))
        assert answer.status_code == 303, answer.text
        return self

    def me(self) -> Json:
        answer = self.send("GET", "/auth/me")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def csrf(self) -> dict[str, str]:
        return {"X-CSRF-Token": self.me()["csrfToken"], "Origin": ORIGIN}


@pytest.fixture
def browser(api: httpx2.Client, provider: IdentityProvider) -> Browser:
    provider.metadata = {}
    return Browser(api, provider)


def other(browser: Browser) -> Browser:
    return Browser(browser.api, browser.provider)


class TestFlow:
    def test_somebody_signs_in_and_out(self, browser: Browser) -> None:
        answer = browser.login("/jobs?status=PENDING".replace("?", "%3F"))
        location = answer.headers["location"]
        assert location.startswith(
            f"{browser.provider.issuer}/authorize?own=1&"
        )
        asked = browser.asked
        assert asked["response_type"] == "code"
        assert asked["redirect_uri"] == f"{PUBLIC}/auth/callback"
        assert asked["code_challenge_method"] == "S256"
        answer = browser.back()
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == f"{PUBLIC}/jobs?status=PENDING"
        authorization, form = browser.provider.asked[-1]
        challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
        encoded = base64.urlsafe_b64encode(challenge).decode().rstrip("=")
        assert encoded == asked["code_challenge"]
        assert authorization.startswith("Basic ")
        assert LOGIN not in browser.cookies
        me = browser.me()
        assert (me["subject"], me["name"]) == ("alice", "Alice")
        assert (me["roles"], me["clients"]) == (["operator"], None)
        assert me["by"] == "session"
        assert browser.send("GET", "/jobs").status_code == 200
        assert browser.send("POST", "/clients", {}).status_code == 403
        before = dict(browser.cookies)
        answer = browser.send("POST", "/auth/logout", **browser.csrf())
        assert answer.status_code == 200, answer.text
        away = urlsplit(answer.json()["redirect"])
        query = parse_qs(away.query)
        assert away.path == "/end"
        assert query["post_logout_redirect_uri"] == [f"{PUBLIC}/"]
        assert query["id_token_hint"][0].count(".") == 2
        assert SESSION not in browser.cookies
        # The cookie itself is worth nothing any more.
        browser.cookies = before
        assert browser.send("GET", "/jobs").status_code == 401

    def test_cookies_are_out_of_reach(self, browser: Browser) -> None:
        browser.login()
        browser.back()
        for cookie in browser.set:
            parts = {each.strip().lower() for each in cookie.split(";")[1:]}
            assert {"httponly", "secure", "path=/", "samesite=lax"} <= parts
            assert not [each for each in parts if each.startswith("domain")]

    def test_the_store_has_no_secret_of_a_session(
        self, browser: Browser, place: LiveServer
    ) -> None:
        browser.login()
        id_token = browser.id_token()
        browser.back(id_token)

        async def documents() -> str:
            clients = place.application.clients
            found = clients.database()["access_sessions"].find()
            return str(await found.to_list())

        text = asyncio.run(documents())
        assert "alice" in text
        assert browser.cookies[SESSION] not in text
        assert id_token not in text
        assert id_token.split(".")[1] not in text

    def test_it_is_in_the_audit(self, browser: Browser) -> None:
        browser.sign_in(sub="audited")

        def entry() -> Json | None:
            query = {"who": "user:audited"}
            answer = browser.api.get("/audit", headers=ADMIN, params=query)
            return next(iter(answer.json()), None)

        found = eventually(entry, what="the sign-in")
        assert found["action"] == "GET /auth/callback"
        assert found["by"] == "session"


class TestAttacks:
    @pytest.mark.parametrize(
        "claims",
        [
            pytest.param({"nonce": "another"}, id="nonce"),
            pytest.param({"nonce": None}, id="no-nonce"),
            pytest.param({"aud": AUDIENCE}, id="audience"),
            pytest.param({"aud": [CLIENT, "other"]}, id="two-audiences"),
            pytest.param({"azp": "other"}, id="party"),
            pytest.param({"iss": "https://evil.example"}, id="issuer"),
            pytest.param({"exp": 1}, id="expired"),
            pytest.param({"sub": ""}, id="subject"),
        ],
    )
    def test_an_id_token_that_is_not_for_this(
        self, browser: Browser, claims: dict[str, Any]
    ) -> None:
        browser.login()
        answer = browser.back(browser.id_token(**claims))
        assert answer.status_code == 401
        assert SESSION not in browser.cookies

    def test_an_id_token_of_another_key(self, browser: Browser) -> None:
        browser.login()
        answer = browser.back(browser.id_token(Key("first")))
        assert answer.status_code == 401

    @pytest.mark.parametrize(
        "query",
        [
            pytest.param({"state": "another"}, id="state"),
            pytest.param({"state": "-"}, id="no-state"),
            pytest.param({"state": "%C3%A9"}, id="odd-state"),
            pytest.param({"code": "-"}, id="no-code"),
            pytest.param({"iss": "https://evil.example"}, id="mix-up"),
            pytest.param({"error": "access_denied"}, id="refused"),
            pytest.param({"error": "<script>"}, id="script"),
        ],
    )
    def test_an_answer_that_does_not_fit(
        self, browser: Browser, query: dict[str, str]
    ) -> None:
        browser.login()
        answer = browser.back(**query)
        assert answer.status_code == 401
        assert "script" not in answer.text
        assert SESSION not in browser.cookies

    def test_a_provider_may_name_itself(self, browser: Browser) -> None:
        browser.login()
        answer = browser.back(iss=browser.provider.issuer)
        assert answer.status_code == 303

    def test_another_browsers_answer(self, browser: Browser) -> None:
        """Somebody is to be signed in as the attacker, without knowing it."""
        attacker, victim = browser, other(browser)
        attacker.login()
        victim.login()
        victim.asked = attacker.asked
        assert victim.back().status_code == 401
        # Also without any sign-in that was begun.
        victim.cookies.clear()
        assert victim.back().status_code == 401

    @pytest.mark.parametrize(
        "cookie", ["x", "gAAAAA", "", "a" * 5000], ids=range(4)
    )
    def test_a_forged_cookie_of_a_sign_in(
        self, browser: Browser, cookie: str
    ) -> None:
        browser.login()
        browser.cookies[LOGIN] = cookie
        assert browser.back().status_code == 401

    def test_a_planted_session_is_not_taken_on(self, browser: Browser) -> None:
        attacker = other(browser).sign_in(sub="mallory")
        planted = attacker.cookies[SESSION]
        victim = browser
        victim.cookies[SESSION] = planted
        victim.sign_in(sub="victim")
        assert victim.cookies[SESSION] != planted
        assert victim.me()["subject"] == "victim"
        # What was planted has ended altogether.
        assert attacker.send("GET", "/jobs").status_code == 401

    @pytest.mark.parametrize(
        "path",
        [
            "https://evil.example",
            "//evil.example",
            "/%5Cevil.example",
            "%5C%5Cevil.example",
            "javascript:alert(1)",
            "/%09/evil.example",
            "/a%0d%0aSet-Cookie:x=y",
            "console",
            "",
            "/" + "x" * 2000,
        ],
        ids=range(10),
    )
    def test_no_way_leads_elsewhere(self, browser: Browser, path: str) -> None:
        answer = browser.send("GET", f"/auth/login?next={path}")
        assert answer.status_code == 400
        assert not browser.set

    def test_the_address_is_not_the_callers_to_choose(
        self, browser: Browser
    ) -> None:
        headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
        answer = browser.send("GET", "/auth/login", **headers)
        assert "evil" not in answer.headers["location"]

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param({}, id="nothing"),
            pytest.param({"X-CSRF-Token": "x"}, id="wrong"),
            pytest.param({"Origin": ORIGIN}, id="origin-only"),
        ],
    )
    def test_changes_of_other_sites(
        self, browser: Browser, headers: dict[str, str]
    ) -> None:
        browser.sign_in()
        body = {"filter": {"operation": "none"}, "dryRun": True}
        answer = browser.send("POST", "/jobs/cancel", body, **headers)
        assert answer.status_code == 403
        assert "X-CSRF-Token" in answer.json()["detail"]
        answer = browser.send("POST", "/auth/logout", **headers)
        assert answer.status_code == 403
        # The control: the same with the token.
        answer = browser.send("POST", "/jobs/cancel", body, **browser.csrf())
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://metasync.example"]
    )
    def test_another_origin_with_the_token(
        self, browser: Browser, origin: str
    ) -> None:
        browser.sign_in()
        headers = {**browser.csrf(), "Origin": origin}
        answer = browser.send("POST", "/jobs/cancel", {}, **headers)
        assert answer.status_code == 403

    def test_another_sessions_token(self, browser: Browser) -> None:
        mine, theirs = browser.sign_in(), other(browser).sign_in()
        answer = mine.send("POST", "/jobs/cancel", {}, **theirs.csrf())
        assert answer.status_code == 403

    @pytest.mark.parametrize("secret", ["x", "a" * 500, "A" * 43])
    def test_an_invented_session(self, browser: Browser, secret: str) -> None:
        browser.cookies[SESSION] = secret
        assert browser.send("GET", "/jobs").status_code == 401

    def test_a_cookie_is_not_read_beside_a_key_or_a_token(
        self, browser: Browser
    ) -> None:
        browser.sign_in()
        user = ApiUser(browser.api)
        found = browser.send("GET", "/auth/me", **user.headers).json()
        assert (found["by"], found["subject"]) == ("clientKey", user.client_id)
        token = bearer(browser.provider.token(sub="robot", **WHO))
        assert (
            browser.send("GET", "/auth/me", **token).json()["by"] == "bearer"
        )


def test_who_i_am_by_a_key(api: httpx2.Client) -> None:
    assert api.get("/auth/me").status_code == 401
    found = api.get("/auth/me", headers=ADMIN).json()
    assert (found["by"], found["roles"]) == ("adminKey", ["admin"])


def test_without_a_provider_there_is_no_sign_in(http: httpx2.Client) -> None:
    assert http.get("/auth/login").status_code == 404
    assert http.get("/auth/callback?state=x").status_code == 404
    assert http.post("/auth/logout").status_code == 401
    answer = http.post("/auth/logout", headers=ADMIN)
    assert answer.status_code == 404


def test_names_of_cookies_without_tls(
    provider: IdentityProvider, database: str, tmp_path: Any
) -> None:
    settings = make_settings(
        tmp_path,
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT,
        public_url="http://127.0.0.1:1",
    )
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        (cookie,) = client.get("/auth/login").headers.get_list("set-cookie")
        assert re.match(r"metasync-login=.*HttpOnly", cookie)
        assert "secure" not in cookie.lower()


class TestTimes:
    """Sessions on every store, with a clock of the test."""

    @pytest.fixture
    def sessions(self, store: Store) -> Sessions:
        documents = Documents(store.application.clients, SESSIONS)
        times = SessionTimes(longest=10_000, idle=4_000)
        self.time = Time()
        return Sessions(
            documents, times, "pepper", Sealer("pepper"), self.time
        )

    async def begun(self, sessions: Sessions) -> str:
        sessions._kept = Kept(lambda: self.time.now / 1000)
        clients = frozenset({"c1"})
        who = Identity(
            "alice", "Alice", frozenset({"viewer"}), clients, SESSION_KIND
        )
        return await sessions.begin(who, "the id token")

    async def test_they_end_without_use(self, sessions: Sessions) -> None:
        secret = await self.begun(sessions)
        for _ in range(3):
            self.time.now += 2500
            found = await sessions.find(secret)
            assert found.identity.clients == frozenset({"c1"})
        self.time.now += 4000
        with pytest.raises(SessionEndedError):
            await sessions.find(secret)
        await sessions.remove_ended()
        assert await sessions._documents.find_all({}) == []

    async def test_they_end_however_much_they_are_used(
        self, sessions: Sessions
    ) -> None:
        secret = await self.begun(sessions)
        for _ in range(4):
            self.time.now += 2400
            await sessions.find(secret)
        self.time.now += 400
        with pytest.raises(SessionEndedError):
            await sessions.find(secret)

    async def test_signing_out_gives_the_id_token_back(
        self, sessions: Sessions
    ) -> None:
        secret, other = await self.begun(sessions), await self.begun(sessions)
        assert await sessions.end(secret) == "the id token"
        for wrong in (secret, "x" * 43, ""):
            with pytest.raises(SessionEndedError):
                await sessions.end(wrong)
        await sessions.remove_ended()
        assert (await sessions.find(other)).identity.subject == "alice"
