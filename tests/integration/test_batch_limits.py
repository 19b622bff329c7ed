"""What is too large for files and batches, and what is left of it."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.support.batch_user import line, lines_of
from tests.support.gateway_user import GatewayUser
from tests.support.live_server import LiveServer, live_server, make_settings

MOST = 100_000


@pytest.fixture(scope="module")
def small(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """A service that takes small files only."""
    settings = make_settings(
        tmp_path_factory.mktemp("small"), max_file_bytes=MOST
    )
    with live_server(settings, database, {}) as running:
        yield running


@pytest.fixture
def user(small: LiveServer) -> Iterator[GatewayUser]:
    with httpx2.Client(base_url=small.url, timeout=60) as client:
        yield GatewayUser(client)


def refused(answer: httpx2.Response) -> str:
    assert answer.status_code == 413, answer.text
    return str(answer.json()["error"]["type"])


def upload(
    user: GatewayUser, content: bytes, **fields: str
) -> httpx2.Response:
    return user.http.post(
        "/v1/files",
        headers={"authorization": f"Bearer {user.token}"},
        data={"purpose": "batch", **fields},
        files={"file": ("a.jsonl", content)},
    )


def test_a_file_is_bounded_and_nothing_is_left_of_a_larger_one(
    user: GatewayUser,
) -> None:
    assert refused(upload(user, b"x" * (MOST + 1))) == "invalid_request_error"
    assert upload(user, b"x" * MOST).status_code == 200
    assert refused(upload(user, b"x", note="y" * 70_000))
    listed = user.http.get(
        "/v1/files", headers={"authorization": f"Bearer {user.token}"}
    )
    assert [each["bytes"] for each in listed.json()["data"]] == [MOST]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            b'{"requests":[{"custom_id":"a","params":{"model":"m","x":"'
            + b"y" * 2 * MOST
            + b'"}}]}',
            id="item",
        ),
        pytest.param(b'{"a":' + b" " * 2 * MOST + b"1}", id="space"),
        pytest.param(b'{"a":"' + b"y" * 2 * MOST + b'"}', id="other"),
    ],
)
def test_a_message_batch_is_bounded_whatever_is_in_it(
    user: GatewayUser, body: bytes
) -> None:
    answer = user.http.post(
        "/v1/messages/batches",
        content=body,
        headers={"x-api-key": user.token},
    )
    assert refused(answer) == "request_too_large"


def test_what_follows_a_form_is_bounded_too(user: GatewayUser) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
        b"batch\r\n--x--\r\n"
    )
    answer = user.http.post(
        "/v1/files",
        content=form + b" " * (2 * 1024 * 1024),
        headers={
            "authorization": f"Bearer {user.token}",
            "content-type": "multipart/form-data; boundary=x",
        },
    )
    assert answer.status_code in (400, 413)


def test_without_credentials_nothing_is_read(user: GatewayUser) -> None:
    content = lines_of([line("a", "m")])
    for path in ("/v1/files", "/v1/batches", "/v1/messages/batches"):
        answer = user.http.post(path, content=content)
        assert answer.status_code == 401
