import re

import httpx2
import pytest

from tests.support.api_user import ADMIN
from tests.support.live_server import DOCS_SECRET

DOCS = ("user", DOCS_SECRET)


def test_health_says_what_it_should(http: httpx2.Client) -> None:
    health = http.get("/health").json()
    assert health["status"] == "healthy"
    assert health["service"] == "metasync-api"
    assert {"timestamp", "version"} <= set(health)
    assert http.get("/health/live").json()["status"] == "alive"
    ready = http.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert ready.json()["checks"]["database"]["status"] == "healthy"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_the_schema_is_shown_to_its_reader_only(
    http: httpx2.Client, path: str
) -> None:
    for wrong in (None, ("user", "x"), ("x", DOCS_SECRET), ("ü", "ü")):
        answer = http.get(path, auth=wrong)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert http.get(path, headers=ADMIN).status_code == 401
    assert http.get(path, auth=DOCS).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_load_nothing_from_elsewhere(
    http: httpx2.Client, path: str
) -> None:
    page = http.get(path, auth=DOCS).text
    sources = [
        part.split('"')[1]
        for marker in ("src=", "href=")
        for part in page.split(marker)[1:]
    ]
    assert sources
    for source in sources:
        assert source.startswith("/docs/assets/"), source
        assert http.get(source, auth=DOCS).status_code == 200
        assert http.get(source).status_code == 401
    unknown = http.get("/docs/assets/../../config.py", auth=DOCS)
    assert unknown.status_code == 404
    assert http.get("/docs/assets/x.js", auth=DOCS).status_code == 404


def test_a_correlation_id_is_taken_or_made(http: httpx2.Client) -> None:
    sent = http.get("/health", headers={"X-Correlation-ID": "abc-1"})
    assert sent.headers["X-Correlation-ID"] == "abc-1"
    made = http.get("/health").headers["X-Correlation-ID"]
    assert len(made) == 36
    hostile = http.get("/health", headers={"X-Correlation-ID": "a b" * 99})
    assert len(hostile.headers["X-Correlation-ID"]) == 36
    for path in ("/jobs", "/nowhere"):
        assert "X-Correlation-ID" in http.get(path).headers


def test_an_unknown_path_is_404(http: httpx2.Client) -> None:
    assert http.get("/nowhere").json() == {"detail": "Not Found"}


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        ("{", "application/json"),
        ("[]", "application/json"),
        ("null", "application/json"),
        ('"text"', "application/json"),
        ("name=x", "application/x-www-form-urlencoded"),
        ("<x/>", "text/xml"),
        (b"\xff\xfe", "application/json"),
        ("", "application/json"),
    ],
)
def test_a_body_that_is_no_json_object_is_422(
    http: httpx2.Client, content: str, content_type: str
) -> None:
    headers = {**ADMIN, "content-type": content_type}
    answer = http.post("/clients", headers=headers, content=content)
    assert answer.status_code in (400, 422)
    assert "detail" in answer.json()


def test_errors_of_the_schema_do_not_repeat_what_was_sent(
    http: httpx2.Client,
) -> None:
    secret = "sk-live-0123456789"
    body = {"name": {"secret": secret}}
    answer = http.post("/clients", headers=ADMIN, json=body)
    assert answer.status_code == 422
    assert secret not in answer.text


def test_a_browser_gets_a_page_that_needs_no_network(
    http: httpx2.Client,
) -> None:
    answer = http.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "Metasync" in answer.text
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert "<script" not in answer.text
    for link in re.findall('href="([^"]+)"', answer.text):
        assert http.get(f"/{link}").status_code in (200, 401), link


def test_a_program_gets_json(http: httpx2.Client) -> None:
    answer = http.get("/")
    assert answer.json()["service"] == "metasync-api"
    assert answer.json()["version"] == http.get("/health").json()["version"]
    for link in answer.json()["links"].values():
        assert http.get(f"/{link}").status_code in (200, 401), link
