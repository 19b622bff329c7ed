"""Webhooks: rules and ownership."""

import contextlib
from collections.abc import Mapping
from typing import Any

from api.core.errors import NotFoundError, RuleError
from api.models.webhook_models import (
    Delivery,
    DeliveryStatus,
    Webhook,
    WebhookCreate,
    WebhookUpdate,
    WebhookWithSecret,
)
from api.services.shared.caller import Caller
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository, object_id
from api.services.webhooks.addresses import check_url
from api.services.webhooks.collector import WEBHOOKS_CHANGED
from api.services.webhooks.directory import Directory, Target
from api.services.webhooks.outbox import DELIVERIES, Outbox
from api.services.webhooks.signing import Signer, new_salt
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, Filter
from utilities.signals import Signals

MOST_WEBHOOKS = 50
_GONE = "GONE"


class WebhookService:
    """What clients and the administrator do with webhooks."""

    def __init__(
        self,
        documents: Documents,
        deliveries: Documents,
        directory: Directory,
        outbox: Outbox,
        signer: Signer,
        signals: Signals,
        *,
        allow_private: bool = False,
        clock: Clock = now_ms,
    ) -> None:
        self._documents = documents
        self._webhooks = Repository(documents, Webhook, "Webhook")
        self._deliveries = deliveries
        self._directory = directory
        self._outbox = outbox
        self._signer = signer
        self._signals = signals
        self._allow_private = allow_private
        self._clock = clock

    async def refresh(self) -> None:
        """Learn which webhooks there are, before anything ends here."""
        await self._directory.refresh()

    async def create(
        self, request: WebhookCreate, caller: Caller
    ) -> WebhookWithSecret:
        """Make a webhook; the administrator's own gets all clients' events.

        Raises:
            RuleError: its url is refused, or there are too many.
        """
        check_url(request.url, allow_private=self._allow_private)
        # Without a client, it gets the events of all of them.
        owner = (
            caller.client_id if caller.is_admin else caller.require_client()
        )
        own = {"clientId": owner}
        listed = await self._documents.find(
            own, limit=MOST_WEBHOOKS, fields=["_id"]
        )
        if len(listed) >= MOST_WEBHOOKS:
            raise RuleError(
                f"There are {MOST_WEBHOOKS} webhooks already; delete one first"
            )
        fields = request.model_dump(by_alias=True)
        made = await self._webhooks.add(
            {**fields, **own, "disabledBecause": None, "salt": new_salt()}
        )
        await self._changed()
        return self._with_secret(made)

    async def page(self, caller: Caller, page: PageRequest) -> Page[Webhook]:
        """List webhooks in order of their making."""
        return await fetch_page(
            self._documents, caller.own, page, Webhook.from_document
        )

    async def get(self, webhook_id: str, caller: Caller) -> Webhook:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        return await self._webhooks.get(webhook_id, caller.own)

    async def update(
        self, webhook_id: str, request: WebhookUpdate, caller: Caller
    ) -> Webhook:
        """Change what is given; deliveries that wait go to a new url.

        Raises:
            RuleError: the url is refused.
        """
        if request.url is not None:
            check_url(request.url, allow_private=self._allow_private)
        changes = request.model_dump(exclude_none=True, by_alias=True)
        if request.enabled is not None:
            changes["disabledBecause"] = None
        return await self._change(webhook_id, caller.own, changes)

    async def rotate_secret(
        self, webhook_id: str, caller: Caller
    ) -> WebhookWithSecret:
        """Give a webhook a new secret; the old one ends at once."""
        salt = {"salt": new_salt()}
        changed = await self._change(webhook_id, caller.own, salt)
        return self._with_secret(changed)

    async def delete(self, webhook_id: str, caller: Caller) -> None:
        """Delete a webhook; what waits for it is not delivered."""
        await self._webhooks.remove(webhook_id, caller.own)
        await self._deliveries.soft_delete({"webhookId": webhook_id})
        await self._changed()

    async def disable_gone(self, webhook_id: str) -> None:
        """Disable a webhook whose receiver has answered 410."""
        changes = {"enabled": False, "disabledBecause": _GONE}
        # It may have been deleted meanwhile.
        with contextlib.suppress(NotFoundError):
            await self._change(webhook_id, {}, changes)

    async def test(self, webhook_id: str, caller: Caller) -> Delivery:
        """Send a webhook an event of the type `webhook.test`.

        Raises:
            RuleError: it is disabled.
        """
        webhook = await self.get(webhook_id, caller)
        if not webhook.enabled:
            raise RuleError("The webhook is disabled; enable it first")
        return Delivery.from_document(
            await self._outbox.test(Target.of(webhook))
        )

    async def deliveries(
        self,
        webhook_id: str,
        status: DeliveryStatus | None,
        caller: Caller,
        page: PageRequest,
    ) -> Page[Delivery]:
        """List a webhook's deliveries, the newest first."""
        webhook = await self.get(webhook_id, caller)
        where: Document = {"webhookId": webhook.webhook_id}
        if status is not None:
            where["status"] = status
        return await fetch_page(
            self._deliveries,
            where,
            page,
            Delivery.from_document,
            order="madeAt",
            newest_first=True,
        )

    async def replay(
        self, webhook_id: str, delivery_id: str, caller: Caller
    ) -> Delivery:
        """Deliver an event again, with the same `webhook-id`.

        Raises:
            NotFoundError: there is no such delivery.
        """
        webhook = await self.get(webhook_id, caller)
        now = self._clock()
        where = {
            "_id": object_id(delivery_id, "Delivery"),
            "webhookId": webhook.webhook_id,
        }
        changes = {
            "status": DeliveryStatus.PENDING,
            "attempts": 0,
            "since": now,
            "nextAttemptAt": now,
            # An attempt that still runs no longer counts.
            "token": None,
        }
        document = await self._deliveries.update(where, changes)
        if document is None:
            raise NotFoundError("Delivery")
        self._signals.publish(DELIVERIES)
        return Delivery.from_document(document)

    async def _change(
        self, webhook_id: str, scope: Filter, changes: Mapping[str, Any]
    ) -> Webhook:
        webhook = await self._webhooks.change(
            webhook_id, scope, lambda _: changes
        )
        await self._changed()
        return webhook

    async def _changed(self) -> None:
        """Know it in this process at once; others look every second."""
        await self._directory.refresh()
        self._signals.publish(WEBHOOKS_CHANGED)
        self._signals.publish(DELIVERIES)

    def _with_secret(self, webhook: Webhook) -> WebhookWithSecret:
        secret = self._signer.secret(webhook.webhook_id, webhook.salt)
        return WebhookWithSecret(**webhook.__dict__, secret=secret)
