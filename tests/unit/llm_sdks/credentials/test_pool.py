"""Credentials take turns; those that fail are left out, and come back."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from llm_sdks import errors
from llm_sdks.credentials.pool import (
    CredentialPool,
    CredentialPools,
    is_of_credential,
)

NAMES = ("a", "b", "c")
REFUSED = errors.NotAuthorizedError("no")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 20), st.integers(0, 200))
def test_turns_are_equal(count: int, calls: int) -> None:
    names = [str(n) for n in range(count)]
    pool = CredentialPool(names)
    taken = Counter(pool.first() for _ in range(calls))
    counts = [taken[name] for name in names]
    assert max(counts) - min(counts) <= 1


def test_turns_are_equal_from_many_threads() -> None:
    pool = CredentialPool(NAMES)
    taken: list[str] = []

    def take() -> None:
        taken.extend(pool.first() for _ in range(3000))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(Counter(taken).values()) == {8000}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (REFUSED, 60),
        (errors.RateLimitedError("slow"), 1),
        (errors.RateLimitedError("slow", retry_after=7), 7),
        (errors.RateLimitedError("slow", retry_after=1e9), 86_400),
        (errors.AccountExhaustedError("money", retry_after=5), 60),
        (errors.ProviderError("500"), 1),
        (errors.BadRequestError("yours"), 0),
        (errors.TruncatedError("long"), 0),
    ],
)
def test_who_fails_is_out_by_the_cause(
    error: errors.LLMError, seconds: float
) -> None:
    clock = Clock()
    pool = CredentialPool(NAMES, clock)
    assert pool.failed("a", error) == seconds
    if not seconds:
        assert pool.out() == {}
        return
    assert pool.out() == {"a": seconds}
    assert {pool.first() for _ in range(9)} == {"b", "c"}
    clock.now += seconds
    assert {pool.first() for _ in range(9)} == {"a", "b", "c"}


def test_failures_of_the_provider_in_a_row_last_longer() -> None:
    pool = CredentialPool(NAMES)
    outage = errors.OverloadedError("529")
    lasted = [pool.failed("a", outage) for _ in range(7)]
    assert lasted == [1, 2, 4, 8, 16, 30, 30]
    pool.answered("a")
    assert pool.out() == {}
    assert pool.failed("a", outage) == 1


def test_if_all_are_out_the_first_to_come_back_is_tried() -> None:
    pool = CredentialPool(NAMES, Clock())
    for name, wait in (("a", 9.0), ("b", 3.0), ("c", 5.0)):
        pool.failed(name, errors.RateLimitedError("x", retry_after=wait))
    assert pool.first() == "b"
    assert pool.following(["b"]) is None


def test_only_what_is_done_to_a_credential_is_tried_with_another() -> None:
    assert is_of_credential(REFUSED)
    assert is_of_credential(errors.AccountExhaustedError("x"))
    assert not is_of_credential(errors.ProviderError("500"))
    assert not is_of_credential(errors.ContentFilteredError("x"))


def test_a_model_has_one_pool_until_its_keys_change() -> None:
    pools = CredentialPools()
    pool = pools.of("m", NAMES)
    assert pools.of("m", list(NAMES)) is pool
    assert pools.of("other", NAMES) is not pool
    assert pools.of("m", ("a", "b")).names == ("a", "b")


class Turns(RuleBasedStateMachine):
    """Whatever happens: nobody who is out is chosen while others are not."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.pool = CredentialPool(NAMES, self.clock)
        self.until = dict.fromkeys(NAMES, 0.0)

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(name=st.sampled_from(NAMES), seconds=st.floats(1, 50))
    def limited(self, name: str, seconds: float) -> None:
        error = errors.RateLimitedError("x", retry_after=seconds)
        lasts = self.pool.failed(name, error)
        until = self.clock.now + lasts
        self.until[name] = max(self.until[name], until)

    @rule(name=st.sampled_from(NAMES))
    def answered(self, name: str) -> None:
        self.pool.answered(name)
        self.until[name] = 0.0

    @rule(tried=st.sets(st.sampled_from(NAMES)))
    def pick(self, tried: set[str]) -> None:
        open_ = {n for n in NAMES if self.until[n] <= self.clock.now}
        assert not open_ or self.pool.first() in open_
        found = self.pool.following(tried)
        assert found in (open_ - tried) if open_ - tried else found is None

    @invariant()
    def tells_who_is_out(self) -> None:
        out = {n for n in NAMES if self.until[n] > self.clock.now}
        assert set(self.pool.out()) == out


TestTurns = Turns.TestCase
