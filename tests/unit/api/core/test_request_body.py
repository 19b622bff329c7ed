import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given

from api.core import request_body
from api.core.errors import RuleError, TooLargeError
from api.core.request_body import read_body
from api.models.client_models import ClientCreate
from api.models.job_models import JobBatchCreate, JobBatchItem
from tests.support.samples import json_values

ITEM = {
    "operation": "o",
    "workingPrompts": ["p"],
    "model": "m",
    "requestData": {},
}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_body_becomes_its_model() -> None:
    made = read_body(ClientCreate, b'{"name": "n"}', "refuse")
    assert made == ClientCreate(name="n")


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"name":"\\ud800"}', b"[" * 10_000, b"9" * 5000]
)
def test_what_is_no_json_is_told(body: bytes) -> None:
    with pytest.raises(RequestValidationError) as caught:
        read_body(ClientCreate, body, "refuse")
    (problem,) = caught.value.errors()
    assert problem["type"] == "json_invalid"
    assert problem["msg"].startswith("JSON decode error")


def test_items_of_a_batch_become_models() -> None:
    body = encoded({"jobs": [ITEM, ITEM]})
    made = read_body(JobBatchCreate, body, "refuse")
    assert all(isinstance(item, JobBatchItem) for item in made.jobs)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, "batch item 1: item: Input should be"),
        ({**ITEM, "temperature": 3}, "batch item 1: temperature: Input"),
        ({**ITEM, "prio": 1}, "batch item 1: prio: Unknown field 'prio'"),
    ],
)
def test_a_wrong_item_is_named(item: Any, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        read_body(JobBatchCreate, encoded({"jobs": [ITEM, item]}), "refuse")


@pytest.mark.parametrize(
    ("limit", "body"),
    [
        (3, {"name": "a,b:c{d[e" * 10}),
        (3, {"name": '\\",,,,' * 10}),
        (7, {"name": ["\\\\", '"', ",,,,,,,,,", 1]}),
    ],
)
def test_texts_hold_no_values(
    monkeypatch: pytest.MonkeyPatch, limit: int, body: Any
) -> None:
    monkeypatch.setattr(request_body, "MOST_VALUES", limit + 2)
    with pytest.raises((RequestValidationError, TooLargeError)) as caught:
        read_body(ClientCreate, encoded([body]), "refuse")
    assert not isinstance(caught.value, TooLargeError)


@given(json_values)
def test_the_texts_of_a_document_are_found(value: Any) -> None:
    body = encoded(value)
    outside, last = b"", 0
    for start, end in request_body._texts_in(body):
        outside += body[last:start]
        last = end
    outside += body[last:]
    # Without their texts, documents hold quotation marks in pairs only.
    assert b"\\" not in outside
    assert outside.count(b'""') * 2 == outside.count(b'"')
    json.loads(outside)


def test_too_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "MOST_VALUES", 10)
    with pytest.raises(TooLargeError, match="more than 10 values"):
        read_body(ClientCreate, encoded([1] * 20), "refuse")


def test_many_short_numbers_are_taken() -> None:
    body = encoded({**ITEM, "requestData": {"a": [123_456] * 400_000}})
    assert not request_body._holds_many_digits(body)


def test_too_many_long_numbers() -> None:
    numbers = b",".join([b"9" * 4000] * 600)
    with pytest.raises(TooLargeError, match="digits in all"):
        read_body(ClientCreate, b"[" + numbers + b"]", "refuse")
    texts = b",".join([b'"' + b"9" * 4000 + b'"'] * 600)
    with pytest.raises(RequestValidationError):
        read_body(ClientCreate, b"[" + texts + b"]", "refuse")
