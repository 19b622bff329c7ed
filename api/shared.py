"""What all parts of one process share; no I/O happens here."""

from dataclasses import dataclass, field
from functools import cached_property

from api.services.access.audit.build import AuditParts, build_audit
from api.services.batches.batch_store import BatchStore
from api.services.batches.file_service import FileService
from api.services.calls.live_calls import LiveCalls
from api.services.calls.model_access import ModelAccess
from api.services.calls.routing.choosing import Choosing
from api.services.calls.routing.history import CallHistory, Observers
from api.services.calls.routing.route_book import RouteBook
from api.services.calls.routing.router import Routing
from api.services.keeping.build import KeepingParts, build_keeping
from api.services.limits.admission import Admission
from api.services.limits.budget_accounts import BUDGETS, BudgetAccounts
from api.services.limits.budget_claims import ExhaustedBudgets
from api.services.limits.budget_limits import BudgetLimits
from api.services.limits.budgets import BudgetStage
from api.services.limits.build import build_admission
from api.services.limits.claims import ClaimGuard
from api.services.limits.ledger import COUNTERS, JOURNAL, Ledger
from api.services.limits.ledger_recovery import LedgerRecovery
from api.services.limits.limit_store import LimitStore
from api.services.limits.limiter import Limiter
from api.services.limits.model_states import ModelStateStore
from api.services.limits.suspensions import Suspensions
from api.services.live.event_log import INTEREST, EventLog
from api.services.live.event_log import LOG as EVENT_LOG
from api.services.live.hub import Hub
from api.services.monitoring.metrics_service import MetricsService
from api.services.monitoring.observer import Observer
from api.services.queue.cancellations import Cancellations
from api.services.queue.flights import FLIGHTS, Flights
from api.services.queue.worker_leases import WorkerLeases
from api.services.shared.client_states import ClientStates
from api.services.shared.endings import COLLECTION as ENDINGS
from api.services.shared.endings import Endings
from api.services.webhooks.build import WebhookParts, build_webhooks
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
    def endings(self) -> Endings:
        """Where it is noted what is about to end."""
        return Endings(self.documents(ENDINGS), self.signals, self.clock)

    @cached_property
    def event_log(self) -> EventLog:
        """Ends of jobs, for those who watch in any process."""
        return EventLog(
            self.documents(EVENT_LOG),
            self.documents(INTEREST),
            self.process_id,
            self.signals,
            self.clock,
        )

    @cached_property
    def hub(self) -> Hub:
        """Those who watch in this process."""
        return Hub(self.settings.max_watchers_per_user, self.clock)

    @cached_property
    def webhooks(self) -> WebhookParts:
        """Who is told of events, and the way to tell them."""
        settings = self.settings
        return build_webhooks(
            self.documents,
            self.endings,
            self.signals,
            self.clock,
            self.metrics.observer,
            pepper=settings.api_key_pepper.get_secret_value(),
            allow_private=settings.webhook_allow_private,
            others=self.event_log,
        )

    @cached_property
    def audit(self) -> AuditParts:
        """What records who has changed what."""
        return build_audit(
            self.documents,
            self.clock,
            self.settings,
            self.process_id,
            self.metrics.observer,
        )

    @cached_property
    def keeping(self) -> KeepingParts:
        """What removes old things, and the data of erased clients."""
        return build_keeping(
            self.documents,
            self.clients,
            self.signals,
            self.clock,
            self.metrics.observer,
            self.settings,
        )

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
    def routes(self) -> RouteBook:
        """The routes."""
        return RouteBook(self.documents("routes"))

    @cached_property
    def call_history(self) -> CallHistory:
        """How calls to models have gone."""
        return CallHistory()

    @cached_property
    def call_observer(self) -> Observer:
        """Whoever is told how calls end."""
        return Observers(self.metrics.observer, self.call_history)

    @cached_property
    def routing(self) -> Routing:
        """What chooses the models of routes."""
        return Routing(self.routes, Choosing(self.call_history), self.clock)

    @cached_property
    def files(self) -> FileService:
        """The files of the vendors' interfaces."""
        return FileService(
            self.documents("files"), self.documents("file_pieces"), self.clock
        )

    @cached_property
    def batch_store(self) -> BatchStore:
        """The batches of the vendors' interfaces."""
        return BatchStore(
            self.documents("batches"),
            self.documents("jobs"),
            self.signals,
            self.endings,
            self.clock,
        )

    @cached_property
    def live_calls(self) -> LiveCalls:
        """The calls whose clients watch them."""
        return LiveCalls()

    @cached_property
    def suspensions(self) -> Suspensions:
        """Which models are suspended."""
        store = ModelStateStore(self.documents("model_states"))
        return Suspensions(
            store,
            self.signals,
            self.clock,
            trial_seconds=self.settings.suspended_trial_seconds,
        )

    @cached_property
    def limiter(self) -> Limiter:
        """The limits that calls of this process come under."""
        store = LimitStore(self.documents("call_limits"))
        limiter = Limiter(
            store, self.process_id, self.clock, self.settings.bulk_share
        )
        self.gates.weights = limiter.weight
        self.gates.bulk_share = self.settings.bulk_share
        return limiter

    @cached_property
    def admission(self) -> Admission:
        """What every call to a model passes."""
        return build_admission(
            self.suspensions,
            BudgetStage(
                self.budget_limits,
                self.budget_accounts,
                self.exhausted_budgets,
            ),
            self.limiter,
            self.clock,
        )

    @cached_property
    def claims(self) -> ClaimGuard:
        """What workers need not claim just now."""
        return ClaimGuard(
            self.gates,
            [
                self.suspensions.shares,
                self.exhausted_budgets.shares,
            ],
            [self.exhausted_budgets.room_of_client],
            self.limiter,
            self.routes.all,
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
    def flights(self) -> Flights:
        """Who asks which question just now."""
        return Flights(
            self.documents(FLIGHTS), self.documents("jobs"), self.clock
        )

    @cached_property
    def cancellations(self) -> Cancellations:
        """Where a process learns which of its jobs are canceled."""
        return Cancellations(
            self.documents("jobs"),
            self.documents("job_cancellations"),
            self.signals,
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
    def exhausted_budgets(self) -> ExhaustedBudgets:
        """Which budgets let calls wait just now."""
        return ExhaustedBudgets()

    @cached_property
    def budget_accounts(self) -> BudgetAccounts:
        """What this process holds of budgets."""
        return BudgetAccounts(
            self.documents(BUDGETS), self.process_id, self.clock
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
