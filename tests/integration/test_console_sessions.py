"""Signing in to the console: what a session may do, and when it ends."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.web import pages
from api.web.sessions import COLLECTION, COOKIE, SESSION_HOURS
from tests.support.api_user import ADMIN, ApiUser, unique
from tests.support.live_server import (
    ADMIN_KEY,
    LiveServer,
    live_server,
    make_settings,
)
from tests.support.waiting import eventually
from utilities.clock import now_ms
from utilities.cosmos_connector import ClientManager, Documents

OTHER_SITES = ("cross-site", "same-site")


class Person:
    """Somebody with a browser, without the browser."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, timeout=30)
        self.csrf: dict[str, str] = {}

    def sign_in(self, key: str, status: int = 200, **headers: str) -> Any:
        answer = self.http.post(
            "/console/session", json={"key": key}, headers=headers
        )
        assert answer.status_code == status, answer.text
        body = answer.json()
        if status == 200:
            self.csrf = {body["csrfHeader"]: body["csrfToken"]}
        return body

    @property
    def cookie(self) -> str:
        return str(self.http.cookies[COOKIE])

    def has(self, cookie: str) -> None:
        """Have this one, and no other."""
        self.http.cookies.clear()
        self.http.cookies.set(COOKIE, cookie, "127.0.0.1", "/")

    def ask(
        self, method: str, path: str, status: int, **extra: Any
    ) -> httpx2.Response:
        extra.setdefault("headers", self.csrf)
        answer = self.http.request(method, path, **extra)
        assert answer.status_code == status, answer.text
        return answer


@pytest.fixture
def person(server: LiveServer) -> Iterator[Person]:
    somebody = Person(server.url)
    yield somebody
    somebody.http.close()


@pytest.fixture
def other(server: LiveServer) -> Iterator[Person]:
    somebody = Person(server.url)
    yield somebody
    somebody.http.close()


def token_of(user: ApiUser) -> str:
    return f"{user.client_id}:{user.key}"


def test_the_admin_key_signs_in(person: Person) -> None:
    made = person.sign_in(ADMIN_KEY)
    assert made["role"] == "admin"
    assert person.ask("GET", "/console/session", 200).json() == made
    person.ask("GET", "/clients", 200)
    name = unique("console")
    new = person.ask("POST", "/clients", 201, json={"name": name}).json()
    assert new["_metadata"]["createdBy"] == "admin"


def test_the_cookie_is_for_this_server_only(person: Person) -> None:
    answer = person.http.post("/console/session", json={"key": ADMIN_KEY})
    cookie = answer.headers["set-cookie"]
    for flag in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert flag in cookie
    assert "Secure" not in cookie
    assert answer.headers["cache-control"] == "no-store"
    safe = person.http.post(
        "/console/session",
        json={"key": ADMIN_KEY},
        headers={"x-forwarded-proto": "https"},
    )
    assert "Secure" in safe.headers["set-cookie"]


def test_a_client_signs_in_and_sees_its_own(
    person: Person, user: ApiUser, server: LiveServer
) -> None:
    with httpx2.Client(base_url=server.url) as http:
        stranger = ApiUser(http)
        hidden = stranger.prompt()
    shown = user.prompt()
    made = person.sign_in(token_of(user))
    assert (made["role"], made["clientId"]) == ("client", user.client_id)
    assert person.ask("GET", f"/prompts/{shown}", 200).json()["promptId"]
    person.ask("GET", f"/prompts/{hidden}", 404)
    person.ask("GET", "/clients", 401)
    # Nobody else's jobs, whatever the filter says.
    found = person.ask("GET", f"/jobs?clientId={stranger.client_id}", 200)
    assert found.json() == []


def test_an_admin_acts_for_a_client(person: Person, user: ApiUser) -> None:
    person.sign_in(ADMIN_KEY)
    body = {"workerId": unique("worker"), "config": {}}
    headers = {**person.csrf, "client-id": user.client_id}
    made = person.ask("POST", "/workers", 201, json=body, headers=headers)
    assert made.json()["clientId"] == user.client_id


