"""The one compare and set: no change is lost, whoever else writes."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.errors import ConflictError, NotFoundError, RuleError
from api.models.base import StoredModel
from api.services.shared import repository
from api.services.shared.repository import Repository, changed_paths
from tests.support.examples import examples
from utilities.cosmos_connector import ClientManager, Documents, ObjectId

FIELDS = ("a", "b", "c", "d")


class Thing(StoredModel):
    id_field: ClassVar[str] = "thingId"

    thing_id: str
    status: str = "stopped"
    parts: dict[str, Any]


@pytest.fixture
async def things(database: str) -> AsyncIterator[Repository[Thing]]:
    clients = ClientManager(database, f"test-{uuid.uuid4().hex[:12]}")
    documents = Documents(clients, "things")
    yield Repository(documents, Thing, "Thing", guarded=("status",))
    await clients.close()


async def made(things: Repository[Thing]) -> str:
    thing = await things.add({"parts": dict.fromkeys(FIELDS, 0)})
    return thing.thing_id


def setting(name: str, value: object) -> Any:
    """Set one part, and all others as they are: a merge."""
    return lambda thing: {"parts": {**thing.parts, name: value}}


async def test_changes_of_different_parts_are_all_kept(
    things: Repository[Thing],
) -> None:
    thing_id = await made(things)
    await asyncio.gather(
        *(
            things.change(thing_id, {}, setting(name, number))
            for number, name in enumerate(FIELDS, start=1)
        )
    )
    thing = await things.get(thing_id, {})
    assert thing.parts == {"a": 1, "b": 2, "c": 3, "d": 4}


async def test_of_two_changes_of_one_part_the_second_is_told(
    things: Repository[Thing],
) -> None:
    thing_id = await made(things)
    answers = await asyncio.gather(
        *(
            things.change(thing_id, {}, setting("a", number))
            for number in range(1, 9)
        ),
        return_exceptions=True,
    )
    lost = [each for each in answers if isinstance(each, Exception)]
    assert all(isinstance(each, ConflictError) for each in lost)
    won = [each for each in answers if isinstance(each, Thing)]
    assert won
    final = (await things.get(thing_id, {})).parts["a"]
    assert final in [each.parts["a"] for each in won]


async def test_repeatable_changes_follow_one_another(
    things: Repository[Thing],
) -> None:
    thing_id = await made(things)
    await asyncio.gather(
        *(
            things.change(
                thing_id,
                {},
                lambda thing: {"parts": {"a": thing.parts["a"] + 1}},
                repeatable=True,
            )
            for _ in range(30)
        )
    )
    assert (await things.get(thing_id, {})).parts == {"a": 30}


async def test_a_document_of_before_revisions_is_changed(
    things: Repository[Thing],
) -> None:
    thing_id = str(ObjectId())
    await things.documents.insert(
        {"_id": ObjectId(thing_id), "parts": dict.fromkeys(FIELDS, 0)}
    )
    await asyncio.gather(
        things.change(thing_id, {}, setting("a", 1)),
        things.change(thing_id, {}, setting("b", 2)),
    )
    parts = (await things.get(thing_id, {})).parts
    assert (parts["a"], parts["b"]) == (1, 2)


async def test_a_guarded_field_counts_although_it_has_no_revision(
    things: Repository[Thing],
) -> None:
    thing_id = await made(things)
    found = await things.documents.find_one({"_id": ObjectId(thing_id)})
    assert found is not None
    await things.documents.update(
        {"_id": ObjectId(thing_id)}, {"status": "error"}
    )
    assert await things._write(found, {"status": "running"}) is None


async def test_a_change_decides_again_about_what_it_finds(
    things: Repository[Thing], monkeypatch: pytest.MonkeyPatch
) -> None:
    thing_id = await made(things)
    seen: list[str] = []

    def decide(thing: Thing) -> dict[str, Any]:
        seen.append(thing.status)
        return {"parts": {**thing.parts, "a": 7}}

    reads = things.documents.find_one
    others = iter([{"status": "running"}])

    async def find_one(where: Any) -> Any:
        found = await reads(where)
        if (change := next(others, None)) is not None:
            await things.documents.update(dict(where), change)
        return found

    # Stands between reading and writing.
    monkeypatch.setattr(things.documents, "find_one", find_one)
    await things.change(thing_id, {}, decide)
    assert seen == ["stopped", "running"]


async def test_a_document_that_is_marked_is_waited_for(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "_ATTEMPTS", 4)
    clients = ClientManager(database, f"test-{uuid.uuid4().hex[:12]}")
    marked = [True, True, False]
    things = Repository(
        Documents(clients, "things"),
        Thing,
        "Thing",
        is_marked=lambda _: marked.pop(0),
    )
    thing_id = await made(things)
    await things.change(thing_id, {}, setting("a", 1))
    marked += [True] * 4
    with pytest.raises(ConflictError):
        await things.change(thing_id, {}, setting("a", 2))
    marked += [True] * 4
    with pytest.raises(ConflictError):
        await things.remove(thing_id, {})
    await clients.close()


async def test_what_is_gone_or_refused_is_told_as_such(
    things: Repository[Thing],
) -> None:
    def refuse(_: Thing) -> None:
        raise RuleError("no")

    thing_id = await made(things)
    with pytest.raises(RuleError):
        await things.remove(thing_id, {}, check=refuse)
    await things.remove(thing_id, {})
    with pytest.raises(NotFoundError):
        await things.change(thing_id, {}, setting("a", 1))
    with pytest.raises(NotFoundError):
        await things.remove(thing_id, {})


trees = st.recursive(
    st.integers(0, 2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@given(documents, documents)
def test_paths_differ_exactly_where_documents_do(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert bool(changed_paths(before, after)) == (before != after)
    assert changed_paths(before, after) == changed_paths(after, before)


@given(
    st.lists(
        st.tuples(st.sampled_from(FIELDS), st.integers(1, 9)),
        min_size=2,
        max_size=6,
    )
)
@settings(max_examples=examples(15))
def test_no_acknowledged_change_is_lost(
    database: str, changes: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        clients = ClientManager(database, f"test-{uuid.uuid4().hex[:12]}")
        things = Repository(Documents(clients, "things"), Thing, "Thing")
        thing_id = await made(things)
        answers = await asyncio.gather(
            *(
                things.change(thing_id, {}, setting(name, value))
                for name, value in changes
            ),
            return_exceptions=True,
        )
        final = (await things.get(thing_id, {})).parts
        await clients.close()
        for name in FIELDS:
            kept = {
                value
                for (changed, value), answer in zip(
                    changes, answers, strict=True
                )
                if changed == name and isinstance(answer, Thing)
            }
            assert final[name] in (kept or {0})
        for answer in answers:
            assert isinstance(answer, Thing | ConflictError)

    asyncio.run(play())
