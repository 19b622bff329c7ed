"""Wires the API's services; no I/O happens here."""

from dataclasses import dataclass, field
from functools import cached_property

from api.core.scrape_access import ScrapeAccess
from api.dependencies.services import Services
from api.services.calls.live_stream import StreamLimits
from api.services.calls.model_access import ModelAccess
from api.services.clients.client_service import ClientService
from api.services.jobs.job_service import JobService
from api.services.jobs.job_waiting import JobWaiting
from api.services.limits.admission import Admission
from api.services.limits.budget_accounts import BUDGETS, BudgetAccounts
from api.services.limits.budget_limits import BudgetLimits
from api.services.limits.budget_service import BudgetService
from api.services.limits.budgets import BudgetStage
from api.services.limits.ledger import COUNTERS, JOURNAL, Ledger
from api.services.limits.ledger_recovery import LedgerRecovery
from api.services.limits.usage_service import UsageService
from api.services.models.model_health import ModelHealthService
from api.services.models.model_service import ModelService
from api.services.monitoring.health_service import HealthService
from api.services.monitoring.metrics_service import MetricsService
from api.services.prompts.prompt_flow_service import PromptFlowService
from api.services.prompts.prompt_service import PromptService
from api.services.prompts.version_counters import VersionCounters
from api.services.queue.worker_leases import WorkerLeases
from api.services.runs.run_service import RunService
from api.services.shared.client_states import ClientStates
from api.services.streams.stream_service import StreamService
from api.services.workers.worker_service import WorkerDefaults, WorkerService
from config import ModelKeys, Settings
from llm_sdks.registry import SdkRegistry
from llm_sdks.resilience.model_gate import ModelGates
from utilities.cosmos_connector import ClientManager, Documents
from utilities.signals import Signals
from utilities.store.database_clock import DatabaseClock, StoredClockRecord
from utilities.supervision import SupervisedGroup


@dataclass(frozen=True)
class Shared:
    """What all parts of one process share."""

    settings: Settings
    keys: ModelKeys
    clients: ClientManager
    process_id: str
    # All who write to the database go by it.
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    signals: Signals = field(default_factory=Signals)
    registry: SdkRegistry = field(default_factory=SdkRegistry.discover)
    gates: ModelGates = field(default_factory=ModelGates)

    def documents(self, name: str) -> Documents:
        """Return a collection's documents."""
        return Documents(self.clients, name, self.clock)

    @cached_property
    def clock_record(self) -> StoredClockRecord:
        """Where processes tell each other that the clock was set."""
        return StoredClockRecord(self.clients)

    async def measure_clock(self) -> None:
        """Take the database's time."""
        await self.clock.measure(self.clients, self.clock_record)

    @cached_property
    def parts(self) -> SupervisedGroup:
        """What runs beside the requests."""
        return SupervisedGroup(clock=self.clock)

    @cached_property
    def access(self) -> ModelAccess:
        """The way to the models' providers."""
        return ModelAccess(
            self.registry,
            self.keys,
            self.gates,
            self.settings.llm_timeout_seconds,
        )

    @cached_property
    def metrics(self) -> MetricsService:
        """The metrics of this process."""
        return MetricsService(self.clock)

    @cached_property
    def leases(self) -> WorkerLeases:
        """Which process runs which worker."""
        return WorkerLeases(
            self.documents("worker_leases"),
            self.documents("worker_pools"),
            self.clock,
        )

    @cached_property
    def ledger(self) -> Ledger:
        """What calls have used and cost."""
        return Ledger(
            self.documents(COUNTERS),
            self.documents(JOURNAL),
            self.process_id,
            self.clock,
            budgets=self.documents(BUDGETS),
        )

    @cached_property
    def budget_limits(self) -> BudgetLimits:
        """Which budgets there are."""
        return BudgetLimits(
            self.documents("clients"),
            self.documents("models"),
            self.documents("runs"),
            self.clock,
        )

    @cached_property
    def budget_accounts(self) -> BudgetAccounts:
        """What this process holds of budgets."""
        return BudgetAccounts(
            self.documents(BUDGETS), self.process_id, self.clock
        )

    @cached_property
    def admission(self) -> Admission:
        """What decides whether a call may be made now."""
        return Admission(
            [BudgetStage(self.budget_limits, self.budget_accounts)]
        )

    async def settle_dead(self, process_id: str) -> None:
        """Settle what a process that is dead has left behind."""
        await self.ledger_recovery.settle_of_process(process_id)
        # Its charges first: they need what it held.
        await self.budget_accounts.release_of_process(process_id)

    @cached_property
    def ledger_recovery(self) -> LedgerRecovery:
        """What settles the blocks of processes that died."""
        settled = {name: self.documents(name) for name in ("jobs", "streams")}
        return LedgerRecovery(
            self.ledger, self.documents(JOURNAL), settled, self.clock
        )

    @cached_property
    def client_states(self) -> ClientStates:
        """Which clients are enabled."""
        return ClientStates(self.documents("clients"))


