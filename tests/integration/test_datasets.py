"""`/datasets`, through the interface: JSON, files, finished jobs."""

import io
import json
import socket
from typing import Any

import httpx2
import pytest
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet

from tests.support.api_user import ApiUser, unique
from tests.support.live_server import LiveServer
from tests.support.waiting import eventually

JSONL, CSV = "application/jsonl", "text/csv"
PARQUET = "application/vnd.apache.parquet"


def upload(
    user: ApiUser,
    content: bytes | str,
    media_type: str,
    status: int = 201,
    **params: str,
) -> Any:
    data = content.encode() if isinstance(content, str) else content
    return user.request(
        "POST",
        "/datasets",
        status,
        content=data,
        params={"name": "d", **params},
        headers={**user.headers, "Content-Type": media_type},
    )


def items_of(user: ApiUser, made: Any, **params: Any) -> Any:
    return user.get(f"/datasets/{made['datasetId']}/items", **params)


def test_items_are_stored_listed_and_deleted(user: ApiUser) -> None:
    name = unique("dataset")
    items: list[dict[str, Any]] = [
        {"id": "a", "requestData": {"t": "x", "$odd.key": 1}, "expected": [0]},
        {"requestData": {"t": "y"}, "expected": "pos"},
        {"requestData": {}},
    ]
    made = user.post("/datasets", {"name": name, "items": items})
    assert (made["count"], made["expectedCount"]) == (3, 2)
    assert user.get(f"/datasets/{made['datasetId']}") == made
    assert user.get("/datasets", name=name) == [made]
    assert items_of(user, made) == [
        {**items[0], "id": "a"},
        {**items[1], "id": "2"},
        {**items[2], "id": "3", "expected": None},
    ]
    other = ApiUser(user.http)
    path = f"/datasets/{made['datasetId']}"
    assert other.get(path, 404) == {"detail": "Dataset not found"}
    assert other.get(f"{path}/items", 404)
    other.delete(path, status=404)
    user.delete(path)
    assert user.get(path, 404)
    assert user.get(f"{path}/items", 404)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"name": "d"}, 422, "either items or fromJobs"),
        ({"name": "d", "items": []}, 422, "at least 1"),
        ({"name": "d", "items": [{"requestData": 1}]}, 422, "dictionary"),
        ({"name": "d", "items": [{"data": {}}]}, 422, "Unknown field 'data'"),
        (
            {
                "name": "d",
                "items": [
                    {"id": "2", "requestData": {}},
                    {"requestData": {}},
                ],
            },
            *(400, "item 2: the id '2' is used twice"),
        ),
        ({"name": "d", "fromJobs": {"operation": "?"}}, 400, "no items"),
    ],
)
def test_what_makes_no_dataset(
    user: ApiUser, body: Any, status: int, words: str
) -> None:
    before = user.get("/datasets")
    answer = user.post("/datasets", body, status)
    assert words in json.dumps(answer)
    assert user.get("/datasets") == before


def test_pages_of_items_and_of_a_split(user: ApiUser) -> None:
    items = [{"requestData": {"n": n}} for n in range(1203)]
    made = user.post("/datasets", {"name": "many", "items": items})
    path, found, cursor = f"/datasets/{made['datasetId']}/items", [], None
    while True:
        params = {"limit": 500} | ({"cursor": cursor} if cursor else {})
        answer = user.http.get(path, params=params, headers=user.headers)
        found += answer.json()
        cursor = answer.headers.get("X-Next-Cursor")
        if cursor is None:
            break
    assert [each["requestData"]["n"] for each in found] == list(range(1203))
    sides = {
        side: [
            each["id"] for each in items_of(user, made, split=side, limit=9999)
        ]
        for side in ("train", "validation", "test")
    }
    assert [len(each) for each in sides.values()] == [601, 301, 301]
    assert len({each for side in sides.values() for each in side}) == 1203
    assert items_of(user, made, split="test", limit=9999, seed=1) != [
        each for each in found if each["id"] in sides["test"]
    ]
    assert user.get(path, 400, cursor="x")


def test_json_lines(user: ApiUser) -> None:
    lines = [
        '{"id":"a","requestData":{"t":1},"expected":[1]}',
        "",
        '\ufeff{"requestData":{"t":2}}',
    ]
    made = upload(user, "\n".join(lines), JSONL)
    assert made["count"] == 2
    assert items_of(user, made)[0]["expected"] == [1]
    flat = '{"text":"x","label":"pos","key":7}\n'
    made = upload(user, flat, JSONL, expectedColumn="label", idColumn="key")
    assert items_of(user, made) == [
        {"id": "7", "requestData": {"text": "x"}, "expected": "pos"}
    ]


def test_csv(user: ApiUser) -> None:
    text = '\ufefftext,expected,extra\n"two\nlines, ""x""",pos,1\nü,neg,2\n'
    made = upload(user, text, f"{CSV}; charset=utf-8", inputColumns="text")
    assert items_of(user, made) == [
        {
            "id": "1",
            "requestData": {"text": 'two\nlines, "x"'},
            "expected": "pos",
        },
        {"id": "2", "requestData": {"text": "ü"}, "expected": "neg"},
    ]


