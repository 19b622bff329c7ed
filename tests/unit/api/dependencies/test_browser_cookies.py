"""Which requests of a browser are known to come from our own pages."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from api.core.errors import ForbiddenError
from api.dependencies.browser_cookies import Cookies
from api.services.access.sealed import Sealer
from api.services.access.sessions import Sessions, SessionTimes
from utilities.cosmos_connector import Documents
from utilities.store.in_memory import InMemoryClientManager

ORIGIN = "https://m.example"
COOKIES = Cookies(f"{ORIGIN}/base")
SESSIONS = Sessions(
    Documents(InMemoryClientManager(), "sessions"),
    SessionTimes(1000, 1000),
    "pepper",
    Sealer("pepper"),
)
TOKEN = SESSIONS.csrf_token("the secret")


def connection(kind: str, **headers: str) -> HTTPConnection:
    raw = [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in headers.items()
    ]
    scope: dict[str, Any] = {"type": kind, "headers": raw, "method": "POST"}
    return HTTPConnection(scope)


def check(kind: str, **headers: str) -> None:
    COOKIES.check_site(connection(kind, **headers), SESSIONS, "the secret")


@pytest.mark.parametrize(
    "send",
    [
        lambda: check("websocket", origin=ORIGIN),
        lambda: check("websocket", origin="https://M.example"),
        lambda: check("http", x_csrf_token=TOKEN),
        lambda: check("http", x_csrf_token=TOKEN, origin=ORIGIN),
    ],
    ids=range(4),
)
def test_our_own_pages(send: Callable[[], None]) -> None:
    send()


@pytest.mark.parametrize(
    "send",
    [
        lambda: check("websocket"),
        lambda: check("websocket", origin="https://evil.example"),
        lambda: check("websocket", origin="https://m.example.evil"),
        lambda: check("websocket", origin="null"),
        lambda: check("websocket", x_csrf_token=TOKEN),
        lambda: check("http"),
        lambda: check("http", origin=ORIGIN),
        lambda: check("http", x_csrf_token=TOKEN, origin="http://m.example"),
        lambda: check("http", x_csrf_token=TOKEN[:-1]),
    ],
    ids=range(9),
)
def test_pages_of_others(send: Callable[[], None]) -> None:
    with pytest.raises(ForbiddenError):
        send()


def test_the_names_say_what_browsers_may_take() -> None:
    assert COOKIES.session.startswith("__Host-")
    assert not Cookies("http://m.example").session.startswith("__Host-")
