import base64
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import bson
import pytest
from bson import ObjectId
from hypothesis import example, given
from hypothesis import strategies as st

from api.core.errors import RuleError
from api.models.job_models import Job
from api.services.shared import paging
from api.services.shared.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Page,
    PageRequest,
    _decode,
    _encode,
    fetch_page,
    fields_of,
)
from tests.support.samples import logged
from utilities.cosmos_connector import ClientManager, Document, Documents

SOME_ID = "0123456789abcdef01234567"
BAD_CURSORS = [
    "",
    "x",
    "a cursor",
    "äöü",
    "\ud800",
    "=" * 7,
    "A" * 10_000,
]


def cursor(*content: object) -> str:
    """Give a cursor as the server spells it, of any content."""
    raw = json.dumps(list(content)).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.fixture
async def documents(database: str) -> AsyncIterator[Documents]:
    clients = ClientManager(database, f"test-{uuid.uuid4().hex[:12]}")
    yield Documents(clients, "things")
    await clients.close()


async def add(documents: Documents, *numbers: int) -> None:
    """Store things; each has the number as its name and its `sequence`."""
    await documents.insert_many(
        [
            {"_id": ObjectId(f"{n:024x}"), "name": n, "sequence": n}
            for n in numbers
        ]
    )


async def page(
    documents: Documents,
    limit: int,
    after: str | None = None,
    order: str = "_id",
) -> Page[int]:
    request = PageRequest(limit, after)
    return await fetch_page(
        documents, {}, request, lambda found: found["name"], order=order
    )


async def all_pages(
    documents: Documents, limit: int, order: str = "_id"
) -> list[list[int]]:
    found = [await page(documents, limit, order=order)]
    while (after := found[-1].next_cursor) is not None:
        found.append(await page(documents, limit, after, order))
    return [list(each.items) for each in found]


@pytest.mark.parametrize("order", ["_id", "sequence"])
@pytest.mark.parametrize(
    ("limit", "pages"),
    [
        (1, [[1], [2], [3], [4], [5], [6]]),
        (4, [[1, 2, 3, 4], [5, 6]]),
        (3, [[1, 2, 3], [4, 5, 6]]),
        (6, [[1, 2, 3, 4, 5, 6]]),
        (1000, [[1, 2, 3, 4, 5, 6]]),
    ],
)
async def test_the_pages_together_are_the_list(
    documents: Documents, order: str, limit: int, pages: list[list[int]]
) -> None:
    await add(documents, 5, 3, 1, 6, 2, 4)
    assert await all_pages(documents, limit, order) == pages


async def test_an_empty_list_is_one_page(documents: Documents) -> None:
    assert await page(documents, 10) == Page([], None)


@pytest.mark.parametrize("order", ["_id", "sequence"])
async def test_what_comes_meanwhile_neither_repeats_nor_hides(
    documents: Documents, order: str
) -> None:
    await add(documents, 10, 20, 30, 40)
    first = await page(documents, 2, order=order)
    assert first.items == [10, 20]
    await add(documents, 5, 15, 25, 45)
    second = await page(documents, 3, first.next_cursor, order)
    assert second.items == [25, 30, 40]
    third = await page(documents, 3, second.next_cursor, order)
    assert third == Page([45], None)


@pytest.mark.parametrize("order", ["_id", "sequence"])
async def test_what_goes_meanwhile_does_not_hide_others(
    documents: Documents, order: str
) -> None:
    await add(documents, 10, 20, 30, 40)
    first = await page(documents, 2, order=order)
    # Among them the one that the cursor stands after.
    await documents.soft_delete({"name": {"$in": [10, 20, 30]}})
    assert await page(documents, 2, first.next_cursor, order) == Page([40])


async def test_equal_places_are_told_apart_by_id(
    documents: Documents,
) -> None:
    await documents.insert_many(
        [
            {
                "_id": ObjectId(f"{n:024x}"),
                "name": n,
                "sequence": 1 if n < 6 else 2,
            }
            for n in range(1, 10)
        ]
    )
    pages = await all_pages(documents, 2, "sequence")
    assert pages == [[1, 2], [3, 4], [5, 6], [7, 8], [9]]


async def test_a_page_keeps_to_the_filter(documents: Documents) -> None:
    await add(documents, 1, 2, 3, 4, 5, 6)
    where = {"name": {"$in": [2, 4, 6]}}
    first = await fetch_page(
        documents, where, PageRequest(2), lambda found: found["name"]
    )
    rest = await fetch_page(
        documents,
        where,
        PageRequest(2, first.next_cursor),
        lambda found: found["name"],
    )
    assert (first.items, rest) == ([2, 4], Page([6], None))


async def test_a_cursor_of_the_last_document_gives_an_empty_page(
    documents: Documents,
) -> None:
    await add(documents, 1)
    last: Document = {"_id": ObjectId(f"{1:024x}"), "sequence": 1}
    for order in ("_id", "sequence"):
        after = _encode(last, order)
        assert await page(documents, 1, after, order) == Page([], None)


async def test_a_cursor_of_another_order_is_refused(
    documents: Documents,
) -> None:
    document: Document = {"_id": ObjectId(), "sequence": 7}
    for given_by, used_in in (("_id", "sequence"), ("sequence", "_id")):
        with pytest.raises(RuleError):
            await page(documents, 1, _encode(document, given_by), used_in)


def test_a_list_has_a_limit_of_its_own() -> None:
    assert PageRequest() == PageRequest(DEFAULT_LIMIT, None)
    assert DEFAULT_LIMIT <= MAX_LIMIT


