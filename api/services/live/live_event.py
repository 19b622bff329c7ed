"""An event for those who watch, and which of them it is for."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from api.models.live_models import ShownEvent, Topic
from api.services.shared.caller import Caller
from utilities.clock import to_datetime

_LONGEST_KEY = 16


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something that has happened, at a time in ms.

    `client_id` None: it concerns everybody, or only administrators if it is
    `for_admins`. `text` is the event as JSON, written once for all who
    watch.
    """

    id: str
    topic: Topic
    type: str
    at: int
    client_id: str | None
    data: Mapping[str, Any]
    for_admins: bool
    text: str

    @classmethod
    def of(
        cls,
        event_type: str,
        at: int,
        data: Mapping[str, Any],
        *,
        client_id: str | None = None,
        key: str,
        for_admins: bool = False,
    ) -> Self:
        """Make one; the topic is what its type begins with.

        Events with the same `key` and time are one.
        """
        topic = Topic(event_type.partition(".")[0])
        digest = hashlib.sha256(f"{event_type}\x00{key}".encode())
        event_id = f"{at}-{digest.hexdigest()[:_LONGEST_KEY]}"
        shown = ShownEvent(
            id=event_id,
            topic=topic,
            type=event_type,
            at=to_datetime(at),
            client_id=client_id,
            data=dict(data),
        )
        text = shown.model_dump_json(by_alias=True)
        return cls(
            event_id, topic, event_type, at, client_id, data, for_admins, text
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to be told; every field that is given must match.

    `fields` are fields of the events' data with the values they must have.
    """

    caller: Caller
    topics: frozenset[Topic] = frozenset(Topic)
    types: frozenset[str] = frozenset()
    client_id: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def matches(self, event: LiveEvent) -> bool:
        """Tell whether an event is wanted, and may be seen."""
        return (
            event.topic in self.topics
            and self._may_see(event)
            and (not self.types or event.type in self.types)
            and (self.client_id is None or self._is_of_client(event))
            and all(
                event.data.get(name) == value
                for name, value in self.fields.items()
            )
        )

    def _may_see(self, event: LiveEvent) -> bool:
        if self.caller.is_admin:
            # Sums of all clients, in place of those of each.
            return event.topic is not Topic.QUEUE or event.for_admins
        if event.client_id is None:
            return not event.for_admins
        if self.caller.clients is not None and self.caller.client_id is None:
            return event.client_id in self.caller.clients
        return event.client_id == self.caller.client_id

    def _is_of_client(self, event: LiveEvent) -> bool:
        return event.client_id in {None, self.client_id}
