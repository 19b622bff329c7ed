"""Turns: urgent first, then by weight, and nobody is forgotten."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks.resilience.fair_queue import FairQueue, Turn

WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.5}


def test_clients_take_turns_whatever_they_have() -> None:
    queue = FairQueue[str]()
    for number in range(1000):
        queue.push(Turn("many"), f"many-{number}")
    for number in range(3):
        queue.push(Turn("few"), f"few-{number}")
    first = [queue.pop() for _ in range(6)]
    assert [each for each in first if each.startswith("few")] == [
        "few-0",
        "few-1",
        "few-2",
    ]


def test_urgent_calls_go_first() -> None:
    queue = FairQueue[str]()
    queue.push(Turn("a"), "bulk")
    queue.push(Turn("a", is_urgent=True), "person")
    assert [queue.pop(), queue.pop()] == ["person", "bulk"]
    with pytest.raises(IndexError):
        queue.pop()


def test_turns_follow_the_weights() -> None:
    queue = FairQueue[str](lambda client: WEIGHTS[client])
    for client in WEIGHTS:
        for _ in range(1000):
            queue.push(Turn(client), client)
    served = Counter(queue.pop() for _ in range(700))
    assert [served[client] for client in "abc"] == [200, 400, 100]


def test_ten_clients_with_unequal_queues_get_equal_shares() -> None:
    queue = FairQueue[int]()
    for client in range(10):
        for _ in range(100 * (client + 1)):
            queue.push(Turn(str(client)), client)
    served = Counter(queue.pop() for _ in range(1000))
    shares = [served[client] for client in range(10)]
    jain = sum(shares) ** 2 / (10 * sum(each**2 for each in shares))
    assert jain >= 0.98


def test_a_client_that_runs_out_now_and_then_gets_no_more_turns() -> None:
    """Each comes back as soon as it was served: one turn each, in a row."""
    queue = FairQueue[str]()
    for client in "abc":
        for _ in range(100):
            queue.push(Turn(client), client)
    queue.push(Turn("short"), "short")
    served = []
    for _ in range(200):
        served.append(queue.pop())
        if served[-1] == "short":
            for _ in range(2):
                queue.push(Turn("short"), "short")
    counts = Counter(served)
    assert max(counts.values()) - min(counts.values()) <= 1


pushes = st.tuples(st.just("push"), st.sampled_from("abc"), st.booleans())
others = st.tuples(
    st.sampled_from(("pop", "remove")), st.sampled_from("abc"), st.booleans()
)


@given(st.lists(st.one_of(pushes, others), max_size=100))
def test_everything_comes_out_once(
    steps: list[tuple[str, str, bool]],
) -> None:
    queue = FairQueue[tuple[int, str]](lambda client: WEIGHTS[client])
    waiting: dict[tuple[int, str], Turn] = {}
    before = 0
    for number, (action, client, is_urgent) in enumerate(steps):
        turn = Turn(client, is_urgent)
        if action == "push":
            queue.push(turn, (number, client))
            waiting[number, client] = turn
        elif action == "pop" and waiting:
            taken = queue.pop()
            urgent = [t for t in waiting.values() if t.is_urgent]
            # Every twentieth turn is a bulk call's.
            passed = 0 if waiting[taken].is_urgent else len(urgent)
            before += bool(passed)
            assert before <= 1 + number / 20
            own = [n for n, t in waiting.items() if t == waiting[taken]]
            assert taken == min(own)
            del waiting[taken]
        elif action == "remove":
            for item, its in list(waiting.items())[:1]:
                assert queue.remove(its, item)
                assert not queue.remove(its, item)
                del waiting[item]
        assert len(queue) == len(waiting)
        mine = [n for n, t in waiting.items() if t.client_id == client]
        assert queue.count(client) == len(mine)


def test_a_flood_of_urgent_calls_leaves_others_every_twentieth_turn() -> None:
    queue = FairQueue[str]()
    for _ in range(1000):
        queue.push(Turn("a", is_urgent=True), "urgent")
        queue.push(Turn("b"), "bulk")
    taken = [queue.pop() for _ in range(400)]
    assert taken.count("bulk") == 20
    assert "bulk" not in taken[:19]


def test_turns_are_not_saved_up_while_nothing_else_waits() -> None:
    queue = FairQueue[str]()
    for _ in range(500):
        queue.push(Turn("a", is_urgent=True), "urgent")
    for _ in range(400):
        queue.pop()
    queue.push(Turn("b"), "bulk")
    assert [queue.pop() for _ in range(19)] == ["urgent"] * 19
    assert queue.waits(bulk=False)
    assert queue.urgent_total == 81
