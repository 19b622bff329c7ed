"""Delivers what the outbox has; each webhook has a lane of its own.

A lane sends to one receiver only, so a slow one delays nobody else. One
that fails gets one request at a time until it answers again; then
everything that waits for it is due at once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from api.services.monitoring.observer import NOBODY, Observer
from api.services.webhooks.delivery_store import (
    Attempted,
    Claimed,
    DeliveryStore,
)
from api.services.webhooks.directory import Directory, Target
from api.services.webhooks.outbox import DELIVERIES
from api.services.webhooks.sender import Sender
from api.services.webhooks.signing import Signer
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import StoreError, current_actor
from utilities.signals import Signals
from utilities.tasks import Loop, cancel_until_ended

_EVERY_SECONDS = 1.0
_MOST_AT_ONCE = 32
_GONE = 410

Disable = Callable[[str], Awaitable[None]]

log = structlog.get_logger(__name__)


class Deliverer(Loop):
    """Starts a lane for each webhook that has something due."""

    name = "webhooks"
    vital = False

    def __init__(
        self,
        store: DeliveryStore,
        directory: Directory,
        signer: Signer,
        new_sender: Callable[[], Sender],
        signals: Signals,
        disable: Disable,
        *,
        observer: Observer = NOBODY,
        clock: Clock = now_ms,
    ) -> None:
        """Take the parts; `disable` ends a webhook whose receiver is gone."""
        super().__init__()
        self._store = store
        self._directory = directory
        self._signer = signer
        self._new_sender = new_sender
        self._signals = signals
        self._disable = disable
        self._observer = observer
        self._clock = clock
        self._lanes: dict[str, asyncio.Task[None]] = {}
        # How many requests a receiver gets at once; few when it fails.
        self._width: defaultdict[str, int] = defaultdict(lambda: 4)

    async def run(self) -> None:
        """Deliver until stopped."""
        current_actor.set("webhooks")
        self.attach()
        self._signals.subscribe(DELIVERIES, self.wake_safely)
        try:
            async with self._new_sender() as sender:
                await self._deliver(sender)
        finally:
            self._signals.unsubscribe(DELIVERIES, self.wake_safely)

    async def _deliver(self, sender: Sender) -> None:
        try:
            while not self.stopping:
                await self._start_lanes(sender)
                await self.pause(_EVERY_SECONDS)
        finally:
            # What is cut off is due again when its lease ends.
            await cancel_until_ended(self._lanes.values())
            self._lanes.clear()

    async def _start_lanes(self, sender: Sender) -> None:
        idle = set(self._directory.ids) - self._lanes.keys()
        try:
            due = await self._store.due(idle)
        except StoreError as error:
            log.warning("deliveries_not_read", error=type(error).__name__)
            return
        for webhook_id in due:
            lane = asyncio.create_task(self._lane(webhook_id, sender))
            self._lanes[webhook_id] = lane
            lane.add_done_callback(partial(self._ended, webhook_id))

    def _ended(self, webhook_id: str, _lane: asyncio.Task[None]) -> None:
        self._lanes.pop(webhook_id, None)

    async def _lane(self, webhook_id: str, sender: Sender) -> None:
        try:
            while not self.stopping:
                # It may have been changed or disabled meanwhile.
                target = self._directory.get(webhook_id)
                if target is None or not await self._block(target, sender):
                    return
        except StoreError as error:
            log.warning("deliveries_not_kept", error=type(error).__name__)
        except Exception:
            # One broken receiver must not end the deliveries to others.
            log.exception("delivery_defect", webhookId=webhook_id)

    async def _block(self, target: Target, sender: Sender) -> bool:
        """Attempt some; tell whether to go on with this receiver."""
        width = self._width[target.webhook_id]
        claimed = await self._store.claim(target.webhook_id, width)
        if not claimed:
            return False
        attempts = await asyncio.gather(
            *(self._attempt(target, each, sender) for each in claimed)
        )
        await self._store.record(attempts)
        self._count(attempts)
        if any(each.answer.status == _GONE for each in attempts):
            await self._disable(target.webhook_id)
            await self._directory.refresh()
            return False
        await self._adjust(target.webhook_id, width, attempts)
        return True

    async def _attempt(
        self, target: Target, claimed: Claimed, sender: Sender
    ) -> Attempted:
        now = self._clock()
        message = (claimed.delivery.event_id, now // 1000, claimed.body)
        headers = self._signer.headers(target.webhook_id, target.salt, message)
        answer = await sender.send(target.url, headers, claimed.body)
        return Attempted(claimed, answer, now)

    async def _adjust(
        self, webhook_id: str, width: int, attempts: Sequence[Attempted]
    ) -> None:
        failed = [each for each in attempts if each.answer.error is not None]
        if failed:
            self._width[webhook_id] = 1
            if len(failed) == len(attempts):
                return
        else:
            self._width[webhook_id] = min(width * 2, _MOST_AT_ONCE)
        # It failed before, in this process or for another one.
        if width == 1 or any(
            each.claimed.delivery.attempts > 1 for each in attempts
        ):
            await self._store.hasten(webhook_id)

    def _count(self, attempts: Sequence[Attempted]) -> None:
        for each in attempts:
            failed = each.answer.error is not None
            self._observer.delivery_attempted(
                "failed" if failed else "delivered"
            )
