# Made from `_async` by `make client`; not to be edited.
"""Jobs: submit them, find them, wait for them."""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from metasync._sync import _io
from metasync._sync.transport import Transport
from metasync.errors import WaitTimeoutError
from metasync.jobs import (
    BulkResult,
    Job,
    JobsEnded,
    JobSummary,
)
from metasync.requests import Json, Request, camel, idempotent

# A request waits no longer: what lies between may end it after a minute.
_WAIT_SECONDS = 25.0
_MOST_AT_ONCE = 1000
# An answer that tells at once of few is not asked for more often.
_GATHER_SECONDS = 0.05


class Jobs:
    """`client.jobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        operation: str,
        model: str,
        working_prompts: Sequence[str] | None = None,
        request_data: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """Submit a job; `fields` are more of its fields, in snake_case.

        A request that is repeated because no answer came makes no second
        job. With an `idempotency_key` of your own, this is so for your
        repetitions, too.

        Raises:
            BadRequestError: it names a model or prompt that is not there.
        """
        job = {
            "operation": operation,
            "model": model,
            "working_prompts": working_prompts,
            "request_data": request_data,
            "variables": variables,
            "messages": messages,
            **fields,
        }
        key = idempotency_key or uuid.uuid4().hex
        return self._transport.ask(
            Job,
            Request("POST", "/jobs", json=camel(job), headers=idempotent(key)),
        )

    def create_many(
        self,
        jobs: Sequence[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
    ) -> Sequence[Job]:
        """Submit up to 10,000 jobs, or none if one cannot be.

        Each is a mapping of the fields of `create`.

        Raises:
            BadRequestError: names the first wrong one by its number.
        """
        items = [camel(job) for job in jobs]
        key = idempotency_key or uuid.uuid4().hex
        return self.create_batch(items, idempotent(key))

    def create_batch(
        self,
        items: Sequence[Json],
        headers: Mapping[str, str],
        *,
        repeatable: bool | None = None,
        fields: Sequence[str] | None = None,
    ) -> Sequence[Job]:
        """Submit jobs as they are on the wire; `fields` come back."""
        shown = None if fields is None else ",".join(["status", *fields])
        request = Request(
            "POST",
            "/jobs/batch",
            {"fields": shown},
            json={"jobs": items},
            headers=headers,
            repeatable=repeatable,
        )
        return self._transport.ask(list[Job], request)

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: there is none.
        """
        return self._transport.get(Job, f"/jobs/{job_id}")

    def list(
        self,
        *,
        status: str | None = None,
        operation: str | None = None,
        model: str | None = None,
        batch_key: str | None = None,
        error_type: str | None = None,
        reference: Mapping[str, Any] | None = None,
        newest_first: bool = False,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        **more: Any,
    ) -> Iterator[Job]:
        """Go through the jobs that match, page by page.

        `reference` are fields of `clientReference`; `fields` are the names
        on the wire of those that are wanted; `limit` is the most in all.
        """
        query = _query(
            status=status,
            operation=operation,
            model=model,
            batch_key=batch_key,
            error_type=error_type,
            reference=reference,
            more=more,
        )
        if newest_first:
            query["sort"] = "-createdAt"
        if fields is not None:
            query["fields"] = ",".join(fields)
        return self._transport.pages(Job, "/jobs", most=limit, **query)

    def summary(
        self,
        *,
        status: str | None = None,
        operation: str | None = None,
        model: str | None = None,
        batch_key: str | None = None,
        reference: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> JobSummary:
        """Count the jobs that match by status, and sum their cost."""
        query = _query(
            status=status,
            operation=operation,
            model=model,
            batch_key=batch_key,
            reference=reference,
            more=more,
        )
        return self._transport.get(JobSummary, "/jobs/summary", **query)

    def update(self, job_id: str, **fields: Any) -> Job:
        """Change fields of a job; a value of None removes one."""
        body = camel(fields, keep_none=True)
        request = Request("PATCH", f"/jobs/{job_id}/full", json=body)
        return self._transport.ask(Job, request)

    def set_status(self, job_ids: Sequence[str], status: str) -> None:
        """Set the status of many jobs, or of none.

        Raises:
            BadRequestError: one of them may not change so.
        """
        changes = [{"jobId": each, "status": status} for each in job_ids]
        request = Request("PATCH", "/jobs/batch", json={"jobs": changes})
        self._transport.send(request)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that waits or runs.

        Raises:
            BadRequestError: it has ended.
        """
        request = Request("POST", f"/jobs/{job_id}/cancel", repeatable=True)
        return self._transport.ask(Job, request)

    def cancel_all(self, *, dry_run: bool = False, **where: Any) -> BulkResult:
        """Cancel all jobs that match, as `batch_key="night"`.

        With `dry_run`, they are only counted.
        """
        return self._change_all("cancel", where, dry_run=dry_run)

    def retry(self, job_id: str) -> Job:
        """Have a failed job run once more."""
        return self.update(job_id, status="PENDING")

    def retry_all(self, *, dry_run: bool = False, **where: Any) -> BulkResult:
        """Have all failed jobs that match run once more."""
        return self._change_all("retry", where, dry_run=dry_run)

    def delete(self, job_id: str) -> None:
        """Delete a job."""
        self._transport.send(Request("DELETE", f"/jobs/{job_id}"))

    def wait(self, job_id: str, *, timeout: float | None = None) -> Job:
        """Return a job when it has ended; `timeout` is in seconds.

        The server answers when the job ends: nothing is polled.

        Raises:
            WaitTimeoutError: it has not ended in time.
        """
        last = None if timeout is None else time.monotonic() + timeout
        while True:
            seconds = _seconds_until(last)
            query = {"wait": seconds}
            request = Request("GET", f"/jobs/{job_id}", query, seconds=seconds)
            job = self._transport.ask(Job, request)
            if job.has_ended:
                return job
            if last is not None and time.monotonic() >= last:
                raise WaitTimeoutError(
                    f"Job {job_id} has not ended in {timeout:g} s"
                )

    def wait_all(
        self,
        job_ids: Iterable[str],
        *,
        timeout: float | None = None,
        fields: Sequence[str] | None = None,
    ) -> Iterator[Job]:
        """Give each of these jobs when it has ended.

        Deleted ones are left out.

        Raises:
            WaitTimeoutError: some have not ended in time.
        """
        left = list(dict.fromkeys(job_ids))
        last = None if timeout is None else time.monotonic() + timeout
        while left:
            block, rest = left[:_MOST_AT_ONCE], left[_MOST_AT_ONCE:]
            seconds = _seconds_until(last)
            found = self.gather(block, seconds, fields)
            for job in found.jobs:
                yield job
            gone = {job.job_id for job in found.jobs}.union(found.unknown)
            # Other jobs come first the next time.
            left = rest + [each for each in block if each not in gone]
            if left and last is not None and time.monotonic() >= last:
                raise WaitTimeoutError(
                    f"{len(left)} jobs have not ended in {timeout:g} s"
                )

    def gather(
        self,
        job_ids: Sequence[str],
        seconds: float = _WAIT_SECONDS,
        fields: Sequence[str] | None = None,
    ) -> JobsEnded:
        """Give those of up to 5,000 jobs that have ended, once one has.

        After this time (60 s at most) there may be none.
        """
        began = time.monotonic()
        body: Json = {"jobIds": list(job_ids), "wait": seconds}
        if fields is not None:
            body["fields"] = [*fields, "status"]
        found = self._transport.ask(
            JobsEnded,
            Request(
                "POST",
                "/jobs/wait",
                json=body,
                repeatable=True,
                seconds=seconds,
            ),
        )
        took = time.monotonic() - began
        if found.waiting and took < _GATHER_SECONDS:
            _io.sleep(_GATHER_SECONDS - took)
        return found

    def _change_all(
        self, what: str, where: Mapping[str, Any], *, dry_run: bool
    ) -> BulkResult:
        body = {"filter": camel(where), "dryRun": dry_run}
        matched, changed = 0, 0
        while True:
            request = Request(
                "POST", f"/jobs/{what}", json=body, repeatable=True
            )
            done = self._transport.ask(BulkResult, request)
            matched = max(matched, changed + done.matched)
            changed += done.changed
            # What was not changed for lack of time is left for the next.
            if dry_run or not done.changed or done.changed >= done.matched:
                return BulkResult(matched=matched, changed=changed)


def _seconds_until(last: float | None) -> float:
    if last is None:
        return _WAIT_SECONDS
    return max(0.0, min(_WAIT_SECONDS, last - time.monotonic()))


def _query(
    *,
    reference: Mapping[str, Any] | None,
    more: Mapping[str, Any],
    **fields: Any,
) -> Json:
    referred = {
        f"clientReference.{name}": value
        for name, value in (reference or {}).items()
    }
    return {**camel({**fields, **more}), **referred}
