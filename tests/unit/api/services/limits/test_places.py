"""Places of a limit of calls at once: never more, and fairly divided."""

from hypothesis import given
from hypothesis import strategies as st

from api.services.limits.places import Holder, fair_shares, renew
from api.services.limits.schedule import BURST_MS, Rate, grant

names = st.sampled_from("abcdef")


@given(st.integers(0, 50), st.dictionaries(names, st.integers(0, 30)))
def test_fair_shares(limit: int, wants: dict[str, int]) -> None:
    shares = fair_shares(limit, wants)
    assert sum(shares.values()) == min(limit, sum(wants.values()))
    for name, share in shares.items():
        assert 0 <= share <= wants[name]
        if share < wants[name]:
            # Nobody has more than one place above who wants more.
            assert max(shares.values()) <= share + 1


# A process's step: it renews, begins, or ends calls; time goes on; it dies.
steps = st.lists(
    st.tuples(
        names,
        st.sampled_from(("renew", "begin", "end", "die", "time")),
        st.integers(0, 20),
    ),
    max_size=60,
)


@given(st.integers(1, 12), steps)
def test_processes_never_run_more_than_the_limit(
    limit: int, todo: list[tuple[str, str, int]]
) -> None:
    now = 0
    holders: tuple[Holder, ...] = ()
    running = dict.fromkeys("abcdef", 0)
    allowed = dict.fromkeys("abcdef", 0)
    until = dict.fromkeys("abcdef", 0)
    for name, action, amount in todo:
        if action == "renew":
            has = running[name]
            mine = Holder(name, has, has + amount, now + 3000)
            renewed = renew(limit, holders, mine, now)
            holders, allowed[name] = renewed.holders, renewed.allowed
            until[name] = now + 3000
        elif action == "begin":
            free = allowed[name] - running[name]
            if now < until[name] and free > 0:
                running[name] += min(free, amount)
        elif action == "end":
            running[name] = max(running[name] - amount, 0)
        elif action == "die":
            # Its calls end with it; its lease is found expired later.
            running[name] = allowed[name] = 0
        elif all(until[each] > now + 100 * amount for each in running):
            now += 100 * amount
        assert sum(running.values()) <= limit


@given(
    st.integers(1, 6000),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 5)), max_size=80),
)
def test_no_minute_has_more_calls_than_its_rate(
    per_minute: int, blocks: list[tuple[int, int]]
) -> None:
    arrival, now = 0.0, 1_000_000
    times: list[float] = []
    for pause, count in blocks:
        now += pause
        block = grant(Rate(per_minute), arrival, now, [1.0] * count)
        assert block.times[0] >= now - BURST_MS
        arrival = block.arrival
        times += [max(moment, now) for moment in block.times]
    for position, start in enumerate(times):
        within = [t for t in times[position:] if t < start + 60_000]
        assert len(within) <= per_minute
