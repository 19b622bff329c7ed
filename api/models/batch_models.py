"""Files and batches of the vendors' batch interfaces, as they are stored."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from api.models.base import ApiModel, StoredModel, is_unset

# The operation of the jobs that are lines of batches.
BATCH_LINE: Final = "batch-line"


LineInterface = Annotated[
    str | None,
    Field(
        exclude_if=is_unset,
        description="Of a batch's line: the vendor's interface, such as "
        "`/chat/completions`, whose request is `requestData` and whose answer "
        "is `responseData`.",
    ),
]


class Vendor(StrEnum):
    """Whose interface a file or a batch belongs to."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


PREFIXES: Mapping[Vendor, str] = {
    Vendor.OPENAI: "batch_",
    Vendor.ANTHROPIC: "msgbatch_",
}


class FilePurpose(StrEnum):
    """What a file is for."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


class FileStatus(StrEnum):
    """Whether a file is there whole."""

    UPLOADING = "uploading"
    PROCESSED = "processed"
    # Nobody sees it any more; it is removed once no batch needs it.
    DELETED = "deleted"


class BatchStatus(StrEnum):
    """The status of a batch; `NEXT` is the table of what may follow."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


_S = BatchStatus
NEXT: Mapping[BatchStatus, frozenset[BatchStatus]] = {
    _S.VALIDATING: frozenset({_S.IN_PROGRESS, _S.FAILED, _S.CANCELLING}),
    _S.IN_PROGRESS: frozenset({_S.FINALIZING, _S.CANCELLING}),
    _S.FINALIZING: frozenset({_S.COMPLETED, _S.EXPIRED}),
    _S.CANCELLING: frozenset({_S.CANCELLED}),
}
OPEN: Final = tuple(NEXT)
ENDED: Final = tuple(each for each in BatchStatus if each not in NEXT)


class FileRecord(StoredModel):
    """A file without its content; times in ms."""

    id_field: ClassVar[str] = "fileId"

    file_id: str
    client_id: str
    vendor: Vendor
    purpose: FilePurpose
    filename: str
    size: int
    # How many pieces the content is stored in.
    pieces: int
    status: FileStatus
    made_at: int
    sequence: int
    # Of the content, once it is there.
    digest: str = ""
    expires_at: int | None = None


class BatchCounts(ApiModel):
    """How many lines have ended in which way."""

    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def failed(self) -> int:
        """Those without an answer."""
        return self.errored + self.canceled + self.expired


class BatchUsage(ApiModel):
    """What the lines have used, in tokens."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Batch(StoredModel):
    """A batch; times in ms."""

    id_field: ClassVar[str] = "batchId"
    payload_fields: ClassVar[frozenset[str]] = frozenset(
        {"notes", "errors", "headers"}
    )

    batch_id: str
    client_id: str
    vendor: Vendor
    # As `llm_sdks.forwarding.Interface` has it.
    interface: str
    status: BatchStatus
    input_file_id: str
    # What the client has noted on it.
    notes: dict[str, str] | None = None
    # Those of the request that are part of the vendor's interface.
    headers: dict[str, str] | None = None
    # How long its files are kept (s).
    output_seconds: int
    # All lines; 0 as long as they are not counted.
    total: int = 0
    counts: BatchCounts = BatchCounts()
    usage: BatchUsage | None = None
    # The model of all lines, if it is one.
    model: str | None = None
    errors: list[dict[str, object]] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    made_at: int
    sequence: int
    expires_at: int
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    # Which process works on it, and until when.
    taken_by: str | None = None
    taken_until: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

    @property
    def ended_at(self) -> int | None:
        """When it ended."""
        times = (
            self.completed_at,
            self.failed_at,
            self.expired_at,
            self.cancelled_at,
        )
        return next((each for each in times if each is not None), None)
