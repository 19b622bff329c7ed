"""A job's statuses and the one table of what may follow what."""

from enum import StrEnum

from api.core.errors import TransitionError


class JobStatus(StrEnum):
    """The status of a job."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    PROCESSED = "PROCESSED"
    ERROR_PROCESSING = "ERROR_PROCESSING"
    CONSUMED = "CONSUMED"
    ERROR_CONSUMING = "ERROR_CONSUMING"
    CANCELED = "CANCELED"


class Actor(StrEnum):
    """Who sets a status."""

    CLIENT = "client"
    WORKER = "worker"
    ADMIN = "admin"


_S = JobStatus
# With these, the work on a job is over.
ENDS = frozenset({_S.PROCESSED, _S.ERROR_PROCESSING, _S.CANCELED})
_ANYWHERE_BY_ADMIN = frozenset({_S.ERROR_PROCESSING, _S.ERROR_CONSUMING})
_BY_CLIENT: dict[JobStatus, frozenset[JobStatus]] = {
    _S.PENDING: frozenset({_S.CANCELED}),
    _S.PROCESSED: frozenset({_S.CONSUMED, _S.ERROR_CONSUMING, _S.CANCELED}),
    _S.ERROR_PROCESSING: frozenset({_S.PENDING}),
    _S.ERROR_CONSUMING: frozenset({_S.PROCESSED}),
}
_BY_WORKER: dict[JobStatus, frozenset[JobStatus]] = {
    _S.PENDING: frozenset({_S.PROCESSING}),
    _S.PROCESSING: frozenset({_S.PROCESSED, _S.ERROR_PROCESSING, _S.PENDING}),
}
_BY_ADMIN_TOO: dict[JobStatus, frozenset[JobStatus]] = {
    _S.CANCELED: frozenset({_S.PENDING}),
}


# From where `POST /jobs/{jobId}/cancel` leads to CANCELED.
CANCELABLE = (_S.PENDING, _S.PROCESSING)


def has_ended(status: JobStatus) -> bool:
    """Tell whether a job neither waits nor runs."""
    return status not in CANCELABLE


def check_cancelable(source: JobStatus) -> None:
    """Refuse to cancel a job that neither waits nor runs.

    Raises:
        TransitionError: says what may be canceled.
    """
    if source not in CANCELABLE:
        raise TransitionError(
            f"The transition from {source} to CANCELED is not made by "
            f"canceling; only {' and '.join(CANCELABLE)} jobs are canceled"
        )


def allowed_targets(source: JobStatus, actor: Actor) -> frozenset[JobStatus]:
    """Tell which statuses `actor` may set on a job that is in `source`."""
    if actor is Actor.WORKER:
        return _BY_WORKER.get(source, frozenset())
    targets = _BY_CLIENT.get(source, frozenset())
    if actor is Actor.ADMIN:
        targets |= _BY_ADMIN_TOO.get(source, frozenset())
        targets |= _ANYWHERE_BY_ADMIN
    return targets


def check_transition(
    source: JobStatus, target: JobStatus, actor: Actor
) -> None:
    """Refuse a change of status that the table does not have.

    Raises:
        TransitionError: says what would have been allowed.
    """
    targets = allowed_targets(source, actor)
    if target not in targets:
        choices = ", ".join(sorted(targets)) or "nothing"
        raise TransitionError(
            f"The transition from {source} to {target} is not allowed; "
            f"from {source} can come: {choices}"
        )
