"""A worker: one thread with its own event loop, database and providers.

Nothing in it is shared with other workers, so that one stuck plug-in
cannot stall another.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
import uvloop

from api.models.worker_models import Worker, WorkerConfig
from api.services.calls.catalog import Catalog
from api.services.calls.model_access import ModelAccess
from api.services.calls.model_caller import ModelCaller
from api.services.calls.routing.router import Routing
from api.services.jobs.answer_memory import AnswerMemory
from api.services.limits.admission import Admission
from api.services.limits.claims import ClaimGuard
from api.services.models.model_service import ModelService
from api.services.monitoring.observer import NOBODY, Observer
from api.services.prompts.prompt_service import PromptService
from api.services.queue.cancellations import Canceled
from api.services.queue.flights import Flights
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Claimant
from llm_workers.execution.job_runner import JobRunner, RunnerTimes
from llm_workers.execution.pipeline import Pipeline
from llm_workers.execution.remembering import Remembering
from llm_workers.results.result_writer import ResultWriter, WriterTimes
from llm_workers.results.spool import Spool
from utilities.clock import Clock
from utilities.cosmos_connector import ClientManager, current_actor
from utilities.signals import Signals, jobs_waiting

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WorkerParts:
    """What every worker of a process is built from; all thread-safe."""

    clients: ClientManager
    queue: JobQueue
    models: ModelService
    prompts: PromptService
    access: ModelAccess
    signals: Signals
    spool: Spool
    claims: ClaimGuard
    admission: Admission
    clock: Clock
    routing: Routing
    observer: Observer = NOBODY
    runner_times: RunnerTimes = field(default_factory=RunnerTimes)
    writer_times: WriterTimes = field(default_factory=WriterTimes)
    flights: Flights | None = None
    memory: AnswerMemory | None = None

    def remembering(self, catalog: Catalog) -> Remembering | None:
        """Give what finds the answers of claimed jobs."""
        if self.flights is None or self.memory is None:
            return None
        return Remembering(self.memory, self.flights, catalog, self.clock)


class WorkerThread:
    """Runs one worker document's jobs until stopped."""

    def __init__(self, worker: Worker, parts: WorkerParts) -> None:
        self.worker_id = worker.worker_id
        self.error: str | None = None
        self.client_id = worker.client_id
        self._config = worker.config
        self._parts = parts
        self._grace = 0.0
        self._stop_asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: JobRunner | None = None
        self._lock = threading.Lock()
        self._created = time.monotonic()
        # A daemon: a plug-in that blocks for ever cannot keep the process.
        self._thread = threading.Thread(
            target=self._main, name=f"worker-{self.worker_id}", daemon=True
        )

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def idle_seconds(self) -> float:
        """How long it has had nothing to do."""
        runner = self._runner
        return runner.idle_seconds if runner is not None else 0.0

    @property
    def held_seconds(self) -> float:
        """How long the worker has had this thread."""
        return time.monotonic() - self._created

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def reconfigure(self, config: WorkerConfig) -> None:
        """Take up a changed config."""
        if config != self._config:
            self._config = config
            self._tell(JobRunner.wake)

    def wake(self) -> None:
        """Have it look for work now."""
        self._tell(JobRunner.wake)

    def cancel(self, canceled: Canceled) -> None:
        """Stop the calls of those of its jobs that are canceled."""
        self._tell(lambda runner: runner.cancel(canceled))

    def stop(self, grace: float) -> None:
        """Ask it to end; running calls get `grace` seconds to end."""
        with self._lock:
            self._grace = grace
            self._stop_asked = True
        self._tell(JobRunner.stop)

    def join(self, timeout: float) -> bool:
        """Wait for the end; False if the thread is stuck."""
        self._thread.join(timeout)
        return not self.alive

    def _tell(self, action: Callable[[JobRunner], None]) -> None:
        with self._lock:
            loop, runner = self._loop, self._runner
            if loop is not None and runner is not None:
                loop.call_soon_threadsafe(action, runner)

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._work())
        except Exception as error:
            # The pool sees that the thread has ended, and why.
            log.exception("worker_crashed", workerId=self.worker_id)
            self.error = f"{type(error).__name__}: {error}"

    async def _work(self) -> None:
        current_actor.set("worker")
        parts, topic = self._parts, jobs_waiting(self.client_id)
        catalog = Catalog(parts.models, parts.prompts)
        async with contextlib.AsyncExitStack() as stack:
            # One that fails must not skip the others, nor look like a
            # crash of a worker that has done its work.
            stack.push_async_callback(_closing, parts.clients.close)
            # Plug-ins live in one event loop.
            caller = ModelCaller(
                parts.access.anew(),
                admission=parts.admission,
                observer=parts.observer,
            )
            stack.push_async_callback(_closing, caller.close)
            runner = self._build(catalog, caller)
            parts.signals.subscribe(topic, self.wake)
            stack.callback(parts.signals.unsubscribe, topic, self.wake)
            self._open(runner)
            stack.callback(self._close)
            await runner.run(lambda: self._grace)

    def _build(self, catalog: Catalog, caller: ModelCaller) -> JobRunner:
        parts = self._parts
        pipeline = Pipeline(
            caller,
            catalog,
            parts.prompts,
            max_attempts=parts.queue.max_attempts,
            clock=parts.clock,
            routing=parts.routing,
            holds_route=self._holds_route,
        )
        writer = ResultWriter(
            parts.queue,
            parts.spool.file(self.worker_id),
            parts.writer_times,
        )
        return JobRunner(
            Claimant(parts.spool.process_id, self.worker_id),
            self.client_id,
            lambda: self._config,
            parts.queue,
            pipeline,
            writer,
            parts.claims,
            parts.clock,
            times=parts.runner_times,
            remembering=parts.remembering(catalog),
        )

    def _holds_route(self, client_id: str, name: str) -> bool | None:
        parts = self._parts
        if parts.routing.book.find(name) is None:
            return None
        return name in parts.claims.look(client_id).names

    def _open(self, runner: JobRunner) -> None:
        with self._lock:
            self._loop, self._runner = asyncio.get_running_loop(), runner
            if self._stop_asked:
                runner.stop()

    def _close(self) -> None:
        with self._lock:
            self._loop = self._runner = None


async def _closing(close: Callable[[], Awaitable[None]]) -> None:
    try:
        await close()
    except Exception:
        # A plug-in's, for example: the connections end with the loop.
        log.exception("worker_cleanup_failed")