@given(st.integers(0, 2**63 - 1), st.binary(min_size=12, max_size=12))
def test_a_cursor_comes_back_as_it_was(value: int, raw_id: bytes) -> None:
    document: Document = {"_id": ObjectId(raw_id), "sequence": value}
    by_sequence = _encode(document, "sequence")
    by_id = _encode(document, "_id")
    assert _decode(by_sequence, "sequence") == (value, ObjectId(raw_id))
    assert _decode(by_id, "_id") == (None, ObjectId(raw_id))
    # It stands in a query string and in a header.
    assert by_sequence.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "bad",
    [
        *BAD_CURSORS,
        cursor(),
        cursor(1),
        cursor(1, SOME_ID, 2),
        cursor("1", SOME_ID),
        cursor(1.5, SOME_ID),
        cursor([1], SOME_ID),
        cursor({"$gt": 0}, SOME_ID),
        cursor(1, None),
        cursor(1, 7),
        cursor(1, "x" * 24),
        cursor(1, SOME_ID[1:]),
        cursor(1, [SOME_ID]),
        cursor(1, {"$gt": ""}),
        cursor(None, SOME_ID),
        cursor(True, SOME_ID),
        cursor(2**63, SOME_ID),
        cursor(-(2**200), SOME_ID),
    ],
)
async def test_a_cursor_that_we_did_not_give_out_is_refused(
    documents: Documents, bad: str
) -> None:
    with pytest.raises(RuleError, match="cursor is not valid"):
        await page(documents, 10, bad, "sequence")


@given(
    st.text()
    | st.text(st.characters())
    | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    | st.lists(
        st.none() | st.integers() | st.text() | st.just(SOME_ID), max_size=3
    ).map(lambda content: cursor(*content))
)
@example(cursor(2**200, SOME_ID))
@example(base64.urlsafe_b64encode(b"[" * 10_000).decode())
@example("\ud800")
def test_reading_a_cursor_raises_nothing_else(text: str) -> None:
    for order in ("_id", "sequence"):
        try:
            value, last_id = _decode(text, order)
        except RuleError:
            continue
        assert type(value) is (type(None) if order == "_id" else int)
        assert bson.encode({"value": value, "last": last_id})


async def add_texts(documents: Documents, *sizes: int) -> None:
    await documents.insert_many(
        [
            {
                "_id": ObjectId(f"{n:024x}"),
                "name": n,
                "sequence": n,
                "text": "x" * size,
            }
            for n, size in enumerate(sizes)
        ]
    )


@pytest.mark.parametrize("order", ["_id", "sequence"])
async def test_a_page_of_large_documents_ends_early(
    documents: Documents, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 10_000)
    large, small = [4_000] * 5, [10] * 30
    await add_texts(documents, *small, 30_000, *large, *small)
    pages = await all_pages(documents, 1000, order)
    assert [n for each in pages for n in each] == list(range(66))
    assert all(pages)
    # What is larger than a page is a page of its own.
    assert [30] in pages
    assert all(sum(31 <= n < 36 for n in each) <= 2 for each in pages)


async def test_no_more_is_read_than_a_page_may_hold(
    documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 30_000)
    await add_texts(documents, *[1_000] * 300)
    read = 0
    find = documents.find

    async def counting(*args: Any, **options: Any) -> list[Document]:
        nonlocal read
        found = await find(*args, **options)
        read += len(found)
        return found

    monkeypatch.setattr(documents, "find", counting)
    first = await page(documents, 300)
    assert 20 < len(first.items) < 31
    assert read < 40


async def test_a_long_page_of_small_documents_is_whole(
    documents: Documents,
) -> None:
    await add(documents, *range(1500))
    first = await page(documents, 1200)
    assert len(first.items) == 1200
    assert first.next_cursor is not None
    rest = await page(documents, 1200, first.next_cursor)
    assert len(rest.items) == 300
    assert rest.next_cursor is None


async def test_the_newest_come_first_where_asked_for(
    documents: Documents,
) -> None:
    await add(documents, *range(50))

    async def newest(after: str | None) -> Page[int]:
        return await fetch_page(
            documents,
            {},
            PageRequest(20, after),
            lambda found: found["name"],
            order="sequence",
            newest_first=True,
        )

    first = await newest(None)
    assert list(first.items) == list(range(49, 29, -1))
    second = await newest(first.next_cursor)
    assert list(second.items) == list(range(29, 9, -1))


async def test_only_the_fields_of_a_list_are_read(
    documents: Documents,
) -> None:
    await add_texts(documents, 10)
    read: list[Document] = []
    await fetch_page(
        documents,
        {},
        PageRequest(5),
        read.append,
        order="sequence",
        fields=["name"],
    )
    assert read[0].keys() == {"_id", "name", "sequence"}
    wanted = set(fields_of(Job))
    assert {"_metadata", "responseData", "clientReference"} <= wanted
    assert not wanted & {"checkpoint", "referenceIndex", "jobId"}


async def test_a_broken_document_harms_only_itself(
    documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(documents, *range(10))
    entries = logged(monkeypatch, paging)

    def read(document: Document) -> int:
        if document["name"] == 4:
            raise ValueError("a secret of the document")
        return int(document["name"])

    first = await fetch_page(documents, {}, PageRequest(6), read)
    assert list(first.items) == [0, 1, 2, 3, 5]
    rest = await fetch_page(
        documents, {}, PageRequest(6, first.next_cursor), read
    )
    assert list(rest.items) == [6, 7, 8, 9]
    (entry,) = entries
    assert entry["event"] == "document_unreadable"
    assert entry["documentId"] == f"{4:024x}"
    assert "secret" not in str(entry)
