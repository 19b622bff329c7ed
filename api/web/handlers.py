"""The handlers of packages: each calls what its REST path calls."""

from collections.abc import Sequence
from typing import Any, TypeVar

from api.models.job_bulk_models import JobBulkChange
from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.services.jobs.job_view import JobView
from api.services.live.live_event import Wanted
from api.services.prompts.prompt_service import PromptFilter
from api.services.shared.date_range import read_range
from api.services.shared.paging import Page, PageRequest
from api.web.package_data import (
    EventsWanted,
    JobId,
    JobsChanged,
    JobsWanted,
    ModelId,
    PromptId,
    PromptsWanted,
    RunId,
    RunsWanted,
    Subscription,
    UsageWanted,
    WorkerId,
)
from api.web.packages import (
    MOST_SKIPPED,
    Answer,
    Call,
    Handler,
    NoData,
    Paged,
    Registry,
    Role,
)
from utilities.clock import to_ms

T = TypeVar("T")
_NOT_FOUND = 404


def _request(paged: Paged) -> PageRequest:
    return PageRequest(min(paged.page * paged.per_page, MOST_SKIPPED))


def _page(found: Page[T], paged: Paged) -> Answer:
    start = (paged.page - 1) * paged.per_page
    items: Sequence[T] = found.items[start : start + paged.per_page]
    more = found.next_cursor is not None
    meta = {"page": paged.page, "per_page": paged.per_page, "more": more}
    return Answer(list(items), meta)


async def _ping(_call: Call, _data: NoData) -> Answer:
    return Answer({})


async def _list_jobs(call: Call, data: JobsWanted) -> Answer:
    view = JobView.of_text(data.fields, newest_first=data.newest_first)
    found = await call.services.jobs.page(
        call.caller, data.to_filter(), _request(data), view
    )
    answer = _page(found, data)
    waiting = call.services.job_waiting
    if view.tells_why_jobs_wait:
        answer = Answer(await waiting.explain_all(answer.data), answer.meta)
    if view.shown is None:
        return answer
    shown = [
        each.model_dump(mode="json", by_alias=True, include=view.shown)
        for each in answer.data
    ]
    return Answer(shown, answer.meta)


async def _get_job(call: Call, data: JobId) -> Answer:
    job = await call.services.jobs.get(data.job_id, call.caller)
    return Answer(await call.services.job_waiting.explain(job))


async def _summarize_jobs(call: Call, data: JobsWanted) -> Answer:
    wanted = data.to_filter()
    return Answer(await call.services.jobs.summary(call.caller, wanted))


async def _count_errors(call: Call, data: JobsWanted) -> Answer:
    wanted = data.to_filter()
    return Answer(await call.services.job_errors.count(call.caller, wanted))


async def _cancel_job(call: Call, data: JobId) -> Answer:
    canceling = call.services.job_cancel
    return Answer(await canceling.cancel(data.job_id, call.caller))


async def _retry_job(call: Call, data: JobId) -> Answer:
    change = JobUpdate(status=JobStatus.PENDING)
    jobs = call.services.jobs
    return Answer(await jobs.update(data.job_id, change, call.caller))


async def _cancel_jobs(call: Call, data: JobsChanged) -> Answer:
    change = JobBulkChange(filter=data.filter, dry_run=data.dry_run)
    return Answer(await call.services.job_bulk.cancel(change, call.caller))


async def _retry_jobs(call: Call, data: JobsChanged) -> Answer:
    change = JobBulkChange(filter=data.filter, dry_run=data.dry_run)
    return Answer(await call.services.job_bulk.retry(change, call.caller))


async def _list_runs(call: Call, data: RunsWanted) -> Answer:
    runs = call.services.runs
    found = await runs.page(call.caller, data.status, _request(data))
    return _page(found, data)


async def _get_run(call: Call, data: RunId) -> Answer:
    return Answer(await call.services.runs.get(data.run_id, call.caller))


async def _pause_run(call: Call, data: RunId) -> Answer:
    return Answer(await call.services.runs.pause(data.run_id, call.caller))


async def _resume_run(call: Call, data: RunId) -> Answer:
    return Answer(await call.services.runs.resume(data.run_id, call.caller))


async def _cancel_run(call: Call, data: RunId) -> Answer:
    return Answer(await call.services.runs.cancel(data.run_id, call.caller))


async def _list_models(call: Call, data: Paged) -> Answer:
    return _page(await call.services.models.page(_request(data)), data)


async def _resume_model(call: Call, data: ModelId) -> Answer:
    models = call.services.models
    model = await models.get(data.model_id)
    await call.services.suspensions.resume_now(model.model_id)
    return Answer(await models.get(data.model_id))


async def _list_workers(call: Call, data: Paged) -> Answer:
    workers = call.services.workers
    return _page(await workers.page(call.caller, _request(data)), data)


async def _start_worker(call: Call, data: WorkerId) -> Answer:
    workers = call.services.workers
    return Answer(await workers.start(data.worker_id, call.caller))


