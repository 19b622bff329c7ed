"""Sign-in at a certified provider: node-oidc-provider, from npm."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest

from tests.support.identity_provider import AUDIENCE, bearer
from tests.support.live_server import free_port, live_server, make_settings
from tests.support.oidc_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    ROBOT,
    oidc_provider,
    why_not,
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(why_not()), reason=str(why_not())),
]


@pytest.fixture(scope="module", params=["token", "userinfo"])
def place(
    request: pytest.FixtureRequest,
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, str]]:
    """Give the addresses of a service and its provider."""
    port = free_port()
    service = f"http://127.0.0.1:{port}"
    with oidc_provider(service, request.param) as issuer:
        settings = make_settings(
            tmp_path_factory.mktemp("provider"),
            oidc_issuer=issuer,
            oidc_audience=AUDIENCE,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret=CLIENT_SECRET,
            public_url=service,
        )
        with live_server(settings, database, {}, run_workers=False, port=port):
            yield service, issuer


@pytest.fixture
def browser() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=60) as client:
        yield client


def follow(browser: httpx2.Client, answer: httpx2.Response) -> httpx2.Response:
    """Follow redirections as a browser does, but back to the service last."""
    while answer.is_redirect:
        there = urljoin(str(answer.url), answer.headers["location"])
        answer = browser.get(there)
    return answer


def filled(
    browser: httpx2.Client, page: httpx2.Response, **fields: str
) -> httpx2.Response:
    """Send the form of a page."""
    action = re.search(r'<form[^>]* action="([^"]+)"', page.text)
    assert action is not None, page.text
    hidden = re.findall(r'name="(\w+)" value="([^"]*)"', page.text)
    return browser.post(
        urljoin(str(page.url), action[1]), data={**dict(hidden), **fields}
    )


def sign_in(browser: httpx2.Client, service: str, who: str) -> httpx2.Response:
    page = follow(browser, browser.get(f"{service}/auth/login?next=/health"))
    page = follow(browser, filled(browser, page, login=who, password="x"))
    # It asks whether the service may know who this is.
    return follow(browser, filled(browser, page))


def me(browser: httpx2.Client, service: str) -> dict[str, Any]:
    found: dict[str, Any] = browser.get(f"{service}/auth/me").json()
    return found


def test_somebody_signs_in_and_out(
    place: tuple[str, str], browser: httpx2.Client
) -> None:
    service, issuer = place
    page = sign_in(browser, service, "alice")
    assert str(page.url) == f"{service}/health", page.text
    found = me(browser, service)
    assert found["subject"] == "alice"
    assert found["name"] == "ALICE"
    assert (found["roles"], found["clients"]) == (["operator"], None)
    assert browser.get(f"{service}/jobs").status_code == 200
    headers = {"X-CSRF-Token": found["csrfToken"]}
    refused = browser.post(f"{service}/clients", headers=headers, json={})
    assert refused.status_code == 403
    answer = browser.post(f"{service}/auth/logout", headers=headers)
    assert browser.get(f"{service}/jobs").status_code == 401
    page = browser.get(answer.json()["redirect"])
    assert str(page.url).startswith(issuer)
    page = filled(browser, page, logout="yes")
    assert page.headers["location"] == f"{service}/"
    # At the provider, too: it asks again who this is.
    page = follow(browser, browser.get(f"{service}/auth/login"))
    assert 'name="login"' in page.text


def test_roles_come_from_the_provider(
    place: tuple[str, str], browser: httpx2.Client
) -> None:
    service, _ = place
    sign_in(browser, service, "nobody")
    assert me(browser, service)["roles"] == []
    assert browser.get(f"{service}/jobs").status_code == 403


def test_an_administrator(
    place: tuple[str, str], browser: httpx2.Client
) -> None:
    service, _ = place
    sign_in(browser, service, "boss")
    found = me(browser, service)
    headers = {"X-CSRF-Token": found["csrfToken"]}
    body = {"name": "made by a person"}
    made = browser.post(f"{service}/clients", headers=headers, json=body)
    assert made.status_code == 201, made.text
    assert made.json()["_metadata"]["createdBy"] == "user:boss"


def test_somebody_refuses_at_the_provider(
    place: tuple[str, str], browser: httpx2.Client
) -> None:
    service, _ = place
    page = follow(browser, browser.get(f"{service}/auth/login"))
    cancel = re.search(r'href="([^"]*abort[^"]*)"', page.text)
    assert cancel is not None, page.text
    page = follow(browser, browser.get(urljoin(str(page.url), cancel[1])))
    assert page.status_code == 401
    assert str(page.url).startswith(f"{service}/auth/callback?error=")


def test_a_code_works_once(
    place: tuple[str, str], browser: httpx2.Client
) -> None:
    service, _ = place
    answer = browser.get(f"{service}/auth/login")
    cookies = dict(browser.cookies)
    page = follow(browser, answer)
    answer = filled(browser, page, login="alice", password="x")
    page = follow(browser, answer)
    answer = filled(browser, page)
    while "/auth/callback" not in answer.headers["location"]:
        there = urljoin(str(answer.url), answer.headers["location"])
        answer = browser.get(there)
    callback = answer.headers["location"]
    assert browser.get(callback).status_code == 303
    # Again, with the cookie of the sign-in as it was.
    login = {"metasync-login": cookies["metasync-login"]}
    again = httpx2.get(callback, cookies=login)
    assert again.status_code == 401


def test_a_service_with_a_token_of_the_provider(
    place: tuple[str, str], browser: httpx2.Client
) -> None:
    service, issuer = place
    form = {
        "grant_type": "client_credentials",
        "resource": "urn:metasync",
        "scope": "api",
    }
    answer = browser.post(f"{issuer}/token", data=form, auth=ROBOT)
    token = answer.json()["access_token"]
    jobs = browser.get(f"{service}/jobs", headers=bearer(token))
    assert jobs.status_code == 200, jobs.text
    body = {"filter": {"operation": "none"}}
    refused = browser.post(
        f"{service}/jobs/cancel", headers=bearer(token), json=body
    )
    assert refused.status_code == 403