def parquet(rows: dict[str, list[Any]], kind: Any) -> bytes:
    table = Table.from_pydict(
        {name: Array(values, kind) for name, values in rows.items()}
    )
    file = io.BytesIO()
    write_parquet(table, file)
    return file.getvalue()


def test_parquet(user: ApiUser) -> None:
    data = parquet(
        {"text": ["a", "b"], "expected": ["x", "y"]}, DataType.string()
    )
    made = upload(user, data, PARQUET)
    assert made["expectedCount"] == 2
    assert [each["requestData"] for each in items_of(user, made)] == [
        {"text": "a"},
        {"text": "b"},
    ]
    answer = upload(user, data[:-9], PARQUET, 400)
    assert "cannot be read" in answer["detail"]


def test_every_bad_line_is_named(user: ApiUser) -> None:
    lines = ['{"requestData":{}}', "{", "7", '{"requestData":{},"x":1}']
    answer = upload(user, "\n".join(lines), JSONL, 422)
    found = [each["msg"] for each in answer["detail"]]
    assert [each.split(":")[0] for each in found] == [
        "line 2",
        "line 3",
        "line 4",
    ]
    answer = upload(user, "a,b\n1,2\n1\n\n1,2,3\n", CSV, 422)
    assert [each["msg"] for each in answer["detail"]] == [
        f"line {number}: has {count} values for 2 columns; nothing was stored"
        for number, count in ((3, 1), (5, 3))
    ]
    answer = upload(user, "a\n1\n", CSV, 422, expectedColumn="label")
    assert "there is no column 'label', only: a" in str(answer)
    assert "UTF-8" in str(upload(user, b"a\n\xff\n", CSV, 422))
    assert upload(user, "a,a\n1,2\n", CSV, 400)
    assert upload(user, "", CSV, 400)
    assert upload(user, "", JSONL, 400)
    assert user.get("/datasets") == []


def test_what_is_no_known_form_is_refused(user: ApiUser) -> None:
    answer = upload(user, "x", "text/plain", 422)
    assert "text/csv" in answer["detail"][0]["msg"]
    answer = user.request(
        *("POST", "/datasets", 422),
        content=b"{}",
        headers={**user.headers, "Content-Type": JSONL},
    )
    assert answer["detail"][0]["loc"] == ["query", "name"]
    assert upload(user, "x", CSV, 422, nmae="d")
    nobody = user.http.post("/datasets", content=b"{}")
    assert nobody.status_code == 401


def test_finished_jobs_become_items(user: ApiUser) -> None:
    model, prompt = user.model(), user.prompt()
    jobs = [
        user.job(model, prompt, operation="o", requestData={"n": n})
        for n in range(3)
    ]
    user.job(model, prompt, operation="other")
    user.patch(f"/jobs/{jobs[2]['jobId']}", {"status": "CANCELED"})
    user.worker()
    for each in jobs:
        user.ended(each["jobId"])
    made = user.post(
        "/datasets",
        {
            "name": "j",
            "fromJobs": {"operation": "o", "expected": "responseData"},
        },
    )
    answers = [user.get(f"/jobs/{each['jobId']}") for each in jobs[:2]]
    assert items_of(user, made) == [
        {
            "id": each["jobId"],
            "requestData": each["requestData"],
            "expected": each["responseData"],
        }
        for each in answers
    ]
    name, value = next(iter(answers[0]["responseData"].items()))
    chosen = {"operation": "o", "expected": "responseData"}
    made = user.post(
        "/datasets",
        {"name": "j", "fromJobs": {**chosen, "expectedPath": f"/{name}"}},
    )
    assert items_of(user, made)[0]["expected"] == value
    gone = {**chosen, "expectedPath": "gone"}
    user.post("/datasets", {"name": "j", "fromJobs": gone}, 400)
    made = user.post(
        "/datasets",
        {"name": "j", "fromJobs": {"operation": "o", "status": "CANCELED"}},
    )
    assert (made["count"], made["expectedCount"]) == (1, 0)


def test_a_file_that_does_not_arrive_whole_leaves_nothing(
    user: ApiUser, server: LiveServer
) -> None:
    head = "".join(
        f"{name}: {value}\r\n"
        for name, value in {
            "host": "metasync",
            "content-type": JSONL,
            "content-length": 1000,
            **{k.replace("_", "-"): v for k, v in user.headers.items()},
        }.items()
    )
    line = b'{"requestData":{}}\n'
    address = httpx2.URL(server.url)
    host, port = address.host, address.port or 80
    with socket.create_connection((host, port)) as connection:
        request = f"POST /datasets?name=d HTTP/1.1\r\n{head}\r\n"
        connection.sendall(request.encode() + line * 10)
        folder = server.application.settings.data_dir
        eventually(lambda: list(folder.glob("upload-*/upload")))
    eventually(lambda: not list(folder.glob("upload-*")))
    assert user.get("/datasets") == []
