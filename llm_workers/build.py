"""Wires the workers of a process; no I/O happens here."""

from api.dependencies.services import Services
from api.services.jobs.answer_memory import AnswerMemory
from api.services.keeping.turns import Turns
from api.services.monitoring.observed_queue import ObservedJobQueue
from api.services.queue.queue_order import Aging
from api.services.routes.route_names import RouteNames
from api.shared import Shared
from llm_workers.built_in.batch_keeper import BatchKeeper
from llm_workers.built_in.batch_steps import BatchSteps, StepParts
from llm_workers.built_in.batch_workers import BatchWorkers
from llm_workers.results.recovery import SpoolRecovery
from llm_workers.results.spool import Spool
from llm_workers.results.spool_eraser import SpoolEraser
from llm_workers.supervisor.cancel_watcher import CancelWatcher
from llm_workers.supervisor.pool import WorkerPool
from llm_workers.supervisor.pool_settings import PoolLimits
from llm_workers.supervisor.snapshot import SnapshotSource
from llm_workers.supervisor.worker_thread import WorkerParts
from utilities.supervision import Part


def build_worker_parts(
    shared: Shared, services: Services, spool: Spool
) -> WorkerParts:
    """Make what every worker of the process is built from."""
    settings, observer = shared.settings, shared.metrics.observer
    flights = shared.flights
    return WorkerParts(
        clients=shared.clients,
        queue=ObservedJobQueue(
            shared.documents("jobs"),
            observer,
            lease_seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
            signals=shared.signals,
            ledger=shared.ledger,
            clock=shared.clock,
            endings=shared.endings,
            bulk_share=settings.bulk_share,
            flights=flights,
        ),
        models=services.models,
        prompts=services.prompts,
        access=shared.access,
        signals=shared.signals,
        spool=spool,
        claims=shared.claims,
        admission=shared.admission,
        clock=shared.clock,
        routing=shared.routing,
        observer=shared.call_observer,
        flights=flights,
        memory=AnswerMemory(shared.documents("jobs")),
    )


def build_batch_keeper(shared: Shared, services: Services) -> BatchKeeper:
    """Make what brings batches from their input to their output."""
    steps = BatchSteps(
        StepParts(
            shared.batch_store,
            shared.files,
            services.models,
            RouteNames(shared.documents("routes")),
            services.job_bulk,
            shared.signals,
            Aging(shared.settings.priority_aging_seconds),
            shared.clock,
        )
    )
    return BatchKeeper(
        shared.batch_store,
        shared.files,
        steps,
        Turns(shared.documents("turns"), shared.clock),
        shared.signals,
        shared.process_id,
    )


def build_workers(shared: Shared, parts: WorkerParts) -> tuple[Part, ...]:
    """Make what runs the workers: their supervisor, and recovery."""
    settings = shared.settings
    limits = PoolLimits(settings.num_llm_workers, settings.stop_grace_seconds)
    source = SnapshotSource(
        shared.documents("workers"),
        shared.client_states,
        BatchWorkers(shared.batch_store, settings.batch_concurrency).running,
    )
    pool = WorkerPool(
        source, shared.leases, parts, limits, weights=shared.limiter.weight
    )
    return (
        pool,
        CancelWatcher(
            shared.cancellations, pool.pool_id, pool.cancel, shared.signals
        ),
        SpoolRecovery(
            parts.spool,
            parts.queue,
            shared.leases,
            shared.keeping.erased,
            settle=shared.settle_dead,
        ),
        SpoolEraser(settings.data_dir, shared.keeping.erased, shared.signals),
        shared.ledger_recovery,
    )
