"""A call goes on to the next credential, as long as nobody was told."""

import pytest

from api.services.calls.credentials import by_turns
from api.services.calls.model_call import CallProgress
from config import MissingModelKeyError
from llm_sdks import errors
from llm_sdks.credentials.pool import CredentialPool

NAMES = ("a", "b", "c")


class Provider:
    """Fails with some credentials."""

    def __init__(self, **failures: Exception) -> None:
        self.failures = failures
        self.asked: list[str] = []
        self.progress = CallProgress()
        self.pool = CredentialPool(NAMES)

    async def ask(self) -> str:
        return await by_turns(self.pool, "m", self._answer, self.progress)

    async def _answer(self, name: str) -> str:
        self.asked.append(name)
        if name in self.failures:
            raise self.failures[name]
        return f"by {name}"


async def test_the_next_one_answers() -> None:
    provider = Provider(
        a=errors.NotAuthorizedError("401"), b=MissingModelKeyError("B")
    )
    assert await provider.ask() == "by c"
    assert provider.asked == ["a", "b", "c"]
    assert set(provider.pool.out()) == {"a", "b"}
    assert await provider.ask() == "by c"


async def test_what_the_last_one_says_counts() -> None:
    provider = Provider(
        a=errors.NotAuthorizedError("first"),
        b=errors.RateLimitedError("second"),
        c=errors.NotAuthorizedError("third"),
    )
    with pytest.raises(errors.NotAuthorizedError, match="third"):
        await provider.ask()
    assert provider.asked == ["a", "b", "c"]
    # All are out: the first to come back is tried, and no other.
    with pytest.raises(errors.RateLimitedError):
        await provider.ask()
    assert provider.asked[3:] == ["b"]


async def test_nothing_is_made_again_that_a_client_was_told_of() -> None:
    provider = Provider(a=errors.RateLimitedError("429"))
    provider.progress.has_begun = True
    with pytest.raises(errors.RateLimitedError):
        await provider.ask()
    assert provider.asked == ["a"]


@pytest.mark.parametrize(
    "error", [errors.ProviderError("500"), errors.BadRequestError("400")]
)
async def test_other_failures_are_the_calls_own(error: Exception) -> None:
    provider = Provider(a=error)
    with pytest.raises(type(error)):
        await provider.ask()
    assert provider.asked == ["a"]
