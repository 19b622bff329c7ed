import contextlib

import pytest

from api.core.errors import TooManyFailedLoginsError
from api.core.login_limits import LoginLimits

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    now = 600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> LoginLimits:
    return LoginLimits(6, clock, most=100)


def fail(limits: LoginLimits, count: int, *where: str) -> int:
    """Fail so often; return how many were answered 401."""
    answered = 0
    for _ in range(count):
        with contextlib.suppress(TooManyFailedLoginsError):
            limits.failed(*where)
            answered += 1
    return answered


def test_an_address_has_so_many_failures_a_minute(
    limits: LoginLimits, clock: Clock
) -> None:
    assert fail(limits, 50, HERE) == 6
    assert fail(limits, 50, THERE) == 6
    with pytest.raises(TooManyFailedLoginsError) as refused:
        limits.failed(HERE)
    clock.now += refused.value.retry_after
    assert fail(limits, 50, HERE) == 1


def test_a_client_at_an_address_has_a_third(limits: LoginLimits) -> None:
    assert fail(limits, 50, HERE, "a") == 2
    assert fail(limits, 50, HERE, "b") == 2
    assert fail(limits, 50, THERE, "a") == 2
    # What is refused for its client does not count for the address.
    assert fail(limits, 50, HERE) == 2


def test_above_the_limit_no_secret_of_the_operator_is_compared(
    limits: LoginLimits, clock: Clock
) -> None:
    limits.check("admin", HERE)
    fail(limits, 6, HERE)
    with pytest.raises(TooManyFailedLoginsError) as refused:
        limits.check("admin", HERE)
    assert refused.value.retry_after > 1
    limits.check("admin", THERE)
    clock.now += refused.value.retry_after
    limits.check("admin", HERE)


def test_where_the_right_one_came_from_it_is_always_compared(
    limits: LoginLimits,
) -> None:
    limits.succeeded("admin", HERE)
    fail(limits, 50, HERE)
    limits.check("admin", HERE)
    # Who knows one secret gets no more tries for another.
    with pytest.raises(TooManyFailedLoginsError):
        limits.check("docs", HERE)


def test_an_endless_id_takes_little_memory(limits: LoginLimits) -> None:
    assert fail(limits, 50, HERE, "x" * 100_000) == 2
    assert all(len(name) <= 64 for name, _ in limits._of_clients)


def test_what_an_address_is_refused_takes_no_memory(
    limits: LoginLimits,
) -> None:
    for number in range(50):
        fail(limits, 1, HERE, f"c{number}")
    assert len(limits) == 7


def test_zero_is_no_limit() -> None:
    limits = LoginLimits(0)
    assert fail(limits, 1000, HERE, "a") == 1000
    limits.check("admin", HERE)


def test_memory_is_bounded_and_the_last_failures_stay(
    limits: LoginLimits,
) -> None:
    for number in range(1000):
        fail(limits, 3, HERE)
        fail(limits, 1, f"10.0.{number // 250}.{number % 250}", f"c{number}")
        limits.succeeded("admin", f"a{number}")
    assert len(limits) <= 300
    with pytest.raises(TooManyFailedLoginsError):
        limits.failed(HERE)