@pytest.mark.parametrize(
    "key",
    ["", "wrong", "a:b", ":", "x" * 100_000, f"{ADMIN_KEY}x", "ключ"],
    ids=["none", "wrong", "no-client", "colon", "long", "more", "unicode"],
)
def test_a_wrong_key_signs_nobody_in(person: Person, key: str) -> None:
    told = person.sign_in(key, 401)
    assert told == {"detail": "The key is not valid"}
    assert not person.http.cookies
    person.ask("GET", "/jobs", 401)


def test_wrong_keys_are_limited(database: str, tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "few", failed_logins_per_minute=3)
    with live_server(settings, database, {}, run_workers=False) as few:
        somebody = Person(few.url)
        for _ in range(3):
            somebody.sign_in("wrong", 401)
        somebody.sign_in("wrong", 429)
        # Nor is the right one compared: that would tell that it is right.
        somebody.sign_in(ADMIN_KEY, 429)


def test_changes_need_the_token_of_the_session(
    person: Person, other: Person, user: ApiUser
) -> None:
    person.sign_in(ADMIN_KEY)
    other.sign_in(ADMIN_KEY)
    path = f"/clients/{user.client_id}/toggle"
    for headers in ({}, other.csrf, {"x-csrf-token": ""}):
        person.ask("POST", path, 403, headers=headers)
    for site in OTHER_SITES:
        forged = {**person.csrf, "sec-fetch-site": site}
        person.ask("POST", path, 403, headers=forged)
    # The body is not even read before.
    person.ask("POST", "/clients", 403, json={"x": 1}, headers={})
    assert user.http.get(f"/clients/{user.client_id}", headers=ADMIN).json()[
        "enabled"
    ]
    # Without a session's cookie, its token is worth nothing.
    person.http.cookies.clear()
    person.ask("POST", path, 401)


@pytest.mark.parametrize("site", OTHER_SITES)
def test_other_sites_cannot_sign_in(person: Person, site: str) -> None:
    person.sign_in(ADMIN_KEY, 403, **{"sec-fetch-site": site})
    assert not person.http.cookies


def test_a_key_that_comes_is_what_counts(
    person: Person, user: ApiUser
) -> None:
    person.sign_in(ADMIN_KEY)
    person.ask("GET", "/jobs", 401, headers={"admin_api_key": "wrong"})
    found = person.ask("GET", "/jobs", 200, headers=user.headers)
    assert found.json() == []
    person.ask("GET", "/clients", 401, headers=user.headers)


def test_a_session_that_was_set_before_is_not_taken(
    person: Person, other: Person
) -> None:
    """Session fixation: whoever knows the old cookie knows nothing."""
    other.sign_in(ADMIN_KEY)
    planted = other.cookie
    person.has(planted)
    person.sign_in(ADMIN_KEY)
    assert person.cookie != planted
    other.ask("GET", "/jobs", 401)
    person.has("chosen-by-somebody")
    person.ask("GET", "/jobs", 401)


def test_signing_out_ends_the_session(person: Person) -> None:
    person.sign_in(ADMIN_KEY)
    before = person.cookie
    # Another page cannot sign people out.
    person.ask("DELETE", "/console/session", 403, headers={})
    person.ask("DELETE", "/console/session", 204)
    assert COOKIE not in person.http.cookies
    person.has(before)
    person.ask("GET", "/jobs", 401)
    assert person.ask("GET", "/console/session", 200).json() == {"role": None}


def test_all_sessions_of_a_user_end_at_once(
    person: Person, other: Person, user: ApiUser, server: LiveServer
) -> None:
    stays = Person(server.url)
    stays.sign_in(ADMIN_KEY)
    for each in (person, other):
        each.sign_in(token_of(user))
    person.ask("DELETE", "/console/session?everywhere=true", 204)
    other.ask("GET", "/jobs", 401)
    stays.ask("GET", "/jobs", 200)


