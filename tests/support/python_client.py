"""Users of the Python client, and the model that the simulator plays."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar, cast

import pytest
from pydantic import BaseModel

from metasync import AsyncMetasync, Metasync
from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser

T = TypeVar("T")

PROMPT = "Is {{ name }} happy? (row {{ n }})"
MOOD = {
    "type": "object",
    "properties": {"happy": {"type": "boolean"}},
    "required": ["happy"],
}


class Mood(BaseModel):
    """What the simulated model is asked for."""

    happy: bool


def people(count: int) -> list[dict[str, Any]]:
    """Make rows: every other one is Eve's, who is not happy."""
    return [{"name": ("ada", "eve")[n % 2], "n": n} for n in range(count)]


class Reader:
    """A client of the service, its token, and a model of the simulator's."""

    def __init__(self, user: ApiUser, simulator: Simulator) -> None:
        self.user = user
        self.simulator = simulator
        self.url = str(user.http.base_url).rstrip("/")
        self.token = f"{user.client_id}:{user.key}"
        self.model = user.model(
            sdk="OpenAI",
            endpoint=simulator.base_urls["OpenAI"],
            key="PROVIDER-KEY",
        )

    def answer_with_moods(self) -> None:
        """Have the model know who is happy, and fail for the broken."""
        self.simulator.script(
            {"pattern": "eve", "json": {"happy": False}},
            {"pattern": "broken", "text": "I do not know"},
            {"pattern": ".", "json": {"happy": True}},
        )

    @property
    def calls(self) -> int:
        """How many calls have come to the provider."""
        return int(self.simulator.stats()["requests"])

    @contextmanager
    def client(self, **options: Any) -> Iterator[Metasync]:
        """Be a program without an event loop."""
        with Metasync(self.url, self.token, **options) as client:
            yield client

    def run(
        self,
        program: Callable[[AsyncMetasync], Coroutine[Any, Any, T]],
        **options: Any,
    ) -> T:
        """Be a program with an event loop."""

        async def whole() -> T:
            async with AsyncMetasync(
                self.url, self.token, **options
            ) as client:
                return await program(client)

        return asyncio.run(whole())


class Blocking:
    """Uses the client with an event loop as if it were the other one.

    So the same tests are both clients'. What it gives is waited for.
    """

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, {"close": "aclose"}.get(name, name))
        if callable(found):
            return lambda *args, **options: self._waited(
                found(*args, **options)
            )
        return self._waited(found)

    def __iter__(self) -> Iterator[Any]:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self._runner.run(_next(self._target))

    def __next__(self) -> Any:
        return next(iter(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _waited(self, found: Any) -> Any:
        if inspect.iscoroutine(found):
            return self._waited(self._runner.run(found))
        is_ours = type(found).__module__.startswith("metasync._async")
        if is_ours or hasattr(found, "__anext__"):
            return Blocking(found, self._runner)
        return found


async def _next(iterator: AsyncIterator[Any]) -> Any:
    return await anext(iterator)


BOTH = ["sync", pytest.param("async", marks=pytest.mark.long)]


@contextmanager
def either(kind: str, reader: Reader, **options: Any) -> Iterator[Metasync]:
    """Give the client of a kind, in the form of the one without a loop."""
    if kind == "sync":
        with reader.client(**options) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        other = AsyncMetasync(reader.url, reader.token, **options)
        with Blocking(other, runner) as blocking:
            yield cast("Metasync", blocking)


def no_threads(client: Metasync) -> None:
    """Leave out what uses a client in several threads at once."""
    if not isinstance(client, Metasync):
        pytest.skip("one event loop has one thread")
