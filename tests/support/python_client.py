"""Users of the Python client, and the model that the simulator plays."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from metasync import AsyncMetasync, Metasync
from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser

T = TypeVar("T")

NAMES = ("ada", "bob", "eve")
MOOD = {
    "type": "object",
    "properties": {"happy": {"type": "boolean"}},
    "required": ["happy"],
}


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
