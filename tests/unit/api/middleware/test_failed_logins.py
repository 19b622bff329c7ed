import asyncio

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.middleware import failed_logins
from api.middleware.failed_logins import LINES_A_SECOND, FailedLoginsMiddleware
from api.services.monitoring.observer import Observer
from tests.support.samples import logged

SCOPE = {
    "type": "http",
    "client": ("192.0.2.7", 1),
    "headers": [(b"admin_api_key", b"the-key")],
}


class Counting(Observer):
    failed = 0

    def login_failed(self) -> None:
        self.failed += 1


class Calls:
    """An application that answers one status, behind the middleware."""

    def __init__(self, status: int) -> None:
        self.observer = Counting()
        self.now = 100.0
        self._status = status
        self._middleware = FailedLoginsMiddleware(
            self._answer, self.observer, lambda: self.now
        )

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        await Response(status_code=self._status)(scope, receive, send)

    def make(self, count: int) -> None:
        async def ignore(_: Message) -> None:
            pass

        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        for _ in range(count):
            asyncio.run(self._middleware(SCOPE, nothing, ignore))


def test_a_failed_login_is_logged_with_the_address_and_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = logged(monkeypatch, failed_logins)
    calls = Calls(401)
    calls.make(1)
    (line,) = lines
    assert line["event"] == "login_failed"
    assert line["address"] == "192.0.2.7"
    assert "the-key" not in str(line)
    assert calls.observer.failed == 1


def test_all_are_counted_and_some_are_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = logged(monkeypatch, failed_logins)
    calls = Calls(401)
    calls.make(100)
    assert len(lines) == LINES_A_SECOND
    assert calls.observer.failed == 100
    calls.now += 1
    calls.make(1)
    assert lines[-1]["notLogged"] == 100 - LINES_A_SECOND


def test_other_answers_are_no_failed_logins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = logged(monkeypatch, failed_logins)
    calls = Calls(404)
    calls.make(3)
    assert lines == []
    assert calls.observer.failed == 0