def build_services(shared: Shared) -> Services:
    """Make every service of the API."""
    settings, clock = shared.settings, shared.clock
    documents = shared.documents
    models = ModelService(documents("models"), shared.registry, clock)
    prompts = _prompts(shared)
    flows = PromptFlowService(documents("prompt_flows"))
    jobs = JobService(
        documents("jobs"), models, prompts, flows, shared.signals, clock
    )
    workers = _workers(shared)
    health = _model_health(shared)
    pepper = settings.api_key_pepper.get_secret_value()
    return Services(
        clients=ClientService(documents("clients"), workers, pepper),
        models=models,
        model_health=health,
        prompts=prompts,
        prompt_flows=flows,
        jobs=jobs,
        job_waiting=JobWaiting(
            documents("workers"), shared.leases, models, health, clock
        ),
        runs=RunService(
            documents("runs"), models, prompts, jobs, shared.signals
        ),
        streams=_streams(shared, models, prompts),
        budgets=BudgetService(shared.budget_limits, shared.budget_accounts),
        usage=UsageService(documents(COUNTERS)),
        workers=workers,
        health=HealthService(shared.clients, shared.parts.states, clock=clock),
        metrics=shared.metrics,
        scrape_access=_scrape_access(settings),
        admin_api_key=settings.admin_api_key.get_secret_value(),
        docs_user=settings.docs_user,
        docs_secret=settings.docs_secret.get_secret_value(),
    )


def _prompts(shared: Shared) -> PromptService:
    documents = shared.documents("prompts")
    counters = VersionCounters(shared.documents("prompt_versions"), documents)
    return PromptService(documents, counters)


def _model_health(shared: Shared) -> ModelHealthService:
    return ModelHealthService(
        shared.documents("model_health"),
        shared.gates,
        shared.process_id,
        shared.clock,
        shared.registry.learnt,
    )


def _workers(shared: Shared) -> WorkerService:
    settings = shared.settings
    return WorkerService(
        shared.documents("workers"),
        shared.leases,
        shared.signals,
        WorkerDefaults(settings.poll_interval, settings.max_items_per_batch),
        shared.client_states,
        shared.clock,
    )


def _streams(
    shared: Shared, models: ModelService, prompts: PromptService
) -> StreamService:
    return StreamService(
        shared.documents("streams"),
        models,
        prompts,
        shared.access,
        clock=shared.clock,
        observer=shared.metrics.observer,
        limits=StreamLimits(
            stall_seconds=shared.settings.stream_stall_seconds
        ),
        ledger=shared.ledger,
        admission=shared.admission,
        process_id=shared.process_id,
    )


def _scrape_access(settings: Settings) -> ScrapeAccess:
    token = settings.metrics_token
    return ScrapeAccess(
        settings.admin_api_key.get_secret_value(),
        token.get_secret_value() if token is not None else None,
        settings.metrics_public,
    )
