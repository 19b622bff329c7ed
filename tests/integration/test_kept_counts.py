"""The counts of jobs stay exact whatever happens to processes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.support.api_user import ApiUser
from tests.support.processes import service_process
from tests.support.waiting import eventually
from utilities.embedded import kept_counts

JOBS = 300


def recounted(directory: Path) -> None:
    """Compare what is kept with a count of all jobs."""
    # A file of its own for each database; "admin" is the server's.
    (file,) = [
        path
        for path in (directory / "db").glob("*.db")
        if path.stem != "admin"
    ]
    with closing(sqlite3.connect(file)) as found:
        assert kept_counts.are_kept(found)
        kept = found.execute(kept_counts.kept()).fetchall()
        counted = found.execute(kept_counts.recount()).fetchall()
    assert sorted(kept) == sorted(counted)
    assert len(kept) > 1


@pytest.mark.long
def test_the_counts_are_exact_after_a_crash(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        service_process(data) as service,
        httpx2.Client(base_url=service.url, timeout=30) as http,
    ):
        user = ApiUser(http)
        body = user.job_body(user.model(), user.prompt())
        user.post("/jobs/batch", {"jobs": [body] * JOBS})
        user.worker(maxItemsPerBatch=20)

        def summary() -> dict[str, int]:
            found: dict[str, int] = user.get("/jobs/summary")
            return found

        eventually(lambda: summary()["PROCESSED"] > 0, what="first answers")
        service.kill()
        service.start()
        assert summary()["total"] == JOBS
        done = eventually(
            lambda: summary()["PROCESSED"] == JOBS and summary(),
            seconds=60,
            what="all answers",
        )
        assert done["processingMetrics"]["totalTokens"] > 0  # type: ignore[index]
        jobs = user.get("/jobs", limit=JOBS)
        tokens = sum(job["processingMetrics"]["totalTokens"] for job in jobs)
        assert done["processingMetrics"]["totalTokens"] == tokens  # type: ignore[index]
        ids = [job["jobId"] for job in jobs]
        user.delete("/jobs/batch", {"jobIds": ids[:10]})
        user.patch(f"/jobs/{ids[10]}", {"status": "CONSUMED"})
        after = summary()
        assert (after["total"], after["CONSUMED"]) == (JOBS - 10, 1)
        service.kill()
    recounted(data)
