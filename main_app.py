"""The composition root: builds every part and wires it to the others."""

import os
import signal
import sys

if __name__ == "__main__":
    # The imports below take a second; Ctrl-C then needs no traceback.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from api.application import body_limits, new_app
from api.core.http_server import bound_sockets, server_config
from api.core.logging import configure_logging
from api.core.scrape_access import ScrapeAccess
from api.dependencies.services import Services
from api.services.calls.model_access import ModelAccess
from api.services.clients.client_service import ClientService
from api.services.jobs.job_service import JobService
from api.services.models.model_health import ModelHealthService
from api.services.models.model_service import ModelService
from api.services.monitoring.health_service import HealthService
from api.services.monitoring.metrics_server import metrics_server
from api.services.monitoring.metrics_service import MetricsService
from api.services.monitoring.observed_queue import ObservedJobQueue
from api.services.monitoring.queue_state import QueueState
from api.services.prompts.prompt_flow_service import PromptFlowService
from api.services.prompts.prompt_service import PromptService
from api.services.prompts.version_counters import VersionCounters
from api.services.queue.worker_leases import WorkerLeases
from api.services.runs.run_service import RunService
from api.services.streams.stream_service import StreamService
from api.services.workers.worker_service import WorkerDefaults, WorkerService
from config import ModelKeys, Settings, SettingsError
from llm_optimizers.orchestrator import RunOrchestrator
from llm_sdks.registry import SdkRegistry
from llm_sdks.resilience.model_gate import ModelGates
from llm_workers.results.spool import Spool
from llm_workers.supervisor.health_reporter import HealthReporter
from llm_workers.supervisor.pool import PoolLimits, WorkerPool
from llm_workers.supervisor.worker_thread import WorkerParts
from utilities.cosmos_connector import ClientManager, Documents
from utilities.descriptors import raise_descriptor_limit
from utilities.embedded.database import (
    EmbeddedDatabase,
    EmbeddedDatabaseError,
)
from utilities.interpreter import collect_seldom, switch_threads_often
from utilities.private_files import make_private
from utilities.signals import Signals
from utilities.store.address import check_address
from utilities.store.change_feed import ChangeFeed
from utilities.store.change_watcher import ChangeWatcher
from utilities.store.database_clock import ClockKeeper, DatabaseClock
from utilities.store.schema import DatabaseError, migrate, migrate_when_up

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Application:
    """The parts of one process, wired."""

    settings: Settings
    clients: ClientManager
    clock: DatabaseClock
    services: Services
    worker_parts: WorkerParts
    worker_documents: Documents
    worker_leases: WorkerLeases

    def workers(self) -> "tuple[_Runnable, ...]":
        """Make the workers' supervisor, and what wakes and feeds them."""
        services, parts = self.services, self.worker_parts
        limits = PoolLimits(
            self.settings.num_llm_workers, self.settings.stop_grace_seconds
        )
        pool = WorkerPool(
            self.worker_documents, self.worker_leases, parts, limits
        )
        main = (
            pool,
            RunOrchestrator(services.runs, services.jobs, parts.signals),
        )
        if not self.settings.change_streams:
            return main
        return (*main, ChangeWatcher(ChangeFeed(self.clients), parts.signals))

    def helpers(self) -> tuple[ClockKeeper, HealthReporter]:
        """Make what keeps the time, and what tells how calls go."""
        return (
            ClockKeeper(self.clock, self.clients),
            HealthReporter(self.services.model_health),
        )


