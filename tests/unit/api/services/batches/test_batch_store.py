from typing import Any

import pytest
from pymongo.errors import BulkWriteError

from api.services.batches.batch_store import BatchStore
from api.services.shared.endings import NO_ENDINGS
from utilities.signals import Signals


class _Jobs:
    """A collection that refuses what it is told to, with a code."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.inserts = 0

    async def insert_many(self, _: object) -> None:
        self.inserts += 1
        problem = {"code": self.code, "index": 0, "errmsg": "no"}
        raise BulkWriteError({"writeErrors": [problem]})


def store_over(jobs: Any) -> BatchStore:
    return BatchStore(jobs, jobs, Signals(), NO_ENDINGS)


async def test_a_line_that_the_server_refuses_holds_up_no_other() -> None:
    jobs = _Jobs(2)
    await store_over(jobs).insert_lines([{"batchKey": "k"}] * 600)
    assert jobs.inserts == 2


async def test_what_passes_by_itself_is_left_to_the_next_try() -> None:
    jobs = _Jobs(112)
    with pytest.raises(BulkWriteError):
        await store_over(jobs).insert_lines([{"batchKey": "k"}] * 600)
    assert jobs.inserts == 1
