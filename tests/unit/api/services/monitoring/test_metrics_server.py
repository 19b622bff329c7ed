"""The metrics of a process without an API are guarded alike."""

import httpx2
from prometheus_client import CollectorRegistry

from api.core.login_limits import LoginLimits
from api.core.scrape_access import ScrapeAccess
from api.services.monitoring.metrics_server import metrics_server

TOKEN = "the-token"


def test_wrong_tokens_are_answered_429_after_some() -> None:
    access = ScrapeAccess("admin", LoginLimits(3), TOKEN)
    registry = CollectorRegistry()
    with metrics_server("127.0.0.1", 0, registry, access) as port:

        def status(token: str) -> httpx2.Response:
            headers = {"Authorization": f"Bearer {token}"}
            return httpx2.get(f"http://127.0.0.1:{port}/", headers=headers)

        tried = [status("guess").status_code for _ in range(5)]
        assert tried == [401] * 3 + [429] * 2
        refused = status(TOKEN)
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert TOKEN not in refused.text


def test_who_was_right_before_is_let_in() -> None:
    access = ScrapeAccess("admin", LoginLimits(3), TOKEN)
    with metrics_server("127.0.0.1", 0, CollectorRegistry(), access) as port:

        def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            url = f"http://127.0.0.1:{port}/"
            return httpx2.get(url, headers=headers).status_code

        assert status(TOKEN) == 200
        assert [status("guess") for _ in range(5)][-1] == 429
        assert status(TOKEN) == 200