@dataclass(frozen=True)
class _Process:
    """What all parts of this process share."""

    settings: Settings
    keys: ModelKeys
    clients: ClientManager
    # All who write to the database go by it.
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    signals: Signals = field(default_factory=Signals)
    registry: SdkRegistry = field(default_factory=SdkRegistry.discover)
    gates: ModelGates = field(default_factory=ModelGates)

    def documents(self, name: str) -> Documents:
        return Documents(self.clients, name, self.clock)

    @cached_property
    def access(self) -> ModelAccess:
        return ModelAccess(
            self.registry,
            self.keys,
            self.gates,
            self.settings.llm_timeout_seconds,
        )

    @cached_property
    def spool(self) -> Spool:
        return Spool(self.settings.data_dir)

    @cached_property
    def metrics(self) -> MetricsService:
        return MetricsService(self.clock)

    @cached_property
    def leases(self) -> WorkerLeases:
        return WorkerLeases(
            self.documents("worker_leases"),
            self.documents("worker_pools"),
            self.clock,
        )


def build(
    settings: Settings,
    keys: ModelKeys,
    connection_string: str,
    clients: ClientManager | None = None,
) -> Application:
    """Wire every part; no I/O happens here.

    `clients` takes the place of those to the `connection_string`.
    """
    clients = clients or ClientManager(
        connection_string, settings.db_name, settings.db_timeout_seconds
    )
    process = _Process(settings, keys, clients)
    services = _services(process)
    process.metrics.watch(
        process.gates, process.spool.size, QueueState(process.documents)
    )
    return Application(
        settings,
        clients,
        process.clock,
        services,
        _worker_parts(process, services),
        process.documents("workers"),
        process.leases,
    )


def _worker_parts(process: _Process, services: Services) -> WorkerParts:
    settings, observer = process.settings, process.metrics.observer
    return WorkerParts(
        clients=process.clients,
        queue=ObservedJobQueue(
            process.documents("jobs"),
            observer,
            lease_seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
            signals=process.signals,
            clock=process.clock,
        ),
        models=services.models,
        prompts=services.prompts,
        access=process.access,
        signals=process.signals,
        spool=process.spool,
        gates=process.gates,
        clock=process.clock,
        observer=observer,
    )


def _services(process: _Process) -> Services:
    settings, clock = process.settings, process.clock
    documents = process.documents
    models = ModelService(documents("models"), process.registry)
    prompts = PromptService(
        documents("prompts"),
        VersionCounters(documents("prompt_versions"), documents("prompts")),
    )
    flows = PromptFlowService(documents("prompt_flows"))
    jobs = JobService(
        documents("jobs"), models, prompts, flows, process.signals, clock
    )
    workers = _worker_service(process)
    pepper = settings.api_key_pepper.get_secret_value()
    return Services(
        clients=ClientService(documents("clients"), workers, pepper),
        models=models,
        model_health=ModelHealthService(
            documents("model_health"),
            process.gates,
            process.spool.process_id,
            clock,
            process.registry.learnt,
        ),
        prompts=prompts,
        prompt_flows=flows,
        jobs=jobs,
        runs=RunService(
            documents("runs"), models, prompts, jobs, process.signals
        ),
        streams=_stream_service(process, models, prompts),
        workers=workers,
        health=HealthService(process.clients),
        metrics=process.metrics,
        scrape_access=_scrape_access(settings),
        admin_api_key=settings.admin_api_key.get_secret_value(),
        docs_user=settings.docs_user,
        docs_secret=settings.docs_secret.get_secret_value(),
    )


def _worker_service(process: _Process) -> WorkerService:
    settings = process.settings
    return WorkerService(
        process.documents("workers"),
        process.leases,
        process.signals,
        WorkerDefaults(settings.poll_interval, settings.max_items_per_batch),
        process.documents("clients"),
        process.clock,
    )


def _stream_service(
    process: _Process, models: ModelService, prompts: PromptService
) -> StreamService:
    return StreamService(
        process.documents("streams"),
        models,
        prompts,
        process.access,
        clock=process.clock,
        observer=process.metrics.observer,
    )


def _scrape_access(settings: Settings) -> ScrapeAccess:
    token = settings.metrics_token
    return ScrapeAccess(
        settings.admin_api_key.get_secret_value(),
        token.get_secret_value() if token is not None else None,
        settings.metrics_public,
    )


