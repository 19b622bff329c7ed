"""Tokens: one exchange at a time, and never one that has ended."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from llm_sdks import errors
from llm_sdks.credentials.exchanged import ExchangedCredential, Token
from llm_sdks.credentials.tokens import RENEW_SECONDS, Tokens

SECRET = SecretStr('{"clientId": "a"}')


class Endpoint:
    """Gives numbered tokens, by a clock that the test sets."""

    def __init__(self, life: float = 3600.0) -> None:
        self.now = 1000.0
        self.life = life
        self.exchanges = 0
        self.error: errors.LLMError | None = None
        self.during: Callable[[], None] = lambda: None
        self.running = self.most_running = 0

    def exchange(self) -> Token:
        self.exchanges += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            self.during()
            if self.error is not None:
                raise self.error
            return Token(f"t{self.exchanges}", self.life)
        finally:
            self.running -= 1

    def tokens(self) -> Tokens:
        return Tokens(
            lambda: self.now, lambda _: ExchangedCredential(self.exchange)
        )


def value(tokens: Tokens) -> str:
    return tokens.fresh(SECRET).value.get_secret_value()


def test_a_token_is_kept_for_its_life_and_renewed_before_its_end() -> None:
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    assert tokens.valid(SECRET) is None
    assert value(tokens) == "t1"
    endpoint.now += 3600 - RENEW_SECONDS - 1
    assert value(tokens) == "t1"
    assert tokens.valid(SECRET) is not None
    endpoint.now += 1
    assert tokens.valid(SECRET) is None
    assert value(tokens) == "t2"
    assert endpoint.exchanges == 2


def test_a_renewal_that_fails_leaves_the_token_in_use_until_its_end() -> None:
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    value(tokens)
    endpoint.now += 3600 - RENEW_SECONDS
    endpoint.error = errors.ProviderError("no")
    assert value(tokens) == "t1"
    # And nobody asks for it again at once.
    assert tokens.valid(SECRET) is not None
    assert endpoint.exchanges == 2
    endpoint.now += RENEW_SECONDS
    assert tokens.valid(SECRET) is None
    with pytest.raises(errors.ProviderError):
        value(tokens)


def test_failures_in_a_row_are_paused_longer_and_longer() -> None:
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    endpoint.error = errors.NotAuthorizedError("refused", http_status=401)
    waits = []
    for _ in range(8):
        before = endpoint.exchanges
        with pytest.raises(errors.NotAuthorizedError, match="refused"):
            value(tokens)
        assert endpoint.exchanges == before + 1
        with pytest.raises(errors.NotAuthorizedError) as told:
            value(tokens)
        assert endpoint.exchanges == before + 1
        assert told.value.retry_after is not None
        assert told.value.http_status == 401
        waits.append(told.value.retry_after)
        endpoint.now += told.value.retry_after
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    endpoint.error = None
    assert value(tokens).startswith("t")


def test_many_threads_wait_for_one_exchange() -> None:
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    all_here = threading.Barrier(20)

    def ask(_: int) -> str:
        all_here.wait(10)
        return value(tokens)

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(ask, range(20))) == {"t1"}
    assert (endpoint.exchanges, endpoint.most_running) == (1, 1)


def test_while_one_renews_the_others_go_on() -> None:
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    value(tokens)
    endpoint.now += 3600 - 10
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert leave.wait(10)

    endpoint.during = hold
    with ThreadPoolExecutor(1) as thread:
        renewed = thread.submit(value, tokens)
        assert entered.wait(10)
        assert value(tokens) == "t1"
        held = tokens.valid(SECRET)
        assert held is not None
        leave.set()
        assert renewed.result(10) == "t2"


def test_a_refused_token_is_renewed_but_not_when_it_is_new() -> None:
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    held = tokens.fresh(SECRET)
    assert not tokens.refused(SECRET, held.value)
    assert value(tokens) == "t1"
    endpoint.now += 61
    assert tokens.refused(SECRET, held.value)
    assert value(tokens) == "t2"
    # A call that was made with the old one is simply made again.
    assert tokens.refused(SECRET, held.value)
    assert value(tokens) == "t2"


@given(
    life=st.floats(1, 100_000),
    steps=st.lists(st.tuples(st.floats(0, 5000), st.booleans()), max_size=30),
)
def test_no_token_that_has_ended_is_handed_out(
    life: float, steps: list[tuple[float, bool]]
) -> None:
    endpoint = Endpoint(life)
    tokens = endpoint.tokens()
    for seconds, fails in steps:
        endpoint.now += seconds
        endpoint.error = errors.ProviderError("no") if fails else None
        held = tokens.valid(SECRET)
        if held is None:
            try:
                held = tokens.fresh(SECRET)
            except errors.ProviderError:
                continue
        assert held.ends_at > endpoint.now
        assert held.ends_at <= endpoint.now + life


def test_a_secret_is_in_no_text_of_it() -> None:
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    shown = repr(tokens.fresh(SECRET)) + repr(vars(tokens))
    assert "t1" not in shown
    assert json.loads(SECRET.get_secret_value())["clientId"] == "a"
    assert "clientId" not in shown
