"""Headers for browsers, on every answer."""

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser
from tests.support.live_server import DOCS_SECRET

DOCS = ("user", DOCS_SECRET)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/", 200),
        ("/jobs", 401),
        ("/nothing", 404),
        ("/v1/models", 401),
        ("/docs", 401),
        ("/metrics", 401),
    ],
)
def test_every_answer_has_them(
    http: httpx2.Client, path: str, status: int
) -> None:
    answer = http.get(path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    # Each once, also where a page has its own.
    names = [name.lower() for name, _ in answer.headers.raw]
    assert len(set(names)) == len(names)
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_docs_may_still_run_their_scripts(
    http: httpx2.Client, path: str
) -> None:
    answer = http.get(path, auth=DOCS)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy == "frame-ancestors 'none'"
    script = http.get("/docs/assets/swagger-ui-bundle.js", auth=DOCS)
    assert "javascript" in script.headers["content-type"]


def test_over_tls_browsers_keep_to_it(http: httpx2.Client) -> None:
    # As a trusted proxy that ends TLS says it.
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    answer = http.get("/health", headers=headers)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_errors_have_them(user: ApiUser) -> None:
    answer = user.http.post("/clients", headers=ADMIN, content=b"{")
    assert answer.status_code == 422
    assert answer.headers["x-frame-options"] == "DENY"
