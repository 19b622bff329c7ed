"""What the audit records, before it is chained and stored."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic_core import from_json, to_json

from api.services.shared.audit_trail import MOST_IDS
from utilities.cosmos_connector import ObjectId

DONE: Final = "done"
REFUSED: Final = "refused"
FAILED: Final = "failed"
# Nobody is known by a credential.
UNKNOWN: Final = "unknown"
Change = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One request that has changed something, or was refused.

    `target` is the id that it is about, if it is about one; `reason` is
    why it was refused. `count` is above 1 where requests that are alike,
    and come in masses, were put together: `at` is then the first one's
    time and `until` the last one's (ms).
    """

    id: str
    at: int
    until: int
    actor: str
    name: str
    by: str | None
    address: str
    action: str
    path: str
    target: str | None
    status: int
    outcome: str
    correlation_id: str | None = None
    reason: str | None = None
    kind: str | None = None
    things: int = 0
    ids: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    count: int = 1
    # Whether it may be put together with others.
    is_frequent: bool = False

    def to_line(self) -> bytes:
        """Give one line of JSON."""
        return to_json(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Event":
        """Read a line again.

        Raises:
            ValueError: it is none; TypeError: as well.
        """
        fields = from_json(line)
        for name in ("ids", "changes"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    @property
    def alike(self) -> tuple[Any, ...]:
        """What events have in common that are put together."""
        return (
            self.actor,
            self.by,
            self.address,
            self.action,
            self.status,
            self.reason,
        )


def new_event_id() -> str:
    """Make an id that no other event has."""
    return str(ObjectId())


@dataclass(slots=True)
class _Group:
    first: Event
    last: Event
    count: int = 0
    things: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, event: Event) -> None:
        self.last = event
        self.count += event.count
        self.things += event.things
        self.ids += event.ids[: MOST_IDS - len(self.ids)]

    def event(self) -> Event:
        if self.count == 1:
            return self.first
        return replace(
            self.first,
            until=self.last.until,
            count=self.count,
            things=self.things,
            ids=tuple(self.ids),
            # They are the first one's only.
            correlation_id=None,
            target=None,
            path=self.first.action.partition(" ")[2],
        )


def put_together(events: Iterable[Event]) -> list[Event]:
    """Make one event of those that are frequent and alike.

    The same events give the same again, with the same ids.
    """
    groups: dict[tuple[Any, ...], _Group] = {}
    for event in events:
        key = event.alike if event.is_frequent else (event.id,)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(event, event)
        group.add(event)
    return [group.event() for group in groups.values()]
