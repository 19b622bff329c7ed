"""Users of the Python client, and the model that the simulator plays."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

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
