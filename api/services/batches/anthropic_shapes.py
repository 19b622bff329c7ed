"""Batches as Anthropic's interface shows them."""

from collections.abc import Sequence
from typing import Any

from api.models.batch_models import Batch, BatchStatus
from api.services.batches.batch_service import (
    RESULT_SECONDS,
    shown_batch_id,
)
from api.services.batches.paging import Listed
from utilities.clock import to_datetime

Json = dict[str, Any]


def show_message_batch(batch: Batch, base_url: str, now: int) -> Json:
    """Give a message batch; `base_url` has no slash at its end, `now` ms."""
    shown_id = shown_batch_id(batch)
    url = f"{base_url}/v1/messages/batches/{shown_id}/results"
    archived = batch.made_at + RESULT_SECONDS * 1000
    is_archived = batch.has_ended and archived <= now
    has_results = batch.has_ended and batch.output_file_id is not None
    return {
        "id": shown_id,
        "type": "message_batch",
        "processing_status": _status(batch),
        "request_counts": _counts(batch),
        "created_at": _time(batch.made_at),
        "expires_at": _time(batch.expires_at),
        "ended_at": _time(batch.ended_at),
        "cancel_initiated_at": _time(batch.cancelling_at),
        "archived_at": _time(archived) if is_archived else None,
        "results_url": url if has_results and not is_archived else None,
    }


def show_list(found: Listed[Batch], rows: Sequence[Json]) -> Json:
    """Give a part of a list."""
    return {
        "data": list(rows),
        "has_more": found.has_more,
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
    }


def _status(batch: Batch) -> str:
    if batch.has_ended:
        return "ended"
    if batch.status is BatchStatus.CANCELLING:
        return "canceling"
    return "in_progress"


def _counts(batch: Batch) -> Json:
    """Count the requests; until the end, all of them are processing."""
    if not batch.has_ended:
        nothing = dict.fromkeys(_KINDS, 0)
        return {"processing": batch.total, **nothing}
    counts = {name: getattr(batch.counts, name) for name in _KINDS}
    if batch.status is BatchStatus.FAILED:
        counts["errored"] = batch.total
    return {"processing": 0, **counts}


_KINDS = ("succeeded", "errored", "canceled", "expired")


def _time(moment: int | None) -> str | None:
    if moment is None:
        return None
    return to_datetime(moment).isoformat().replace("+00:00", "Z")
