"""`Idempotency-Key`: a repeated request answers the first one's jobs.

A key makes the job's id, so a repeated request meets its first one in the
index of `_id`, which every server keeps unique, with no second record that
could get lost. The job also keeps a digest of the request that made it: the
same key with another request is a client's mistake, and is refused.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from api.core.errors import InvalidRequestError
from api.models.job_models import JobBatchItem, JobCreate
from utilities.cosmos_connector import Document, ObjectId

DIGEST_FIELD = "requestDigest"

_HEADER = "Idempotency-Key"
# A batch's key and an item's position make a key of this form.
_LIKE_A_BATCH = re.compile(r"/[0-9]+\Z")
# A slice that blocks the event loop for some milliseconds.
_SLICE = 200


@dataclass(frozen=True, slots=True)
class JobKey:
    """What makes a job's id, and which request it was sent with.

    `text` is unique among the keys of single jobs and of batches.
    """

    text: str
    digest: str


def of_job(key: str | None, request: JobCreate) -> JobKey | None:
    """Give the key of a single job."""
    if key is None:
        return None
    return JobKey(_single(key), _digest([_canonical(request)]))


async def of_batch(
    key: str | None, items: Sequence[JobBatchItem]
) -> list[JobKey | None]:
    """Give the key of each item: its own, or one by its position.

    Items without a key of their own belong to the batch as a whole: its key
    with fewer, more or other items is another request.
    """
    if key is None and not any(item.idempotency_key for item in items):
        return [None] * len(items)
    canonical = []
    for index, item in enumerate(items):
        if index % _SLICE == 0:
            await asyncio.sleep(0)
        canonical.append(_canonical(item))
    whole = _digest(canonical)
    keys: list[JobKey | None] = []
    for index, item in enumerate(items):
        if item.idempotency_key is not None:
            own = _digest([canonical[index]])
            keys.append(JobKey(_single(item.idempotency_key), own))
        else:
            keys.append(JobKey(f"{key}/{index}", whole) if key else None)
    return keys


def fields(client_id: str, key: JobKey | None) -> Document:
    """Give the `_id` of a new job, and what its document keeps of the key."""
    if key is None:
        return {"_id": ObjectId()}
    return {"_id": job_id(client_id, key), DIGEST_FIELD: key.digest}


def job_id(client_id: str, key: JobKey) -> ObjectId:
    """Make an id; the same client and key make the same one."""
    digest = hashlib.sha256(f"{client_id}\x00{key.text}".encode()).digest()
    return ObjectId(digest[:12])


def check_same(sent: str | None, document: Document) -> None:
    """Check that a job was made by the request with this digest.

    Jobs of earlier versions have none, and are answered as they were.

    Raises:
        InvalidRequestError: it was made by another request.
    """
    first = document.get(DIGEST_FIELD)
    if first is not None and first != sent:
        raise InvalidRequestError(
            "idempotency_key_reused",
            ("header", _HEADER),
            f"This {_HEADER} was already used for another request; use a "
            "new key for a new request",
        )


def _single(key: str) -> str:
    # A null character is in no client's key.
    return f"\x00single\x00{key}" if _LIKE_A_BATCH.search(key) else key


def _canonical(request: JobCreate) -> bytes:
    # Without what has its default, so that a field of a later version does
    # not make another request of it.
    fields = request.model_dump(
        by_alias=True, exclude_defaults=True, exclude={"idempotency_key"}
    )
    # Of its values, only times are not JSON; they are in UTC.
    text = json.dumps(
        fields, sort_keys=True, separators=(",", ":"), default=str
    )
    return text.encode()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # JSON has no line break outside of its texts, nor inside them.
        digest.update(part + b"\n")
    return digest.hexdigest()
