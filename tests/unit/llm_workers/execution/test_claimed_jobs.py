"""Which claimed job begins next, and what is kept for interactive ones."""

from dataclasses import replace

from bson import ObjectId

from api.models.job_fields import ServiceClass
from api.services.queue.job_work import ClaimedJob
from llm_workers.execution.claimed_jobs import ClaimedJobs


class Timer:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def bulk() -> ClaimedJob:
    return ClaimedJob(ObjectId(), "c", "t", 1, "m", (), 0.0, "{}")


def urgent() -> ClaimedJob:
    return replace(bulk(), service_class=ServiceClass.INTERACTIVE)


def test_interactive_jobs_begin_first_in_their_order() -> None:
    jobs = ClaimedJobs(Timer())
    given = [bulk(), urgent(), bulk(), urgent()]
    jobs.add(given)
    assert list(jobs) == [given[1], given[3], given[0], given[2]]
    assert [jobs.next(4) for _ in range(4)] == [
        given[1],
        given[3],
        given[0],
        given[2],
    ]
    assert jobs.next(4) is None


def test_bulk_jobs_leave_places_as_interactive_ones_needed() -> None:
    timer = Timer()
    jobs = ClaimedJobs(timer)
    assert not jobs.are_mixed
    assert jobs.kept(10) == 0
    one = urgent()
    jobs.add([one, *(bulk() for _ in range(10))])
    assert jobs.are_mixed
    begun = []
    while job := jobs.next(10):
        begun.append(job)
    # The interactive one has its place.
    assert len(begun) == 10
    jobs.ended(one)
    assert jobs.next(10) is None
    assert (jobs.kept(10), jobs.urgent_room(10)) == (1, 10)
    jobs.add([other := urgent()])
    assert jobs.next(10) is other
    jobs.ended(other)
    timer.now = 1000.0
    assert jobs.next(10) is not None


def test_a_job_can_be_taken_out() -> None:
    jobs = ClaimedJobs(Timer())
    jobs.add([first := bulk(), second := urgent()])
    jobs.remove(first)
    assert len(jobs) == 1
    assert jobs.pop() is second


def test_a_flood_of_interactive_jobs_leaves_bulk_jobs_a_share() -> None:
    jobs = ClaimedJobs(Timer())
    jobs.add([*(urgent() for _ in range(100)), *(bulk() for _ in range(9))])
    begun = []
    for _ in range(80):
        job = jobs.next(1)
        assert job is not None
        begun.append(job.service_class)
        jobs.ended(job)
    assert begun.count(ServiceClass.BULK) == 4
