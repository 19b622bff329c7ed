"""Models and prompts as workers see them: read once, kept for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from api.models.model_models import ModelWithKey
from api.models.prompt_models import Prompt
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_service import PromptService

# A change of a model or prompt reaches running workers after this long.
KEEP_SECONDS = 2.0
_MOST_ENTRIES = 10_000

K = TypeVar("K")
V = TypeVar("V")


class _Kept(Generic[K, V]):
    """Remembers what was read, for `KEEP_SECONDS`.

    Hundreds of jobs start at once: the first that finds an entry missing
    or old reads it, the others wait for that read.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[K, tuple[float, asyncio.Future[V]]] = {}

    async def get(self, key: K, read: Callable[[], Awaitable[V]]) -> V:
        entry = self._entries.get(key)
        if entry is None or self._clock() - entry[0] >= KEEP_SECONDS:
            entry = self._read(key, read)
        _, reading = entry
        if reading.done():
            return reading.result()
        # If one waiter is cancelled, others wait for the same read.
        return await asyncio.shield(reading)

    def _read(
        self, key: K, read: Callable[[], Awaitable[V]]
    ) -> tuple[float, asyncio.Future[V]]:
        reading = asyncio.ensure_future(read())
        entry = self._entries[key] = (self._clock(), reading)
        self._make_room()

        def forget_error(ended: asyncio.Future[V]) -> None:
            failed = ended.cancelled() or ended.exception() is not None
            if failed and self._entries.get(key) is entry:
                del self._entries[key]

        reading.add_done_callback(forget_error)
        return entry

    def forget(self, key: K) -> None:
        self._entries.pop(key, None)

    def _make_room(self) -> None:
        if len(self._entries) > _MOST_ENTRIES:
            del self._entries[next(iter(self._entries))]


class Catalog:
    """Looks up what jobs name; one a worker, in its event loop."""

    def __init__(
        self,
        models: ModelService,
        prompts: PromptService,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._prompts = prompts
        self._kept_models: _Kept[str, ModelWithKey] = _Kept(clock)
        self._kept_prompts: _Kept[
            tuple[str, tuple[str, ...]], list[Prompt]
        ] = _Kept(clock)

    async def model(self, reference: str) -> ModelWithKey:
        """Return the model that a job names.

        Raises:
            NotFoundError: it is gone.
        """
        return await self._kept_models.get(
            reference, lambda: self._models.find(reference)
        )

    async def prompts(
        self, prompt_ids: Sequence[str], client_id: str
    ) -> list[Prompt]:
        """Return the prompts that a client's job names, in order.

        Raises:
            NotFoundError: one is gone; names it.
        """
        key = (client_id, tuple(prompt_ids))
        return await self._kept_prompts.get(
            key, lambda: self._read(prompt_ids, client_id)
        )

    def forget(
        self, reference: str, prompt_ids: Sequence[str], client_id: str
    ) -> None:
        """Read a model and prompts anew when they are looked up next."""
        self._kept_models.forget(reference)
        self._kept_prompts.forget((client_id, tuple(prompt_ids)))

    async def _read(
        self, prompt_ids: Sequence[str], client_id: str
    ) -> list[Prompt]:
        found = await self._prompts.usable(prompt_ids, client_id)
        return [found[prompt_id] for prompt_id in prompt_ids]
