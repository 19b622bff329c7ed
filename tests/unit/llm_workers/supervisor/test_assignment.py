"""Slots over processes: fair, and at rest after few moves."""

from collections import Counter
from collections.abc import Mapping
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from api.services.queue.worker_leases import Slot
from llm_workers.supervisor.assignment import Assignment


def slots(**replicas: int) -> list[Slot]:
    return [
        Slot(worker, number)
        for worker, count in replicas.items()
        for number in range(1, count + 1)
    ]


def threads(held: Mapping[Slot, str], pool: str) -> int:
    return sum(1 for each in held.values() if each == pool)


def test_replicas_go_where_fewest_of_their_worker_are() -> None:
    assignment = Assignment({"a": 5, "b": 5}, [(Slot("w", 1), "a")])
    assert assignment.assign([Slot("w", 2)]) == {Slot("w", 2): "b"}


def test_workers_go_where_fewest_threads_are() -> None:
    capacities = {"a": 9, "b": 9, "c": 9}
    assigned = Assignment(capacities, []).assign(
        slots(u=1, v=1, w=1, x=1, y=1, z=1)
    )
    assert Counter(assigned.values()) == {"a": 2, "b": 2, "c": 2}


def test_a_process_may_run_several_replicas_if_no_other_has_room() -> None:
    assigned = Assignment({"a": 3, "b": 1}, []).assign(slots(w=4))
    assert Counter(assigned.values()) == {"a": 3, "b": 1}


def test_what_no_process_has_room_for_is_for_nobody() -> None:
    assert len(Assignment({"a": 1, "b": 0}, []).assign(slots(w=3))) == 1
    assert Assignment({}, []).assign(slots(w=1)) == {}


def test_nothing_moves_for_a_difference_of_one() -> None:
    held = dict.fromkeys(slots(u=1, v=1, w=1), "a") | {Slot("x", 1): "b"}
    held[Slot("y", 1)] = "b"
    assignment = Assignment({"a": 9, "b": 9}, held.items())
    assert assignment.excess("a", slots(u=1, v=1, w=1)) == []


def test_nothing_moves_to_a_process_without_room() -> None:
    held = dict.fromkeys(slots(w=4), "a")
    assert (
        Assignment({"a": 9, "b": 0}, held.items()).excess("a", [*held]) == []
    )
    assert Assignment({"a": 9}, held.items()).excess("a", [*held]) == []


def test_few_move_at_a_time() -> None:
    held = dict.fromkeys(slots(w=40), "a")
    capacities = {"a": 99, "b": 99, "c": 99, "d": 99, "e": 99}
    assert len(Assignment(capacities, held.items()).excess("a", [*held])) == 5


def taken_at_random(
    wanted: list[Slot], capacities: Mapping[str, int], random: Random
) -> dict[Slot, str]:
    held: dict[Slot, str] = {}
    for slot in wanted:
        free = [p for p, size in capacities.items() if threads(held, p) < size]
        if free:
            held[slot] = random.choice(free)
    return held


def given_up(
    held: Mapping[Slot, str], capacities: Mapping[str, int]
) -> list[Slot]:
    return [
        slot
        for pool in capacities
        for slot in Assignment(capacities, held.items()).excess(
            pool, [each for each in held if held[each] == pool]
        )
    ]


def check_even(
    held: Mapping[Slot, str], capacities: Mapping[str, int]
) -> None:
    count = Counter((slot.worker_id, pool) for slot, pool in held.items())
    for other, size in capacities.items():
        if threads(held, other) == size:
            continue
        for worker, pool in count:
            assert count[worker, pool] - count[worker, other] <= 1


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.lists(st.integers(0, 15), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_any_spread_comes_to_rest_and_is_even_then(
    replicas: list[int], sizes: list[int], random: Random
) -> None:
    wanted = slots(**{f"w{n}": count for n, count in enumerate(replicas)})
    capacities = {f"p{n}": size for n, size in enumerate(sizes)}
    held = taken_at_random(wanted, capacities, random)
    for _ in range(200):
        waiting = [slot for slot in wanted if slot not in held]
        held |= Assignment(capacities, held.items()).assign(waiting)
        moves = given_up(held, capacities)
        if len(held) < len(wanted) or not moves:
            break
        for slot in moves:
            del held[slot]
    else:
        raise AssertionError("it never came to rest")
    assert all(
        threads(held, pool) <= size for pool, size in capacities.items()
    )
    if len(held) == len(wanted):
        check_even(held, capacities)
