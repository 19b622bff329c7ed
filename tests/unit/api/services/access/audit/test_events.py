"""Events that are put together, and their lines."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.services.access.audit.events import Event, put_together


def event(number: int, actor: str, *, is_frequent: bool) -> Event:
    fields: dict[str, Any] = {
        "id": f"{number:024x}",
        "at": number,
        "until": number,
        "actor": actor,
        "name": actor,
        "by": None,
        "address": "192.0.2.1",
        "action": "POST /jobs",
        "path": "/jobs",
        "target": f"j{number}",
        "status": 201,
        "outcome": "done",
        "things": 1,
        "ids": (f"j{number}",),
        "changes": ({"a": {"b": [1, None]}},),
        "is_frequent": is_frequent,
    }
    return Event(**fields)


_EVENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.booleans()), max_size=150
).map(
    lambda drawn: [
        event(number, actor, is_frequent=frequent)
        for number, (actor, frequent) in enumerate(drawn)
    ]
)


@given(_EVENTS)
def test_none_is_lost_and_the_same_come_out_again(
    events: list[Event],
) -> None:
    made = put_together(events)
    assert sum(each.count for each in made) == len(events)
    assert sum(each.things for each in made) == len(events)
    assert made == put_together(events)
    assert len({each.id for each in made}) == len(made)
    assert [each.at for each in made] == sorted(each.at for each in made)
    assert sum(e.is_frequent for e in made) <= 2
    assert all(len(each.ids) <= 100 for each in made)
    rare = [each for each in events if not each.is_frequent]
    assert [each for each in made if not each.is_frequent] == rare


@given(_EVENTS)
def test_lines_are_read_again(events: list[Event]) -> None:
    for each in events:
        assert Event.from_line(each.to_line()) == each


def test_one_alone_stays_as_it_is() -> None:
    one = event(1, "a", is_frequent=True)
    assert put_together([one]) == [one]
    other = replace(one, id="2", address="192.0.2.2")
    assert put_together([one, other]) == [one, other]
