"""The enabled webhooks, as this process knows them."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from api.models.webhook_models import EventType, Webhook
from api.services.shared.client_states import ClientStates
from api.services.shared.endings import EndingKind, Endings
from api.services.shared.events import Event
from api.services.shared.paging import read_all
from utilities.cosmos_connector import Documents

_ENDS = MappingProxyType(
    {
        EndingKind.JOB: frozenset(
            {
                EventType.JOB_PROCESSED,
                EventType.JOB_FAILED,
                EventType.JOB_CANCELLED,
            }
        ),
        EndingKind.RUN: frozenset(
            {
                EventType.RUN_COMPLETED,
                EventType.RUN_FAILED,
                EventType.RUN_CANCELLED,
            }
        ),
        EndingKind.BATCH: frozenset({EventType.BATCH_ENDED}),
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """A webhook, as far as its deliveries need it."""

    webhook_id: str
    client_id: str | None
    url: str
    events: frozenset[str]
    salt: str

    @classmethod
    def of(cls, webhook: Webhook) -> "Target":
        """Take what is needed."""
        return cls(
            webhook.webhook_id,
            webhook.client_id,
            webhook.url,
            frozenset(webhook.events),
            webhook.salt,
        )

    def wants(self, event: Event) -> bool:
        """Tell whether an event is for this webhook."""
        known = event.client_id is None or self.client_id in {
            None,
            event.client_id,
        }
        return known and event.type in self.events


class Directory:
    """Knows the enabled webhooks, and has ends noted for them."""

    def __init__(
        self, documents: Documents, endings: Endings, states: ClientStates
    ) -> None:
        self._documents = documents
        self._endings = endings
        self._states = states
        self._targets: dict[str, Target] = {}

    @property
    def ids(self) -> Iterable[str]:
        """The ids of the enabled webhooks."""
        return self._targets.keys()

    async def refresh(self) -> None:
        """Read them anew.

        Raises:
            StoreError: they are known as before.
        """
        found = await self._documents.find({"enabled": True})
        webhooks = await read_all(Webhook.from_document, found)
        clients = {each.client_id for each in webhooks if each.client_id}
        # One that is disabled or deleted is not told anything.
        allowed = {None, *await self._states.enabled(clients)}
        targets = [
            Target.of(each) for each in webhooks if each.client_id in allowed
        ]
        self._targets = {target.webhook_id: target for target in targets}
        self._endings.watch(
            {
                kind: frozenset(
                    target.client_id
                    for target in targets
                    if target.events & types
                )
                for kind, types in _ENDS.items()
            }
        )

    def get(self, webhook_id: str) -> Target | None:
        """Return one; None if it is not enabled."""
        return self._targets.get(webhook_id)

    def wanting(self, event: Event) -> list[Target]:
        """Return those that an event is for."""
        return [each for each in self._targets.values() if each.wants(event)]