def create_app(application: Application, *, run_workers: bool) -> FastAPI:
    """Make the HTTP application; its lifespan runs the worker pool."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await migrate(application.clients)
        await application.clock.measure(application.clients)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(application.clients.close)
            streams = application.services.streams
            await streams.close_interrupted()
            stack.push_async_callback(streams.stop)
            parts = application.workers() if run_workers else ()
            await stack.enter_async_context(
                running(*application.helpers(), *parts)
            )
            yield

    return new_app(
        application.services, lifespan, body_limits(application.settings)
    )


class _Runnable(Protocol):
    async def run(self) -> None: ...

    def stop(self) -> None: ...


@asynccontextmanager
async def running(*parts: _Runnable) -> AsyncIterator[None]:
    """Run these beside what is inside."""
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            part.stop()
        # What waits for the database need not wait on. Told before: it may
        # lose a cancellation (see `utilities.tasks`).
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def database_of(settings: Settings) -> Iterator[str]:
    """Give the database's connection string; start our own if none is set.

    Raises:
        DatabaseError: the string is none.
        DataDirectoryInUseError: another process has the embedded one.
    """
    if settings.db_connection_string is not None:
        address = settings.db_connection_string.get_secret_value()
        check_address(address)
        make_private(settings.data_dir)
        yield address
        return
    with EmbeddedDatabase(settings.data_dir) as database:
        log.info(
            "embedded_database",
            dataDir=str(settings.data_dir.absolute()),
            advice="set DB_CONNECTION_STRING to use a MongoDB server",
        )
        yield database.connection_string


def serve(settings: Settings, keys: ModelKeys, *, run_workers: bool) -> None:
    """Run the API, and the workers unless told otherwise, until stopped."""
    _end_on_signals()
    raise_descriptor_limit()
    # Before the database starts, so that a port in use is told at once.
    sockets = bound_sockets(settings.host, settings.port)
    with database_of(settings) as connection_string:
        application = build(settings, keys, connection_string)
        uvloop.run(_prepare(application))
        app = create_app(application, run_workers=run_workers)
        collect_seldom()
        switch_threads_often()
        for sock in sockets:
            host, port = sock.getsockname()[:2]
            log.info("listening", host=host, port=port)
        uvicorn.Server(server_config(app, settings)).run(sockets)


def work(settings: Settings, keys: ModelKeys) -> None:
    """Run workers without the API, until stopped."""
    _end_on_signals()
    with database_of(settings) as connection_string:
        application = build(settings, keys, connection_string)
        collect_seldom()
        with _metrics_port(application):
            uvloop.run(_work_until_stopped(application))


@contextlib.contextmanager
def _metrics_port(application: Application) -> Iterator[None]:
    settings, services = application.settings, application.services
    if settings.metrics_port is None:
        yield
        return
    with metrics_server(
        settings.host,
        settings.metrics_port,
        services.metrics.registry,
        services.scrape_access,
    ):
        yield


async def _prepare(application: Application) -> None:
    # Before the server starts, so that a database that does not answer is
    # one clear message.
    await migrate_when_up(application.clients)
    await application.clients.close()


def _end_on_signals() -> None:
    # uvicorn and the worker loop handle these while they run; before and
    # after, a signal must still unwind the stack, so that the embedded
    # database ends cleanly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))


async def _work_until_stopped(application: Application) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await migrate_when_up(application.clients)
    await application.clock.measure(application.clients)
    async with running(*application.helpers(), *application.workers()):
        await stopped.wait()
    await application.clients.close()


def main() -> None:
    """Start the service: `python main_app.py`."""
    try:
        settings = Settings.load()
        configure_logging(settings.log_level, settings.log_format)
        serve(settings, ModelKeys.load(), run_workers=True)
    except (SettingsError, EmbeddedDatabaseError, DatabaseError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
