"""Everything that a process counts and measures as it happens."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.models.metrics import Metrics
from api.services.monitoring.labels import OTHER, FirstCome
from api.services.monitoring.observer import CallEnd, Observer
from api.services.queue.job_work import (
    CanceledJob,
    ClaimedJob,
    Outcome,
    Requeued,
    Succeeded,
)
from utilities.clock import Clock, now_ms

MOST_MODELS = 50
_MOST_OPERATIONS = 150
_MOST_OUTCOMES = 30
_MOST_CURRENCIES = 10
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
)

_ENDS = {Succeeded: "processed", CanceledJob: "canceled"}

_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_FIRST_TOKEN = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CALL = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_TURNAROUND = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)


class Instruments(Observer):
    """The counters and histograms of one registry."""

    def __init__(
        self, registry: CollectorRegistry, clock: Clock = now_ms
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._models = FirstCome(MOST_MODELS)
        self._operations = FirstCome(_MOST_OPERATIONS)
        self._outcomes = FirstCome(_MOST_OUTCOMES)
        self._currencies = FirstCome(_MOST_CURRENCIES)
        # Jobs may name a model by its id.
        self._names: dict[str, str] = {}
        self._make_jobs()
        self._make_store()
        self._make_calls()
        self._make_http()
        self._make_keeping()

    def model(self, name: str) -> str:
        """Give the label for a model's name, or for its id if it is known."""
        return self._models.label(self._names.get(name, name))

    def claimed(self, jobs: int, seconds: float) -> None:
        """Count a claim."""
        self._claims.observe(seconds)
        self._claimed.inc(jobs)

    def stored(self, taken: int, not_taken: int, seconds: float) -> None:
        """Count a bulk of results."""
        self._stores.observe(seconds)
        self._stored.inc(taken)
        self._not_taken.inc(not_taken)

    def job_ended(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Count a job that has ended, or runs again."""
        model = self.model(job.model)
        operation = self._operations.label(job.operation, model)
        if isinstance(outcome, Requeued):
            failed = outcome.failures not in (None, job.failures)
            why = "failure" if failed else "deferred"
            self._requeue.labels(model, operation, why).inc()
            return
        ended = _ENDS.get(type(outcome), "error")
        self._finished.labels(model, operation, ended).inc()
        waited = (self._clock() - job.started_at) / 1000
        self._turnaround.observe(max(waited, 0.0))

    def store_failed(self, operation: str) -> None:
        """Count an operation that the database did not take."""
        self._store_errors.labels(operation).inc()

    def taken_over(self, returned: int, ended: int) -> None:
        """Count leases that were taken from dead workers."""
        self._taken_over.labels("returned").inc(returned)
        self._taken_over.labels("given_up").inc(ended)

    def call_ended(self, call: CallEnd) -> None:
        """Count a call, its time, its tokens and its cost."""
        self._names[call.model.model_id] = call.model.name
        model = self.model(call.model.name)
        provider = OTHER if model == OTHER else call.model.sdk
        outcome = self._outcomes.label(call.outcome)
        self._calls.labels(model, provider, outcome).inc()
        self._call_seconds.labels(model, provider).observe(call.seconds)
        if call.time_to_first_token is not None:
            self._first_token.labels(model, provider).observe(
                call.time_to_first_token
            )
        self._count_use(model, call.metrics)

    def request_began(self) -> None:
        """Count a request that is being answered."""
        self._requests_open.inc()

    def delivery_attempted(self, outcome: str) -> None:
        """Count a request to a webhook's receiver."""
        self._deliveries.labels(outcome).inc()

    def removed(self, kind: str, count: int) -> None:
        """Count what retention has removed."""
        self._removed.labels(kind).inc(count)

    def audited(self, outcome: str, count: int) -> None:
        """Count events of the audit."""
        self._audited.labels(outcome).inc(count)

    def login_failed(self) -> None:
        """Count a request without a right credential."""
        self._failed_logins.inc()

    def request_ended(
        self, method: str, route: str, status: int, seconds: float
    ) -> None:
        """Count a request."""
        self._requests_open.dec()
        method = method if method in _METHODS else OTHER
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def _count_use(self, model: str, used: Metrics) -> None:
        self._tokens.labels(model, "input").inc(used.input_tokens)
        self._tokens.labels(model, "output").inc(used.output_tokens)
        for currency in used.currencies:
            label = self._currencies.label(currency)
            self._cost.labels(model, label).inc(used.total_cost)

    def _make_jobs(self) -> None:
        self._finished = self._counter(
            "jobs_finished",
            "Jobs that ended, by outcome: processed or error",
            ("model", "operation", "outcome"),
        )
        self._requeue = self._counter(
            "jobs_put_back",
            "Requeued jobs: after a failure, or deferred (a rate limit, an "
            "open breaker, a worker that stopped)",
            ("model", "operation", "reason"),
        )
        self._turnaround = self._histogram(
            "job_turnaround_seconds",
            "From a job's submission to its stored result",
            _TURNAROUND,
        )
        self._taken_over = self._counter(
            "leases_taken_over",
            "Jobs of dead workers, by outcome: returned to the queue, or "
            "given_up",
            ("outcome",),
        )
        for outcome in ("returned", "given_up"):
            self._taken_over.labels(outcome)

    def _make_store(self) -> None:
        self._claims = self._histogram(
            "claim_seconds", "One claim of a block of jobs", _QUICK
        )
        self._claimed = self._counter("jobs_claimed", "Jobs claimed")
        self._stores = self._histogram(
            "store_seconds", "One bulk write of results", _QUICK
        )
        self._stored = self._counter("results_stored", "Results written")
        self._not_taken = self._counter(
            "results_not_taken",
            "Results that came too late, or whose job was deleted",
        )
        self._store_errors = self._counter(
            "store_errors",
            "Failed database operations of the queue: claim, store or extend",
            ("operation",),
        )
        for operation in ("claim", "store", "extend"):
            self._store_errors.labels(operation)

    def _make_calls(self) -> None:
        by_model = ("model", "provider")
        self._calls = self._counter(
            "llm_calls",
            "Calls to providers, by outcome: ok or the kind of the error",
            (*by_model, "outcome"),
        )
        self._call_seconds = self._histogram(
            "llm_call_seconds", "One call to a provider", _CALL, by_model
        )
        self._first_token = self._histogram(
            "llm_time_to_first_token_seconds",
            "From a stream's call to its first piece",
            _FIRST_TOKEN,
            by_model,
        )
        self._tokens = self._counter(
            "llm_tokens", "Tokens used", ("model", "direction")
        )
        self._cost = self._counter(
            "llm_cost",
            "Money spent, by the models' prices",
            ("model", "currency"),
        )

    def _make_http(self) -> None:
        self._requests = self._counter(
            "http_requests",
            "HTTP requests answered",
            ("method", "route", "status"),
        )
        self._request_seconds = self._histogram(
            "http_request_seconds",
            "One HTTP request, to the end of its answer",
            _QUICK,
            ("method", "route"),
        )
        self._failed_logins = self._counter(
            "failed_logins", "HTTP requests with no credential or a wrong one"
        )
        self._requests_open = Gauge(
            "http_requests_in_progress",
            "HTTP requests being answered",
            namespace="metasync",
            registry=self._registry,
        )

    def _make_keeping(self) -> None:
        self._deliveries = self._counter(
            "webhook_attempts",
            "Requests to webhooks' receivers, by outcome: delivered, failed",
            ("outcome",),
        )
        for outcome in ("delivered", "failed"):
            self._deliveries.labels(outcome)
        self._removed = self._counter(
            "retention_removed",
            "Documents that were removed because of their age",
            ("kind",),
        )
        self._audited = self._counter(
            "audit_events",
            "Events of the audit, by what became of them: stored, lost, "
            "sent, notSent",
            ("outcome",),
        )
        for outcome in ("stored", "lost"):
            self._audited.labels(outcome)

    def _counter(
        self, name: str, text: str, labels: Sequence[str] = ()
    ) -> Counter:
        return Counter(
            name, text, labels, namespace="metasync", registry=self._registry
        )

    def _histogram(
        self,
        name: str,
        text: str,
        buckets: Sequence[float],
        labels: Sequence[str] = (),
    ) -> Histogram:
        return Histogram(
            name,
            text,
            labels,
            namespace="metasync",
            registry=self._registry,
            buckets=buckets,
        )
