"""Files and batches as OpenAI's interface shows and takes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from api.core.errors import ParameterError
from api.models.batch_models import (
    Batch,
    BatchStatus,
    FileRecord,
)
from api.services.batches.batch_service import shown_batch_id
from api.services.batches.file_service import DEFAULT_SECONDS, shown_id
from api.services.batches.paging import Listed
from llm_sdks.forwarding import Interface

Json = dict[str, Any]

ENDPOINTS: Mapping[str, Interface] = {
    f"/v1{each}": each
    for each in (Interface.CHAT, Interface.RESPONSES, Interface.EMBEDDINGS)
}
_WINDOW = "24h"
_SHORTEST_LIFE, _LONGEST_LIFE = 3600, 30 * 86_400
_MOST_NOTES, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512
_ANCHOR = "created_at"


class BatchAsked(BaseModel):
    """`POST /v1/batches`."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: dict[str, Any] | None = None

    @property
    def interface(self) -> Interface:
        """What the lines are requests of."""
        return ENDPOINTS[self.endpoint]

    @property
    def output_seconds(self) -> int:
        """How long the files of results are kept."""
        given = self.output_expires_after
        if given is None:
            return DEFAULT_SECONDS
        return read_life(given, "output_expires_after")


def read_batch(body: Mapping[str, Any]) -> BatchAsked:
    """Read what a client asks for.

    Raises:
        ParameterError: names the field that is wrong.
    """
    try:
        asked = BatchAsked.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(each)[:64] for each in first["loc"])
        if first["type"] == "missing":
            raise ParameterError(
                f"Missing required parameter: '{name}'.", name
            ) from None
        raise ParameterError(first["msg"], name) from None
    if asked.endpoint not in ENDPOINTS:
        raise ParameterError(
            f"Invalid value: must be one of {', '.join(ENDPOINTS)}", "endpoint"
        )
    if asked.completion_window != _WINDOW:
        raise ParameterError(
            f"Invalid value: must be '{_WINDOW}'", "completion_window"
        )
    _check_notes(asked.metadata or {})
    _ = asked.output_seconds
    return asked


def read_life(given: Mapping[str, Any], name: str) -> int:
    """Read how long a file is kept, in seconds.

    Raises:
        ParameterError: it says so wrongly.
    """
    if given.get("anchor") != _ANCHOR:
        raise ParameterError(f"must be '{_ANCHOR}'", f"{name}[anchor]")
    seconds = given.get("seconds")
    text = str(seconds) if type(seconds) in (int, str) else ""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004 - digits
        raise ParameterError("must be a number", f"{name}[seconds]")
    if not _SHORTEST_LIFE <= int(text) <= _LONGEST_LIFE:
        raise ParameterError(
            f"must be {_SHORTEST_LIFE} to {_LONGEST_LIFE}", f"{name}[seconds]"
        )
    return int(text)


def _check_notes(notes: Mapping[str, str]) -> None:
    if len(notes) > _MOST_NOTES:
        raise ParameterError(f"has at most {_MOST_NOTES} pairs", "metadata")
    for key, value in notes.items():
        if len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            raise ParameterError(
                f"keys have at most {_LONGEST_KEY} characters, values "
                f"{_LONGEST_VALUE}",
                "metadata",
            )


def show_file(record: FileRecord) -> Json:
    """Give a file object."""
    shown: Json = {
        "id": shown_id(record.file_id),
        "object": "file",
        "bytes": record.size,
        "created_at": record.made_at // 1000,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": record.status,
        "status_details": None,
    }
    if record.expires_at is not None:
        shown["expires_at"] = record.expires_at // 1000
    return shown


def show_batch(batch: Batch) -> Json:
    """Give a batch object."""
    counts, errors = batch.counts, None
    if batch.status is BatchStatus.FAILED:
        errors = {"object": "list", "data": batch.errors or []}
    shown: Json = {
        "id": shown_batch_id(batch),
        "object": "batch",
        "endpoint": f"/v1{batch.interface}",
        "model": batch.model,
        "errors": errors,
        "input_file_id": shown_id(batch.input_file_id),
        "completion_window": _WINDOW,
        "status": batch.status,
        "output_file_id": _file(batch, batch.output_file_id),
        "error_file_id": _file(batch, batch.error_file_id),
        "created_at": batch.made_at // 1000,
        "expires_at": batch.expires_at // 1000,
        "request_counts": {
            "total": batch.total,
            "completed": counts.succeeded,
            "failed": counts.failed,
        },
        "metadata": batch.notes,
    }
    for name in _TIMES:
        moment = getattr(batch, name)
        shown[name] = None if moment is None else moment // 1000
    if batch.usage is not None:
        shown["usage"] = _usage(batch)
    return shown


_TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def show_list(found: Listed[Any], rows: Sequence[Json]) -> Json:
    """Give a part of a list."""
    ids = [row["id"] for row in rows]
    return {
        "object": "list",
        "data": list(rows),
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": found.has_more,
    }


def _file(batch: Batch, file_id: str | None) -> str | None:
    is_there = file_id is not None and batch.has_ended
    return shown_id(file_id) if is_there and file_id else None


def _usage(batch: Batch) -> Json:
    used = batch.usage
    assert used is not None  # noqa: S101 - the caller has looked
    return {
        "input_tokens": used.input_tokens,
        "input_tokens_details": {"cached_tokens": used.cached_tokens},
        "output_tokens": used.output_tokens,
        "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "total_tokens": used.input_tokens + used.output_tokens,
    }
