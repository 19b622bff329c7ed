"""The queries of deliveries: claimed by lease, recorded by token."""

import random
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from api.models.webhook_models import Delivery, DeliveryStatus
from api.services.shared.paging import read_all
from api.services.webhooks.sender import Answer
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, ObjectId

# Longer than any attempt takes; if its process dies, another one repeats.
_LEASE_MS = 25_000
_LOOKED_AT = 200
_GIVEN_UP_AFTER_MS = 24 * 3600 * 1000
_FIRST_PAUSE_MS = 5_000
_LONGEST_PAUSE_MS = 3_600_000
_GROWTH = 3.0
# Pauses are spread by this part of them, so that receivers get no bursts.
_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this process is to attempt now."""

    delivery: Delivery
    token: str
    body: str
    since: int


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt and how it ended."""

    claimed: Claimed
    answer: Answer
    at: int


class DeliveryStore:
    """Claims due deliveries and records their attempts."""

    def __init__(self, documents: Documents, clock: Clock = now_ms) -> None:
        self._documents = documents
        self._clock = clock

    async def due(self, webhook_ids: Collection[str]) -> set[str]:
        """Return those of the webhooks that have something due."""
        if not webhook_ids:
            return set()
        found = await self._documents.find(
            {
                "webhookId": {"$in": sorted(webhook_ids)},
                **self._due(self._clock()),
            },
            sort=[("nextAttemptAt", 1)],
            limit=_LOOKED_AT,
            fields=["webhookId"],
        )
        return {each["webhookId"] for each in found}

    async def claim(self, webhook_id: str, limit: int) -> list[Claimed]:
        """Take some that are due, the oldest first."""
        now, token = self._clock(), secrets.token_hex(16)
        due = {"webhookId": webhook_id, **self._due(now)}
        found = await self._documents.find(
            due, sort=[("nextAttemptAt", 1)], limit=limit, fields=["_id"]
        )
        if not found:
            return []
        ids = {"_id": {"$in": [each["_id"] for each in found]}}
        lease = {"token": token, "nextAttemptAt": now + _LEASE_MS}
        await self._documents.patch(
            {**ids, **self._due(now)},
            {"$set": lease, "$inc": {"attempts": 1}},
        )
        taken = await self._documents.find({**ids, "token": token})
        return await read_all(_claimed, taken)

    async def record(self, attempts: Sequence[Attempted]) -> None:
        """Keep how attempts ended, each if it is still this process's."""
        await self._documents.update_each(
            [
                (
                    {
                        "_id": _id_of(each),
                        "token": each.claimed.token,
                        "status": DeliveryStatus.PENDING,
                    },
                    self._changes(each),
                )
                for each in attempts
            ],
            unset=["token"],
        )

    async def hasten(self, webhook_id: str) -> None:
        """Make everything due that waits for a receiver that is back."""
        now = self._clock()
        # What is leased to a process has a token.
        where = {
            "webhookId": webhook_id,
            "status": DeliveryStatus.PENDING,
            "token": None,
            "nextAttemptAt": {"$gt": now},
        }
        await self._documents.patch(where, {"$set": {"nextAttemptAt": now}})

    def _due(self, now: int) -> Document:
        return {
            "status": DeliveryStatus.PENDING,
            "nextAttemptAt": {"$lte": now},
        }

    def _changes(self, attempted: Attempted) -> Document:
        answer, now = attempted.answer, self._clock()
        changes: Document = {
            "lastAttempt": {
                "at": attempted.at,
                "seconds": round(answer.seconds, 3),
                "status": answer.status,
                "error": answer.error,
                "answer": answer.body,
            }
        }
        if answer.error is None:
            return changes | _ended(DeliveryStatus.DELIVERED)
        if now - attempted.claimed.since >= _GIVEN_UP_AFTER_MS:
            return changes | _ended(DeliveryStatus.FAILED)
        pause = pause_ms(attempted.claimed.delivery.attempts)
        return {**changes, "nextAttemptAt": now + pause}


def pause_ms(attempts: int) -> int:
    """Choose the pause after so many attempts, in ms."""
    grown = _FIRST_PAUSE_MS * _GROWTH ** min(attempts - 1, 20)
    spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - spreads, hides nothing
    return round(min(grown, _LONGEST_PAUSE_MS) * spread)


def _ended(status: DeliveryStatus) -> Document:
    return {"status": status, "nextAttemptAt": None}


def _claimed(document: Document) -> Claimed:
    return Claimed(
        Delivery.from_document(document),
        document["token"],
        document["payload"],
        document["since"],
    )


def _id_of(attempted: Attempted) -> ObjectId:
    return ObjectId(attempted.claimed.delivery.delivery_id)
