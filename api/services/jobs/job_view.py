"""Which fields of jobs a list shows, and in which order."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from api.core.errors import InvalidRequestError
from api.models.job_models import Job
from api.services.shared.paging import fields_of

_NAMES = {
    str(field.alias): name
    for name, field in Job.model_fields.items()
    if not field.exclude
}
# What a job cannot be read without; nothing of it is long.
_NEEDED = frozenset(
    str(field.alias)
    for field in Job.model_fields.values()
    if field.is_required()
) - {"jobId", "requestData"}
# What some fields are made of.
_MADE_OF = {
    "startedAt": {"claimedAt"},
    "workerId": {"leaseWorker"},
    "waitingFor": {"availableAt", "waitsFor", "clientReference"},
}
_EVERYTHING = (*fields_of(Job), "claimedAt", "leaseWorker")


@dataclass(frozen=True, slots=True)
class JobView:
    """`fields` are names on the wire; None means all of them."""

    fields: frozenset[str] | None = None
    newest_first: bool = False

    @classmethod
    def of_text(
        cls, fields: str | None, *, newest_first: bool = False
    ) -> Self:
        """Read names with commas between them; `jobId` is always shown.

        Raises:
            InvalidRequestError: a job has no such field.
        """
        if fields is None:
            return cls(None, newest_first)
        names = {name.strip() for name in fields.split(",")} - {""}
        return cls.of_names(names, ("query", "fields"), newest_first)

    @classmethod
    def of_names(
        cls,
        names: Collection[str] | None,
        location: tuple[str, ...],
        newest_first: bool = False,  # noqa: FBT001, FBT002 - as the field
    ) -> Self:
        """Take names; None means all; `location` is where they came.

        Raises:
            InvalidRequestError: a job has no such field.
        """
        if names is None:
            return cls(None, newest_first)
        names = set(names)
        if unknown := sorted(names - _NAMES.keys()):
            raise InvalidRequestError(
                "unknown_field",
                location,
                f"A job has no field {unknown[0]}",
            )
        return cls(frozenset(names | {"jobId"}), newest_first)

    @property
    def stored(self) -> list[str]:
        """The fields of documents that are read."""
        if self.fields is None:
            return list(_EVERYTHING)
        made_of = [_MADE_OF.get(name, {name}) for name in self.fields]
        return sorted(_NEEDED.union(*made_of) - {"jobId"})

    @property
    def shown(self) -> set[str] | None:
        """The names of the model's fields that are shown; None: all."""
        if self.fields is None:
            return None
        return {_NAMES[name] for name in self.fields}

    @property
    def tells_why_jobs_wait(self) -> bool:
        """Whether `waitingFor` is shown."""
        return self.fields is None or "waitingFor" in self.fields

    def read_whole(self, document: Mapping[str, Any]) -> Job:
        """Read these fields of a document that has all."""
        if self.fields is None:
            return Job.from_document(document)
        wanted = {"_id", *self.stored}
        return self.read({k: v for k, v in document.items() if k in wanted})

    def read(self, document: Mapping[str, Any]) -> Job:
        """Read a document of these fields."""
        return Job.from_document({"requestData": "{}", **document})


ALL = JobView()
