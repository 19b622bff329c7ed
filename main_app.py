"""The entry and the lifespan of a process; packages build their own parts."""

import os
import signal
import sys

if __name__ == "__main__":
    # The imports below take a second; Ctrl-C then needs no traceback.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import asyncio
import contextlib
from asyncio import create_task, to_thread
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import socket
from types import FrameType

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from api.application import body_limits, gateway_body_limits, new_app
from api.build import build_services
from api.core.http_server import bound_sockets, server_config
from api.core.logging import configure_logging
from api.dependencies.services import Services
from api.services.calls.live_calls import LiveCalls
from api.services.calls.routing.route_book import RouteWatcher
from api.services.limits.budget_service import BudgetKeeper
from api.services.limits.limit_keeper import LimitKeeper
from api.services.limits.state_watcher import StateWatcher
from api.services.monitoring.metrics_server import metrics_server
from api.services.monitoring.queue_state import QueueState
from api.services.queue.job_expiry import JobExpiry
from api.services.streams.stream_guard import StreamGuard
from api.shared import Shared
from config import ModelKeys, Settings, SettingsError
from llm_optimizers.build import build_run_orchestrator
from llm_optimizers.evaluation.build import build_evaluation_runner
from llm_optimizers.report.build import build_run_reports
from llm_workers.build import (
    build_batch_keeper,
    build_worker_parts,
    build_workers,
)
from llm_workers.results.spool import Spool, new_process_id
from llm_workers.supervisor.health_reporter import HealthReporter
from llm_workers.supervisor.worker_thread import WorkerParts
from utilities.cosmos_connector import ClientManager
from utilities.descriptors import raise_descriptor_limit
from utilities.embedded.database import (
    EmbeddedDatabase,
    EmbeddedDatabaseError,
)
from utilities.interpreter import (
    collect_seldom,
    return_freed_memory,
    switch_threads_often,
)
from utilities.private_files import make_private
from utilities.store.address import check_address
from utilities.store.change_feed import ChangeFeed
from utilities.store.change_watcher import ChangeWatcher
from utilities.store.database_clock import ClockKeeper
from utilities.store.schema import DatabaseError, migrate, migrate_when_up
from utilities.supervision import Part
from utilities.tasks import cancel_until_ended

# As `uvicorn.run` does where a port is taken, for example.
_NOT_STARTED = 3

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Application:
    """The parts of one process, wired."""

    shared: Shared
    services: Services
    worker_parts: WorkerParts

    @property
    def settings(self) -> Settings:
        """The settings of the process."""
        return self.shared.settings

    @property
    def clients(self) -> ClientManager:
        """The way to the database."""
        return self.shared.clients

    def workers(self) -> tuple[Part, ...]:
        """Make what runs workers and runs, and what wakes them."""
        shared, services = self.shared, self.services
        main = (
            *build_workers(shared, self.worker_parts),
            build_batch_keeper(shared, services),
            build_run_orchestrator(shared, services),
            build_evaluation_runner(shared, services),
        )
        if not self.settings.change_streams:
            return main
        feed = ChangeFeed(shared.clients)
        return (*main, ChangeWatcher(feed, shared.signals, shared.clock))

    def helpers(self) -> tuple[Part, ...]:
        """Make what every process runs."""
        shared, services = self.shared, self.services
        return (
            ClockKeeper(shared.clock, shared.clients, shared.clock_record),
            HealthReporter(services.model_health),
            StateWatcher(services.suspensions, services.models),
            RouteWatcher(shared.routes),
            LimitKeeper(shared.limiter, shared.client_states, shared.clock),
            StreamGuard(shared.live_calls, shared.client_states),
            *shared.webhooks.background,
            *shared.keeping.background,
            JobExpiry(
                shared.documents("jobs"),
                shared.signals,
                shared.clock,
                endings=shared.endings,
            ),
            services.job_ends,
            services.evaluation_ends,
            BudgetKeeper(shared.budget_accounts),
        )

    async def prepare(self) -> None:
        """Bring the schema up to date, and take the database's time."""
        await migrate_when_up(self.clients)
        await self.shared.measure_clock()
        await self.services.webhooks.refresh()
        await self.shared.routes.refresh()


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
    shared = Shared(settings, keys, clients, new_process_id())
    spool = Spool(settings.data_dir, shared.process_id)
    services = build_services(shared)
    shared.metrics.watch(
        shared.gates,
        spool.size,
        QueueState(shared.documents),
        shared.suspensions.reasons,
    )
    parts = build_worker_parts(shared, services, spool)
    return Application(shared, services, parts)