async def _stop_worker(call: Call, data: WorkerId) -> Answer:
    workers = call.services.workers
    return Answer(await workers.stop(data.worker_id, call.caller))


async def _list_prompts(call: Call, data: PromptsWanted) -> Answer:
    wanted = PromptFilter(data.name, None, None, None)
    prompts = call.services.prompts
    return _page(await prompts.page(call.caller, wanted, _request(data)), data)


async def _get_prompt(call: Call, data: PromptId) -> Answer:
    prompts = call.services.prompts
    return Answer(await prompts.get(data.prompt_id, call.caller))


async def _list_clients(call: Call, data: Paged) -> Answer:
    return _page(await call.services.clients.page(_request(data)), data)


async def _get_usage(call: Call, data: UsageWanted) -> Answer:
    days = read_range(data.start, data.to)
    usage = call.services.usage
    return Answer(await usage.report(call.caller, days, data.group_by))


async def _list_budgets(call: Call, _data: NoData) -> Answer:
    return Answer(await call.services.budgets.states(call.caller))


async def _list_webhooks(call: Call, data: Paged) -> Answer:
    webhooks = call.services.webhooks
    return _page(await webhooks.page(call.caller, _request(data)), data)


async def _subscribe(call: Call, data: EventsWanted) -> Answer:
    wanted = Wanted(
        call.caller,
        frozenset(data.topics),
        frozenset(data.types),
        data.client_id,
        data.fields,
    )
    start = read_range(data.since, None).start
    missed, is_whole = await call.subscriptions.subscribe(
        call.req_id,
        wanted,
        data.after,
        None if start is None else to_ms(start),
    )
    meta = {"missed": missed, "whole": is_whole}
    return Answer({"subscription": call.req_id}, meta)


async def _unsubscribe(call: Call, data: Subscription) -> Answer:
    known = call.subscriptions.unsubscribe(data.subscription)
    if not known:
        return Answer({"detail": "Subscription not found"}, None, _NOT_FOUND)
    return Answer({})


def new_registry() -> Registry:
    """Make the registry with every handler there is."""
    registry = Registry()

    async def describe(_call: Call, _data: NoData) -> Answer:
        return Answer(registry.described())

    admin: dict[str, Any] = {"role": Role.ADMIN}
    registry.add(
        Handler("system.ping", "Answers at once.", _ping),
        Handler("system.handlers", "Lists all packages.", describe),
        Handler("jobs.list", "Lists jobs.", _list_jobs, JobsWanted),
        Handler("jobs.get", "Returns one job.", _get_job, JobId),
        Handler(
            "jobs.summary",
            "Counts jobs by status.",
            _summarize_jobs,
            JobsWanted,
        ),
        Handler(
            "jobs.errors",
            "Counts failed jobs by their error.",
            _count_errors,
            JobsWanted,
        ),
        Handler("jobs.cancel", "Cancels one job.", _cancel_job, JobId),
        Handler("jobs.retry", "Retries one job.", _retry_job, JobId),
        Handler(
            "jobs.cancelAll",
            "Cancels, or counts, all jobs of a filter.",
            _cancel_jobs,
            JobsChanged,
        ),
        Handler(
            "jobs.retryAll",
            "Retries, or counts, all jobs of a filter.",
            _retry_jobs,
            JobsChanged,
        ),
        Handler("runs.list", "Lists runs.", _list_runs, RunsWanted),
        Handler("runs.get", "Returns one run.", _get_run, RunId),
        Handler("runs.pause", "Pauses a run.", _pause_run, RunId),
        Handler("runs.resume", "Continues a run.", _resume_run, RunId),
        Handler("runs.cancel", "Cancels a run.", _cancel_run, RunId),
        Handler("models.list", "Lists models.", _list_models, Paged),
        Handler(
            "models.resume",
            "Ends a model's suspension.",
            _resume_model,
            ModelId,
            **admin,
        ),
        Handler("workers.list", "Lists workers.", _list_workers, Paged),
        Handler("workers.start", "Starts a worker.", _start_worker, WorkerId),
        Handler("workers.stop", "Stops a worker.", _stop_worker, WorkerId),
        Handler(
            "prompts.list", "Lists prompts.", _list_prompts, PromptsWanted
        ),
        Handler("prompts.get", "Returns one prompt.", _get_prompt, PromptId),
        Handler(
            "clients.list", "Lists clients.", _list_clients, Paged, **admin
        ),
        Handler(
            "usage.get",
            "Sums up what calls have used and cost.",
            _get_usage,
            UsageWanted,
        ),
        Handler("budgets.list", "Lists budgets.", _list_budgets),
        Handler("webhooks.list", "Lists webhooks.", _list_webhooks, Paged),
        Handler(
            "events.subscribe",
            "Sends events from now on, with the req_id of this package.",
            _subscribe,
            EventsWanted,
        ),
        Handler(
            "events.unsubscribe",
            "Ends a subscription.",
            _unsubscribe,
            Subscription,
        ),
    )
    return registry
