"""Background parts of a process: watched, restarted, and shown.

A part runs for as long as its process. One that ends or raises is logged
once with the reason and started again after a pause that grows; what each
part's state is can be read at any time, for example by the readiness
check.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from utilities.clock import Clock, now_ms

log = structlog.get_logger(__name__)


class PartError(Exception):
    """A part cannot run now; the message says why and what to do."""


class Part(Protocol):
    """A background activity of the process that runs until stopped."""

    @property
    def name(self) -> str:
        """By what name its check is shown."""
        ...

    @property
    def vital(self) -> bool:
        """Whether the process is not ready while it has a problem."""
        ...

    @property
    def problem(self) -> str | None:
        """What it cannot do now; None if all is well."""
        ...

    async def run(self) -> None:
        """Work until stopped; may be called again after an error."""
        ...

    def stop(self) -> None:
        """Have it end soon."""
        ...


@dataclass(frozen=True, slots=True)
class RestartTimes:
    """Pauses before restarts, in seconds.

    A part that has run for `settled` seconds counts as healthy again: its
    next pause is the first one.
    """

    first: float = 0.5
    longest: float = 30.0
    settled: float = 5.0


@dataclass(frozen=True, slots=True)
class PartState:
    """How a part is; `since` is in ms, `error` is None if it is well."""

    since: int
    error: str | None = None
    vital: bool = True


@dataclass(slots=True)
class _Watched:
    part: Part
    state: PartState
    pause: float
    failed: bool = False
    logged: str | None = None


@dataclass(slots=True)
class SupervisedGroup:
    """Runs parts side by side and keeps each of them running."""

    times: RestartTimes = field(default_factory=RestartTimes)
    clock: Clock = now_ms
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _stopping: bool = False

    def states(self) -> Mapping[str, PartState]:
        """Return the state of every part, by name."""
        return {
            name: self._state_of(watched)
            for name, watched in self._watched.items()
        }

    @asynccontextmanager
    async def running(self, *parts: Part) -> AsyncIterator[None]:
        """Run these parts beside the block; stop them at its end."""
        self._stopping = False
        self._watched = {
            part.name: _Watched(part, self._since_now(part), self.times.first)
            for part in parts
        }
        tasks = [
            asyncio.create_task(self._supervise(watched), name=name)
            for name, watched in self._watched.items()
        ]
        try:
            yield
        finally:
            await self._stop(tasks)

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        self._stopping = True
        for watched in self._watched.values():
            watched.part.stop()
        # A part that waits for the database need not wait longer. It was
        # stopped before, because one cancellation may be lost (see
        # `utilities.tasks`), and a second one would cut off its cleanup.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _supervise(self, watched: _Watched) -> None:
        while not self._stopping:
            reason = await self._run_once(watched)
            if self._stopping:
                return
            self._note_failure(watched, reason)
            await asyncio.sleep(watched.pause)
            watched.pause = min(watched.pause * 2, self.times.longest)

    async def _run_once(self, watched: _Watched) -> Exception | None:
        """Run a part until it ends; return the error that ended it."""
        settled = asyncio.get_running_loop().call_later(
            self.times.settled, self._note_recovery, watched
        )
        try:
            await watched.part.run()
        except Exception as error:  # noqa: BLE001 - logged by the caller
            return error
        finally:
            settled.cancel()
        return None

    def _note_failure(
        self, watched: _Watched, error: Exception | None
    ) -> None:
        reason = _described(error)
        if not watched.failed or watched.state.error != reason:
            watched.state = replace(
                self._since_now(watched.part), error=reason
            )
        watched.failed = True
        if watched.logged == reason:
            return
        watched.logged = reason
        is_expected = error is None or isinstance(error, PartError)
        log.error(
            "part_ended",
            part=watched.part.name,
            reason=reason,
            restartsAfterSeconds=watched.pause,
            exc_info=None if is_expected else error,
        )

    def _note_recovery(self, watched: _Watched) -> None:
        watched.pause = self.times.first
        if not watched.failed:
            return
        watched.failed, watched.logged = False, None
        watched.state = self._since_now(watched.part)
        log.info("part_restored", part=watched.part.name)

    def _state_of(self, watched: _Watched) -> PartState:
        """Return the state, with what the part says of itself."""
        problem = watched.part.problem
        if not watched.failed and problem != watched.state.error:
            watched.state = replace(
                self._since_now(watched.part), error=problem
            )
        return watched.state

    def _since_now(self, part: Part) -> PartState:
        return PartState(self.clock(), vital=part.vital)


def _described(error: Exception | None) -> str:
    if error is None:
        return "it ended without a request to stop"
    if isinstance(error, PartError):
        return str(error)
    # Without its message, which may quote an address or a document.
    return f"unexpected {type(error).__name__}"