def create_app(application: Application, *, run_workers: bool) -> FastAPI:
    """Make the HTTP application; its lifespan runs the worker pool."""
    services, shared = application.services, application.shared
    if run_workers:
        # Answers are kept there while the database is away.
        spool = application.worker_parts.spool
        services.health.watch("dataDir", lambda: to_thread(spool.check))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await migrate(application.clients)
        await shared.measure_clock()
        await services.webhooks.refresh()
        await shared.routes.refresh()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(application.clients.close)
            await services.streams.close_interrupted()
            stack.push_async_callback(services.streams.stop)
            stack.push_async_callback(services.gateway.stop)
            parts = application.workers() if run_workers else ()
            await stack.enter_async_context(
                shared.parts.running(*application.helpers(), *parts)
            )
            yield

    settings = application.settings
    app = new_app(
        services,
        lifespan,
        body_limits(settings),
        gateway_body_limits(settings),
    )
    app.state.run_reports = build_run_reports(services)
    return app


class ApiServer(uvicorn.Server):
    """Ends open streams in time for their answers to end well.

    `release` answers the requests that only wait.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        live: LiveCalls,
        grace: float,
        release: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._release = release
        self._live = live
        self._grace = grace

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Close the listeners, wait for requests; see `uvicorn.Server`."""
        self._release()
        ending = create_task(self._live.end_within(self._grace))
        try:
            await super().shutdown(sockets)
        finally:
            await cancel_until_ended([ending])


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


def serve(
    settings: Settings,
    keys: ModelKeys,
    *,
    run_workers: bool,
    is_shared: bool = False,
) -> None:
    """Run the API, and the workers unless disabled, until stopped.

    `is_shared` listens on a port on which other processes listen, too.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ending_on_signals())
        raise_descriptor_limit()
        return_freed_memory()
        # Before the database starts, so that a used port is reported at once.
        sockets = bound_sockets(
            settings.host, settings.port, is_shared=is_shared
        )
        connection_string = stack.enter_context(database_of(settings))
        application = build(settings, keys, connection_string)
        uvloop.run(_prepare(application))
        app = create_app(application, run_workers=run_workers)
        if is_shared:
            application.services.metrics.is_one_of_many = True
            stack.enter_context(_metrics_port(application))
        collect_seldom()
        switch_threads_often()
        for sock in sockets:
            host, port = sock.getsockname()[:2]
            log.info("listening", host=host, port=port)
        server = ApiServer(
            server_config(app, settings),
            application.shared.live_calls,
            settings.stop_grace_seconds,
            application.services.release_waiting,
        )
        server.run(sockets)
        if not server.started:
            sys.exit(_NOT_STARTED)


def work(settings: Settings, keys: ModelKeys) -> None:
    """Run workers without the API, until stopped."""
    return_freed_memory()
    with _ending_on_signals(), database_of(settings) as connection_string:
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


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    # uvicorn and the worker loop handle these while they run; before and
    # after, a signal must still unwind the stack, so that the embedded
    # database ends cleanly.
    _on_signals(lambda *_: sys.exit(0))
    try:
        yield
    finally:
        # Everything is cleaned up: a repeated signal would only kill the
        # interpreter while it ends.
        _on_signals(signal.SIG_IGN)


def _on_signals(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


async def _work_until_stopped(application: Application) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Not `loop.add_signal_handler`: the end of the loop would take these
    # away, and a second signal would then kill the process in its cleanup.
    _on_signals(lambda *_: _call_soon(loop, stopped.set))
    await application.prepare()
    parts = (*application.helpers(), *application.workers())
    async with application.shared.parts.running(*parts):
        await stopped.wait()
    await application.clients.close()


def _call_soon(
    loop: asyncio.AbstractEventLoop, action: Callable[[], None]
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(action)


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