def test_a_replaced_key_ends_its_sessions(
    person: Person, user: ApiUser
) -> None:
    person.sign_in(token_of(user))
    person.ask("GET", "/jobs", 200)
    path = f"/clients/{user.client_id}/rotate-key"
    user.key = user.http.post(path, headers=ADMIN).json()["api_key"]
    person.ask("GET", "/jobs", 401)
    shown = user.http.get(f"/clients/{user.client_id}", headers=ADMIN)
    assert shown.json()["keyRotatedAt"]
    person.sign_in(token_of(user))
    person.ask("GET", "/jobs", 200)


def test_a_disabled_client_has_no_session(
    person: Person, user: ApiUser
) -> None:
    person.sign_in(token_of(user))
    user.http.post(f"/clients/{user.client_id}/toggle", headers=ADMIN)
    person.ask("GET", "/jobs", 401)
    person.sign_in(token_of(user), 401)


async def stored(server: LiveServer, address: str) -> list[dict[str, Any]]:
    settings = server.application.settings
    clients = ClientManager(address, settings.db_name, 5)
    found = await Documents(clients, COLLECTION).find({})
    await clients.close()
    return found


async def expire(server: LiveServer, address: str) -> None:
    settings = server.application.settings
    clients = ClientManager(address, settings.db_name, 5)
    past = {"$set": {"expiresAt": now_ms() - 1}}
    await Documents(clients, COLLECTION).patch({}, past)
    await clients.close()


async def test_sessions_expire(fresh: LiveServer, database: str) -> None:
    somebody = Person(fresh.url)
    somebody.sign_in(ADMIN_KEY)
    (kept,) = await stored(fresh, database)
    hours = (kept["expiresAt"] - now_ms()) / 3_600_000
    assert SESSION_HOURS - 1 < hours <= SESSION_HOURS
    # Nothing that is stored can be sent.
    token = somebody.cookie
    assert token not in str(kept)
    assert ADMIN_KEY not in str(kept)
    await expire(fresh, database)
    # What was read a moment ago holds for that long.
    eventually(
        lambda: somebody.http.get("/jobs").status_code == 401,
        what="the end of the session",
    )
    Person(fresh.url).sign_in(ADMIN_KEY)
    (new,) = await stored(fresh, database)
    assert new["_id"] != kept["_id"]


def test_another_admin_key_ends_sessions(
    database: str, tmp_path: Path
) -> None:
    """Negative control: with the same key, the session goes on."""
    settings = make_settings(tmp_path / "one")
    changed = settings.model_copy(
        update={"admin_api_key": type(settings.admin_api_key)("another")}
    )
    cookies = None
    for each, status in ((settings, 200), (settings, 200), (changed, 401)):
        with live_server(each, database, {}, run_workers=False) as running:
            somebody = Person(running.url)
            if cookies is None:
                somebody.sign_in(ADMIN_KEY)
                cookies = somebody.cookie
            somebody.has(cookies)
            somebody.ask("GET", "/jobs", status)


def test_every_file_has_a_strict_policy(http: httpx2.Client) -> None:
    for name in pages._files():
        answer = http.get(f"/console/assets/{name}")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = http.get(
            f"/console/assets/{name}",
            headers={"if-none-match": answer.headers["etag"]},
        )
        assert again.status_code == 304


@pytest.mark.parametrize(
    "name",
    ["../pages.py", "..%2fpages.py", "none.js", "pages", "/etc/passwd"],
)
def test_nothing_else_is_served(http: httpx2.Client, name: str) -> None:
    assert http.get(f"/console/assets/{name}").status_code == 404


def test_nothing_is_loaded_from_elsewhere() -> None:
    for name, file in pages._files().items():
        text = file.content.decode()
        found = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert found <= {"http://www.w3.org/2000/svg"}, name
        # What would make HTML of texts.
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval("):
            assert word not in text, name
        assert " on" + "click=" not in text


def test_the_home_page_leads_to_it(http: httpx2.Client) -> None:
    page = http.get("/", headers={"accept": "text/html"})
    assert 'href="console/"' in page.text
    moved = http.get("/console", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (308, "console/")
