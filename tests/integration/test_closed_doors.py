"""Wrong keys are slowed, right ones work, and changed ones end soon."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, unique
from tests.support.live_server import (
    DOCS_SECRET,
    LiveServer,
    live_server,
    make_settings,
)
from tests.support.processes import service_process
from tests.support.waiting import eventually

WRONG = "0" * 64
LIMIT = 6
TOKEN = "the-metrics-token"
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def guarded(database: str, tmp_path: Path) -> Iterator[LiveServer]:
    settings = make_settings(
        tmp_path / "guarded",
        failed_logins_per_minute=LIMIT,
        metrics_token=TOKEN,
    )
    with live_server(settings, database, {}, run_workers=False) as running:
        yield running


@pytest.fixture
def own(guarded: LiveServer) -> Iterator[ApiUser]:
    with httpx2.Client(base_url=guarded.url, timeout=60) as client:
        yield ApiUser(client)


def at(address: str, **headers: str) -> dict[str, str]:
    """Give headers as a proxy forwards them."""
    return {"X-Forwarded-For": address, **headers}


def wrong(client_id: str) -> dict[str, str]:
    return {"client_id": client_id, "client_api_key": WRONG}


def statuses(
    user: ApiUser, headers: dict[str, str], count: int = LIMIT + 4
) -> list[int]:
    return [
        user.http.get("/jobs", headers=headers).status_code
        for _ in range(count)
    ]


def spread(address: str, count: int = LIMIT + 4) -> list[dict[str, str]]:
    """Give wrong keys of many clients at one address."""
    return [at(address, **wrong(f"{NOBODY}{n}")) for n in range(count)]


def test_wrong_keys_of_an_address_are_answered_429_after_some(
    own: ApiUser,
) -> None:
    found = [
        own.http.get("/jobs", headers=each) for each in spread("192.0.2.1")
    ]
    tried = [each.status_code for each in found]
    assert tried == [401] * LIMIT + [429] * 4
    attack = at("192.0.2.1", **wrong(NOBODY))
    refused = own.http.get("/jobs", headers=attack)
    assert "failed logins" in refused.json()["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    # Other addresses are not concerned.
    other = at("192.0.2.2", **wrong(NOBODY))
    assert own.http.get("/jobs", headers=other).status_code == 401


def test_a_client_is_never_locked_out(own: ApiUser) -> None:
    attack = at("192.0.2.1", **wrong(own.client_id))
    assert statuses(own, attack) == [401] * (LIMIT // 3) + [429] * 8
    for each in spread("192.0.2.1"):
        own.http.get("/jobs", headers=each)
    for address in ("192.0.2.1", "192.0.2.9"):
        right = at(address, **own.headers)
        assert own.http.get("/jobs", headers=right).status_code == 200
    # Nor is one that has never come from there before.
    other = ApiUser(own.http)
    right = at("192.0.2.1", **other.headers)
    assert own.http.get("/jobs", headers=right).status_code == 200
    assert own.http.get("/jobs", headers=attack).status_code == 429


def test_the_limit_does_not_tell_which_clients_exist(own: ApiUser) -> None:
    one = statuses(own, at("192.0.2.1", **wrong(own.client_id)))
    none = statuses(own, at("192.0.2.2", **wrong(NOBODY)))
    assert one == none


def test_what_is_sent_without_a_key_is_not_counted(own: ApiUser) -> None:
    half = at("192.0.2.1", client_id=own.client_id)
    assert statuses(own, half) == [401] * (LIMIT + 4)
    assert own.http.get("/jobs", headers=at("192.0.2.1")).status_code == 401


def test_the_administrators_key_is_not_compared_above_the_limit(
    own: ApiUser,
) -> None:
    guess = at("192.0.2.1", admin_api_key="guess")
    assert statuses(own, guess) == [401] * LIMIT + [429] * 4
    # The right one included: otherwise, guessing would go on.
    right = at("192.0.2.1", **ADMIN)
    assert own.http.get("/clients", headers=right).status_code == 429
    for address in ("192.0.2.2", "127.0.0.1"):
        right = at(address, **ADMIN)
        assert own.http.get("/clients", headers=right).status_code == 200


def test_wrong_keys_do_not_lock_the_administrator_out(own: ApiUser) -> None:
    right = at("192.0.2.1", **ADMIN)
    assert own.http.get("/clients", headers=right).status_code == 200
    guess = at("192.0.2.1", admin_api_key="guess")
    assert statuses(own, guess)[-1] == 429
    assert own.http.get("/clients", headers=right).status_code == 200


@pytest.mark.parametrize(
    ("path", "guess", "right"),
    [
        ("/docs", ("user", "guess"), ("user", DOCS_SECRET)),
        ("/metrics", "guess", TOKEN),
    ],
)
def test_the_other_secrets_are_guarded_too(
    own: ApiUser, path: str, guess: object, right: object
) -> None:
    def status(address: str, secret: object) -> int:
        headers, auth = at(address), None
        if isinstance(secret, tuple):
            auth = secret
        else:
            headers["Authorization"] = f"Bearer {secret}"
        got = own.http.get(path, headers=headers, auth=auth)
        return got.status_code

    tried = [status("192.0.2.1", guess) for _ in range(LIMIT + 2)]
    assert tried == [401] * LIMIT + [429] * 2
    assert status("192.0.2.1", right) == 429
    assert status("192.0.2.2", right) == 200
    tried = [status("192.0.2.2", guess) for _ in range(LIMIT + 2)]
    assert tried[-1] == 429
    assert status("192.0.2.2", right) == 200
    # Who knows this secret has no more tries for the administrator's key.
    headers = at("192.0.2.2", admin_api_key="guess")
    assert own.http.get("/clients", headers=headers).status_code == 429
    headers = at("192.0.2.2", **ADMIN)
    assert own.http.get("/clients", headers=headers).status_code == 429


def test_those_answered_429_are_counted_as_failed_logins(
    own: ApiUser,
) -> None:
    for each in spread("192.0.2.1"):
        own.http.get("/jobs", headers=each)
    page = own.http.get("/metrics", headers=ADMIN).text
    assert f"metasync_failed_logins_total {LIMIT + 4}.0" in page
    for secret in (WRONG, own.key, own.client_id):
        assert secret not in page


def test_no_untrusted_caller_chooses_its_address(
    database: str, tmp_path: Path
) -> None:
    settings = make_settings(
        tmp_path, failed_logins_per_minute=LIMIT, trusted_proxies="none"
    )
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url, timeout=60) as http,
    ):
        tried = [
            http.get(
                "/jobs", headers=spread(f"192.0.2.{number}")[number]
            ).status_code
            for number in range(LIMIT + 2)
        ]
    assert tried == [401] * LIMIT + [429] * 2


class Pair:
    """Two processes on one database."""

    def __init__(self, first: httpx2.Client, second: httpx2.Client) -> None:
        self.user = ApiUser(first)
        self.first, self.second = first, second

    def status(self, http: httpx2.Client) -> int:
        return http.get("/jobs", headers=self.user.headers).status_code

    def seconds_until_refused(self) -> float:
        started = time.monotonic()
        eventually(
            lambda: self.status(self.second) == 401, seconds=5, what="401"
        )
        return time.monotonic() - started


@pytest.fixture(scope="module")
def services(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    directory = tmp_path_factory.mktemp("pair")
    for name in ("first", "second"):
        (directory / name).mkdir()
    variables = {
        "DB_CONNECTION_STRING": database,
        "DB_NAME": unique("pair"),
        "NUM_LLM_WORKERS": "0",
    }
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                service_process(directory / name / "data", **variables)
            ).url
            for name in ("first", "second")
        ]


@pytest.fixture
def pair(services: list[str]) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        yield Pair(
            *(
                stack.enter_context(httpx2.Client(base_url=url))
                for url in services
            )
        )


def test_a_key_that_ends_ends_everywhere_within_two_seconds(
    pair: Pair,
) -> None:
    assert pair.status(pair.first) == pair.status(pair.second) == 200
    path = f"/clients/{pair.user.client_id}"

    # Rotated: at once where it was done, soon everywhere.
    rotated = pair.first.post(f"{path}/rotate-key", headers=ADMIN).json()
    assert pair.status(pair.first) == 401
    assert pair.seconds_until_refused() < 2
    pair.user.headers["client_api_key"] = rotated["api_key"]
    # The new one works at once.
    assert pair.status(pair.first) == pair.status(pair.second) == 200

    pair.first.post(f"{path}/toggle", headers=ADMIN)
    assert pair.status(pair.first) == 401
    assert pair.seconds_until_refused() < 2
    pair.first.post(f"{path}/toggle", headers=ADMIN)
    assert pair.status(pair.first) == pair.status(pair.second) == 200

    pair.first.delete(path, headers=ADMIN)
    assert pair.status(pair.first) == 401
    assert pair.seconds_until_refused() < 2


def test_a_new_key_works_in_every_process_at_once(pair: Pair) -> None:
    path = f"/clients/{pair.user.client_id}/rotate-key"
    for _ in range(5):
        assert pair.status(pair.second) == 200
        rotated = pair.first.post(path, headers=ADMIN).json()
        pair.user.headers["client_api_key"] = rotated["api_key"]
        assert pair.status(pair.second) == 200


def limited(own: ApiUser, requests: int | None) -> httpx2.Response:
    return own.http.patch(
        f"/clients/{own.client_id}",
        headers=ADMIN,
        json={"apiRequestsPerMinute": requests},
    )


def test_a_client_has_so_many_requests_a_minute(own: ApiUser) -> None:
    changed = limited(own, 3)
    assert changed.json()["apiRequestsPerMinute"] == 3
    wait_for_a_long_minute()
    answers = [own.http.get("/jobs", headers=own.headers) for _ in range(5)]
    assert [each.status_code for each in answers] == [200] * 3 + [429] * 2
    remaining = [each.headers["X-RateLimit-Remaining"] for each in answers]
    assert remaining == ["2", "1", "0", "0", "0"]
    for answer in answers:
        assert answer.headers["X-RateLimit-Limit"] == "3"
        assert 1 <= int(answer.headers["X-RateLimit-Reset"]) <= 60
    assert 1 <= int(answers[4].headers["Retry-After"]) <= 60
    assert "3 requests a minute" in answers[4].json()["detail"]

    # For every path, and before a body is read.
    for method, path in (("POST", "/jobs"), ("POST", "/stream")):
        answer = own.http.request(
            method, path, headers=own.headers, content=b"no JSON"
        )
        assert answer.status_code == 429
    # Not for others, nor for the administrator in its place.
    other = own.http.get("/jobs", headers=ApiUser(own.http).headers)
    assert other.status_code == 200
    assert "X-RateLimit-Limit" not in other.headers
    admin = {**own.headers, **ADMIN}
    assert own.http.get("/jobs", headers=admin).status_code == 200

    assert "apiRequestsPerMinute" not in limited(own, None).json()
    answer = own.http.get("/jobs", headers=own.headers)
    assert answer.status_code == 200


def test_an_answer_with_an_error_tells_the_limit_too(own: ApiUser) -> None:
    limited(own, 100)
    for path, status in (("/jobs/x", 404), ("/jobs?unknown=1", 422)):
        answer = own.http.get(path, headers=own.headers)
        assert answer.status_code == status
        assert answer.headers["X-RateLimit-Limit"] == "100"


def test_all_processes_count_together(pair: Pair) -> None:
    limited(pair.user, 10)
    eventually(
        lambda: (
            "X-RateLimit-Limit"
            in pair.second.get("/jobs", headers=pair.user.headers).headers
        ),
        what="the limit",
    )
    wait_for_a_long_minute()
    both = (pair.first, pair.second)
    found = [pair.status(http) for _ in range(8) for http in both]
    assert 5 <= found.count(200) <= 10
    assert found.count(429) >= 6


def wait_for_a_long_minute() -> None:
    """Do not begin at the end of a minute, in which the counts are of."""
    eventually(lambda: time.time() % 60 < 55, seconds=10, what="a new minute")


@pytest.fixture
def small(database: str, tmp_path: Path) -> Iterator[ApiUser]:
    settings = make_settings(tmp_path, max_request_bytes=2048)
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url, timeout=60) as http,
    ):
        yield ApiUser(http)


def test_every_path_with_a_body_bounds_it(small: ApiUser) -> None:
    auth = ("user", DOCS_SECRET)
    paths = small.http.get("/openapi.json", auth=auth).json()["paths"]
    with_body = [
        (method, path)
        for path, item in paths.items()
        for method, operation in item.items()
        if "requestBody" in operation
    ]
    assert ("post", "/stream") in with_body
    headers = {**small.headers, **ADMIN, "Content-Type": "application/json"}

    def pieces() -> Iterator[bytes]:
        yield from [b" " * 1000] * 3

    for method, path in with_body:
        for content in (b" " * 3000, pieces()):
            answer = small.http.request(
                method, path, headers=headers, content=content
            )
            assert answer.status_code == 413, (method, path)
