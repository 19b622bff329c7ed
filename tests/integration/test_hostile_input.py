"""What nobody sends by mistake: each is answered, and with no 5xx."""

import base64
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, unique
from tests.support.live_server import LiveServer, live_server, make_settings

LIMIT = 200_000
OPERATORS = [
    "$where",
    "$ne",
    "$gt",
    "",
    ".",
    "a.b",
    "a..b",
    "$",
    "\x00",
    "_id",
]
LISTS = [
    "/jobs",
    "/jobs/summary",
    "/stream",
    "/stream/summary",
    "/workers/summary",
]


@pytest.fixture(scope="module")
def small(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """A server that takes small requests only."""
    settings = make_settings(
        tmp_path_factory.mktemp("small"), max_request_bytes=LIMIT
    )
    with live_server(settings, database, {}, run_workers=False) as running:
        yield running


def raw(server: LiveServer, *pieces: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; return the status, and what followed it.

    The status is 0 where the server says nothing.
    """
    host, port = server.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=3) as sock:
        # A server that has answered may hang up on the rest.
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                sock.sendall(piece)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while more := sock.recv(65536):
                answer += more
    line, _, rest = answer.partition(b"\r\n")
    return int(line.split()[1]) if line else 0, rest


def head(method: str, path: str, *lines: str) -> bytes:
    fields = ["Host: x", "Connection: close", "admin_api_key: the-admin-key"]
    request = [f"{method} {path} HTTP/1.1", *fields, *lines, "", ""]
    return "\r\n".join(request).encode("latin-1")


def alive(server: LiveServer) -> bool:
    return httpx2.get(f"{server.url}/health/ready").is_success


def refused(status: int) -> bool:
    return 400 <= status < 500


@pytest.fixture
def job(user: ApiUser) -> dict[str, Any]:
    return user.job(
        user.model(), user.prompt(), clientReference={"order": "1"}
    )


@pytest.fixture(scope="module")
def reader(http: httpx2.Client) -> ApiUser:
    """A client with one job, for tests that change nothing."""
    reader = ApiUser(http)
    prompt = reader.prompt()
    reader.job(reader.model(), prompt, clientReference={"order": "1"})
    return reader


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("key", OPERATORS)
def test_a_field_of_a_filter_is_no_operator(
    reader: ApiUser, path: str, key: str
) -> None:
    (job,) = reader.get("/jobs")
    for value in ("", "1", '{"$ne":null}', "\x00"):
        found = reader.get(path, **{f"clientReference.{key}": value})
        if path == "/jobs" and key:
            assert found == []
        elif path == "/jobs":
            # `clientReference.` alone names no field.
            assert found in ([], [job])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (path, name)
        for path, names in {
            "/jobs": ("model", "operation", "id"),
            "/jobs/summary": ("model", "operation", "id"),
            "/prompts": ("name", "type"),
        }.items()
        for name in names
    ],
)
def test_a_value_of_a_filter_is_text(
    reader: ApiUser, path: str, name: str
) -> None:
    for value in ('{"$ne":""}', "$where", "\x00", "[$ne]"):
        assert value not in str(reader.get(path, **{name: value}))
    reader.get(path, 422, **{f"{name}[$ne]": "x"})


def test_a_filter_by_an_operator_finds_nothing(
    user: ApiUser, job: dict[str, Any]
) -> None:
    assert user.get("/jobs", model='{"$ne":""}') == []
    assert user.get("/jobs", jobId='{"$gt":""}') == []
    assert user.get("/jobs/summary", operation="\x00")["total"] == 0
    assert user.get("/jobs")[0]["jobId"] == job["jobId"]


HOSTILE = {
    "$where": "sleep(1)",
    "$set": {"a": 1},
    "a.b": 1,
    "": 2,
    "n\x00l": "\x00",
    "__proto__": {"x": [{"$ne": None}]},
    "_id": 3,
}


@pytest.mark.parametrize("field", ["requestData", "clientReference"])
def test_hostile_keys_come_back_as_they_were(
    user: ApiUser, field: str
) -> None:
    made = user.job(user.model(), user.prompt(), **{field: HOSTILE})
    assert user.get(f"/jobs/{made['jobId']}")[field] == HOSTILE


def test_a_workers_filter_may_have_hostile_keys_or_is_refused(
    user: ApiUser,
) -> None:
    for key, value in HOSTILE.items():
        for nested in ({key: value}, {"x": {key: value}}, {"x": [{key: 1}]}):
            body = {
                "workerId": unique("worker"),
                "config": {"clientReferenceFilters": nested},
            }
            answer = user.http.post(
                "/workers", headers=user.headers, json=body
            )
            assert answer.status_code in (201, 422), (nested, answer.text)
            if answer.is_success:
                stored = answer.json()["config"]["clientReferenceFilters"]
                assert stored == nested
    user.get("/workers/summary", **{"clientReference.x": "1"})


HUGE = ["1e400", "-1e400", "NaN", "Infinity", "9" * 400, "9" * 5001, "1e-400"]


def hostile_bodies(number: str) -> dict[str, list[tuple[str, str]]]:
    cost = f'{{"tokens": {number}, "input": 1, "output": 1}}'
    price = f'{{"tokens": 1, "input": {number}, "output": {number}}}'
    plain = '"name": "n", "sdk": "test", "maxToken": 1'
    worker = '"workerId": "w", "config"'
    return {
        "/models": [
            ("POST", f'{{{plain}, "cost": {cost}}}'),
            ("POST", f'{{{plain}, "cost": {price}}}'),
            ("POST", f'{{{plain}, "maxToken": {number}, "cost": {{}}}}'),
        ],
        "/prompts": [
            (
                "POST",
                (
                    '{"name": "n", "type": "t", "status": "DRAFT", '
                    f'"prompt": "p", "version": {number}}}'
                ),
            )
        ],
        "/workers": [
            ("POST", f'{{{worker}: {{"pollInterval": {number}}}}}'),
            (
                "POST",
                (
                    f'{{{worker}: {{"clientReferenceFilters":'
                    f' {{"a": {number}}}}}}}'
                ),
            ),
        ],
    }


@pytest.mark.parametrize("number", HUGE)
def test_huge_numbers_are_answered(user: ApiUser, number: str) -> None:
    headers = {**user.headers, **ADMIN, "content-type": "application/json"}
    for path, bodies in hostile_bodies(number).items():
        for method, body in bodies:
            answer = user.http.request(
                method, path, headers=headers, content=body
            )
            assert answer.status_code < 500, (body[:200], answer.text)
            if answer.is_success and path == "/models":
                model_id = answer.json()["model_id"]
                user.http.delete(f"/models/{model_id}", headers=ADMIN)
    for path in ("/models", "/workers", "/prompts"):
        assert user.http.get(path, headers=headers).is_success


@pytest.mark.parametrize("number", HUGE)
def test_huge_numbers_in_a_job_are_answered(
    user: ApiUser, job: dict[str, Any], number: str
) -> None:
    path = f"/jobs/{job['jobId']}/full"
    headers = {**user.headers, "content-type": "application/json"}
    for field in (
        f'"requestData": {{"n": {number}}}',
        f'"responseData": {number}',
        f'"priority": {number}',
        f'"temperature": {number}',
        f'"processingMetrics": {{"inputTokens": {number}}}',
        f'"processingMetrics": {{"totalCost": {number}, "currency": "USD"}}',
        f'"processingMetrics": {{"duration": {number}}}',
    ):
        answer = user.http.patch(path, headers=headers, content=f"{{{field}}}")
        assert answer.status_code < 500, (field[:200], answer.text)
        for look in (f"/jobs/{job['jobId']}", "/jobs", "/jobs/summary"):
            seen = user.http.get(look, headers=user.headers)
            assert seen.is_success, (field[:200], seen.text)


@pytest.mark.parametrize("path", ["/jobs", "/models", "/prompts"])
@pytest.mark.parametrize("name", ["limit", "priority", "cursor"])
@pytest.mark.parametrize("value", ["9" * 5000, "1e400", "-1", "\x00", "٣"])
def test_huge_numbers_in_a_query_are_answered(
    reader: ApiUser, path: str, name: str, value: str
) -> None:
    params = {name: value}
    answer = reader.http.get(path, params=params, headers=reader.headers)
    assert answer.status_code < 500


@pytest.mark.parametrize(
    "content",
    [
        '[18446744073709551616,"665f1c2ab7e4d90012345678"]',
        '[-9e18,"665f1c2ab7e4d90012345678"]',
        '[9223372036854775808,"665f1c2ab7e4d90012345678"]',
        f'[{"9" * 300},"665f1c2ab7e4d90012345678"]',
        '[true,"665f1c2ab7e4d90012345678"]',
        '[null,"665f1c2ab7e4d90012345678"]',
        '[{"$ne":1},"665f1c2ab7e4d90012345678"]',
        '[1,{"$ne":1}]',
        "[]",
        "7",
        "[1,2,3]",
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/prompts", "/workers", "/stream"])
def test_a_made_up_cursor_is_answered(
    reader: ApiUser, path: str, content: str
) -> None:
    cursor = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
    answer = reader.http.get(
        path, params={"cursor": cursor}, headers=reader.headers
    )
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize("path", ["/jobs", "/prompts", "/workers", "/stream"])
def test_a_cursor_of_other_letters_is_refused(
    reader: ApiUser, path: str
) -> None:
    answer = reader.http.get(
        path, params={"cursor": "é" * 9}, headers=reader.headers
    )
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize(
    "path", ["/clients", "/models", "/prompts", "/jobs", "/stream", "/runs"]
)
@pytest.mark.parametrize("shape", ['{"a":', "["])
def test_a_body_of_great_depth_is_refused(
    reader: ApiUser, path: str, shape: str
) -> None:
    end = "}" if shape[0] == "{" else "]"
    deep = shape * 10_000 + "1" + end * 10_000
    headers = {**reader.headers, **ADMIN, "content-type": "application/json"}
    for body in (deep, f'{{"name": {deep}, "requestData": {deep}}}'):
        answer = reader.http.post(path, headers=headers, content=body)
        assert refused(answer.status_code), answer.text
        assert len(answer.content) < 10_000


def test_of_a_key_that_comes_twice_the_last_counts(user: ApiUser) -> None:
    headers = {**ADMIN, "content-type": "application/json"}
    name = unique("twice")
    body = f'{{"name": 7, "name": {json.dumps(name)}}}'
    answer = user.http.post("/clients", headers=headers, content=body)
    assert answer.json()["name"] == name


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json" * 50,
        "\x7f/\x7f",
    ],
)
def test_another_type_of_content_is_answered(
    http: httpx2.Client, content_type: str
) -> None:
    headers = {**ADMIN, "content-type": content_type}
    answer = http.post("/clients", headers=headers, content=b"--x\r\n\xff")
    assert refused(answer.status_code)


@pytest.mark.parametrize(
    "content",
    [
        b'{"name": "\xff\xfe"}',
        b'\xef\xbb\xbf{"name": "with a mark"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}',
        b'{"name": "\x00"}',
        b'{"\xed\xa0\x80": 1}',
        '{"name": "x"}'.encode("utf-16"),
        '{"name": "x"}'.encode("utf-32"),
    ],
)
def test_a_body_that_is_no_proper_text_is_answered(
    http: httpx2.Client, content: bytes
) -> None:
    headers = {**ADMIN, "content-type": "application/json"}
    answer = http.post("/clients", headers=headers, content=content)
    assert answer.status_code in (201, 400, 422)
    assert http.get("/clients", headers=headers).is_success


@pytest.mark.parametrize(
    "path",
    [
        "/clients/%00",
        "/clients/a%00b",
        "/jobs/%00",
        "/jobs/%FF%FE",
        "/models/%ED%A0%80",
        "/prompts/%2e%2e%2f%2e%2e%2fconfig.py",
        "/prompts/%24where",
        "/workers/%0d%0aX-Evil:%201",
        "/stream/" + "a" * 20_000,
        "/runs/" + "%00" * 300,
        "/jobs?clientReference.%00=%00&clientReference.%FF=%FF",
        "/jobs?model=%00&operation=%ED%A0%80&id=%FF",
        "/prompts?name=%00&type=%FF",
        "/stream?from=%00",
        "/stream?from=0001-01-01&to=9999-12-31T23:59:59.999999-23:59",
        "/stream/analytics?from=0001-01-01T00:00:00%2B23:59",
        "/jobs?" + "&".join(f"clientReference.k{n}=1" for n in range(2000)),
        "/jobs?" + "a" * 40_000,
        "/workers/summary?modelFilter=%00",
        "/jobs?limit=1&limit=2&limit=x",
    ],
)
def test_a_strange_path_is_answered(server: LiveServer, path: str) -> None:
    status, rest = raw(server, head("GET", path))
    assert status == 200 or refused(status), (status, rest[-300:])
    assert b"x-evil" not in rest.lower()
    assert alive(server)


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Correlation-ID: a\x00b"],
        ["X-Correlation-ID: a\rb"],
        ["X-Correlation-ID: \xff\xfe"],
        ["Idempotency-Key: \xff"],
        ["client_id: \xff", "client_api_key: \xff"],
        ["client_id: a", "client_id: b"],
        ["admin_api_key: the-admin-key", "admin_api_key: x"],
        ["admin-api-key: \xff"],
        ["Bad Name: x"],
        [": x"],
        ["Content-Length: -1"],
        ["Content-Length: x"],
        ["Content-Length: 1", "Content-Length: 2"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Content-Length: " + "9" * 5000],
        ["Transfer-Encoding: bogus"],
        ["Expect: 200-nothing"],
        ["Upgrade: websocket", "Connection: Upgrade"],
        [f"X-{n}: x" for n in range(3000)],
        ["X-Big: " + "x" * 200_000],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_strange_header_is_answered(
    server: LiveServer, method: str, lines: list[str]
) -> None:
    status, rest = raw(server, head(method, "/clients", *lines))
    assert status < 500, rest[-300:]
    assert b"\r\na\r\n" not in rest
    assert alive(server)


def test_an_id_of_a_request_cannot_add_a_header(server: LiveServer) -> None:
    evil = "X-Correlation-ID: a%0d%0aX-Evil: 1"
    _, rest = raw(server, head("GET", "/health", evil))
    assert b"\r\nx-evil" not in rest.lower()
    status, rest = raw(
        server, head("GET", "/health", "X-Correlation-ID: a\nX-Evil: 1")
    )
    assert b"\r\nx-evil" not in rest.lower()
    assert status < 500


JSON = "Content-Type: application/json"


def test_a_body_shorter_than_announced_ends_the_request(
    server: LiveServer,
) -> None:
    start = head("POST", "/clients", JSON, "Content-Length: 500")
    status, _ = raw(server, start, b'{"name":')
    assert status == 0 or refused(status)
    assert alive(server)


def test_a_body_longer_than_announced_is_cut(server: LiveServer) -> None:
    name = unique("cut").encode()
    body = b'{"name": "%s"}' % name
    start = head("POST", "/clients", JSON, f"Content-Length: {len(body)}")
    status, rest = raw(server, start, body, b'{"x": 1}' * 100)
    assert status == 201
    assert name in rest
    assert alive(server)


def test_an_announced_body_over_the_limit_is_refused_unread(
    small: LiveServer,
) -> None:
    start = head("POST", "/clients", JSON, f"Content-Length: {LIMIT + 1}")
    status, rest = raw(small, start)
    assert status == 413
    assert b'"detail"' in rest
    assert alive(small)


def test_a_chunked_body_over_the_limit_is_refused(small: LiveServer) -> None:
    chunks = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    start = head("POST", "/clients", JSON, "Transfer-Encoding: chunked")
    status, rest = raw(small, start, *[chunks] * 10)
    assert status == 413
    assert b'"detail"' in rest
    assert alive(small)


@pytest.mark.parametrize(
    "chunk", [b"-1\r\nx\r\n", b"zz\r\nx\r\n", b"\r\n\r\n"]
)
def test_chunks_that_are_none_are_refused(
    server: LiveServer, chunk: bytes
) -> None:
    start = head("POST", "/clients", JSON, "Transfer-Encoding: chunked")
    status, _ = raw(server, start, chunk)
    assert status == 0 or refused(status)
    assert alive(server)


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 9999, b"GET\r\n\r\n"]
)
def test_what_is_no_http_is_refused(server: LiveServer, noise: bytes) -> None:
    status, _ = raw(server, noise)
    assert status == 0 or refused(status)
    assert alive(server)


def test_every_method_that_a_path_takes_is_told(http: httpx2.Client) -> None:
    answer = http.put("/jobs/665f1c2ab7e4d90012345678", headers=ADMIN)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "DELETE, GET, PATCH"
    assert answer.json() == {"detail": "Method Not Allowed"}


@pytest.mark.parametrize(
    "filters",
    [
        {"__neosqlite_objectid__": True, "id": "665f1c2ab7e4d90012345678"},
        {"$oid": "665f1c2ab7e4d90012345678"},
        {"$ref": "jobs", "$id": 1},
        {"a": {"$date": 1}, "$where": "1"},
        {"n": 10**30},
    ],
)
def test_a_workers_filters_mean_nothing_to_the_database(
    user: ApiUser, filters: dict[str, Any]
) -> None:
    worker_id = user.worker(clientReferenceFilters=filters)
    found = user.get(f"/workers/{worker_id}")
    assert found["config"]["clientReferenceFilters"] == filters
    assert user.get("/workers")[0]["workerId"] == worker_id
    changed = user.patch(
        f"/workers/{worker_id}", {"config": {"pollInterval": 3}}
    )
    assert changed["config"]["clientReferenceFilters"] == filters
    user.post(f"/workers/{worker_id}/stop", None, 200)
    user.delete(f"/workers/{worker_id}")


HALF = '"\\ud800"'


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (
            "PATCH",
            "/workers/batch",
            f'{{"action":"stop","workerIds":[{HALF}]}}',
        ),
        ("DELETE", "/jobs/batch", f'{{"jobIds":[{HALF}]}}'),
        ("PATCH", "/jobs/batch", f'{{"jobs":[{{"jobId":{HALF}}}]}}'),
        ("POST", "/jobs/batch", f'{{"jobs":[{{"id":{HALF}}}]}}'),
        ("POST", "/jobs", f'{{"requestData":{{{HALF}:1}}}}'),
        ("POST", "/prompt-flows", f'{{"name":"n","promptIds":[{HALF}]}}'),
        ("POST", "/stream", f'{{"userPrompt":{HALF},"model":"m"}}'),
    ],
)
def test_half_a_surrogate_pair_is_refused(
    reader: ApiUser, method: str, path: str, body: str
) -> None:
    headers = {**reader.headers, "content-type": "application/json"}
    answer = reader.http.request(method, path, headers=headers, content=body)
    assert answer.status_code == 422, answer.text
    assert "surrogate" in answer.json()["detail"][0]["msg"]


MANY = ["665f1c2ab7e4d90012345678"] * 100_000


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/prompt-flows", {"name": "n", "promptIds": MANY}),
        ("PATCH", "/workers/batch", {"action": "stop", "workerIds": MANY}),
        ("DELETE", "/jobs/batch", {"jobIds": MANY}),
        ("POST", "/stream", {"additionalPrompts": [7] * 100_000}),
        ("POST", "/jobs", {"workingPrompts": MANY}),
        ("POST", "/jobs/batch", {"jobs": MANY}),
        ("PATCH", "/jobs/batch", {"jobs": [7] * 100_000}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_every_list_is_bounded(
    reader: ApiUser, method: str, path: str, body: dict[str, Any]
) -> None:
    answer = reader.http.request(
        method, path, headers=reader.headers, json=body
    )
    assert answer.status_code == 422, answer.text[:300]
    assert len(answer.content) < 10_000
