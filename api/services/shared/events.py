"""Events that somebody outside may be told, and the seam for emitting them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from api.models.webhook_models import EventType


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened, at a time in ms.

    `client_id` None: it concerns every client. Events with the same `key`
    are one: a repeated one is not delivered again. Without a key, each is
    another one. `data` becomes JSON; it must hold no secret.
    """

    type: EventType
    data: Mapping[str, Any]
    at: int
    client_id: str | None = None
    key: str | None = None


class EventSink(Protocol):
    """Takes events; they are kept when it returns."""

    async def emit(self, event: Event) -> None:
        """Keep an event for everybody who wants to know.

        Raises:
            StoreError: the database did not take it.
        """


class EndsWatched(Protocol):
    """Somebody, beside webhooks, who may want to know which jobs end."""

    async def look_for_interest(self) -> bool:
        """Find out whether anybody does, in any process.

        Raises:
            StoreError: it is as it was known before.
        """

    async def emit_all(self, events: Sequence[Event]) -> None:
        """Keep events, if anybody does.

        Raises:
            StoreError: they are not kept.
        """


class _Nobody:
    async def emit(self, event: Event) -> None:
        """Ignore it."""

    async def look_for_interest(self) -> bool:
        return False

    async def emit_all(self, events: Sequence[Event]) -> None:
        """Ignore them."""


NO_EVENTS: Final[EventSink] = _Nobody()
NOBODY_WATCHES: Final[EndsWatched] = _Nobody()
