import itertools

import pytest

from api.core.errors import RuleError, TransitionError
from api.models.job_status import (
    Actor,
    JobStatus,
    allowed_targets,
    check_transition,
)

# Who may set what, from where: as the contract has it.
CONTRACT = """
client PENDING           CANCELED
client PROCESSED         CONSUMED
client PROCESSED         ERROR_CONSUMING
client PROCESSED         CANCELED
client ERROR_PROCESSING  PENDING
client ERROR_CONSUMING   PROCESSED
worker PENDING           PROCESSING
worker PROCESSING        PROCESSED
worker PROCESSING        ERROR_PROCESSING
worker PROCESSING        PENDING
admin  PENDING           CANCELED
admin  PROCESSED         CONSUMED
admin  PROCESSED         ERROR_CONSUMING
admin  PROCESSED         CANCELED
admin  ERROR_PROCESSING  PENDING
admin  ERROR_CONSUMING   PROCESSED
admin  CANCELED          PENDING
admin  PENDING           ERROR_PROCESSING
admin  PROCESSING        ERROR_PROCESSING
admin  PROCESSED         ERROR_PROCESSING
admin  ERROR_PROCESSING  ERROR_PROCESSING
admin  CONSUMED          ERROR_PROCESSING
admin  ERROR_CONSUMING   ERROR_PROCESSING
admin  CANCELED          ERROR_PROCESSING
admin  PENDING           ERROR_CONSUMING
admin  PROCESSING        ERROR_CONSUMING
admin  PROCESSED         ERROR_CONSUMING
admin  ERROR_PROCESSING  ERROR_CONSUMING
admin  CONSUMED          ERROR_CONSUMING
admin  ERROR_CONSUMING   ERROR_CONSUMING
admin  CANCELED          ERROR_CONSUMING
"""
ALLOWED = {tuple(line.split()) for line in CONTRACT.strip().splitlines()}
ALL = list(itertools.product(Actor, JobStatus, JobStatus))


def is_allowed(actor: Actor, source: JobStatus, target: JobStatus) -> bool:
    return (str(actor), str(source), str(target)) in ALLOWED


def test_the_statuses_are_those_of_the_contract() -> None:
    assert set(JobStatus) == {
        "PENDING",
        "PROCESSING",
        "PROCESSED",
        "ERROR_PROCESSING",
        "CONSUMED",
        "ERROR_CONSUMING",
        "CANCELED",
    }
    assert len(ALL) == 3 * 7 * 7


@pytest.mark.parametrize(
    ("actor", "source", "target"),
    [case for case in ALL if is_allowed(*case)],
)
def test_what_the_contract_allows_is_allowed(
    actor: Actor, source: JobStatus, target: JobStatus
) -> None:
    check_transition(source, target, actor)
    assert target in allowed_targets(source, actor)


@pytest.mark.parametrize(
    ("actor", "source", "target"),
    [case for case in ALL if not is_allowed(*case)],
)
def test_everything_else_is_refused(
    actor: Actor, source: JobStatus, target: JobStatus
) -> None:
    with pytest.raises(TransitionError) as refused:
        check_transition(source, target, actor)
    assert "transition" in str(refused.value)
    assert f"from {source} to {target}" in str(refused.value)
    assert target not in allowed_targets(source, actor)


def test_a_refusal_says_what_would_be_allowed() -> None:
    with pytest.raises(TransitionError) as refused:
        check_transition(JobStatus.PROCESSED, JobStatus.PENDING, Actor.CLIENT)
    assert str(refused.value).endswith(
        "from PROCESSED can come: CANCELED, CONSUMED, ERROR_CONSUMING"
    )


def test_a_refusal_says_when_nothing_would_be_allowed() -> None:
    with pytest.raises(TransitionError, match=r"can come: nothing$"):
        check_transition(JobStatus.CONSUMED, JobStatus.PENDING, Actor.CLIENT)


def test_a_refusal_is_a_broken_rule() -> None:
    assert issubclass(TransitionError, RuleError)
