"""Everything that runs, and what can be done to it."""

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.network import Cut, Line, line_to
from chaos.plan import Plan
from chaos.processes import Database, Process, address, variables
from chaos.recorder import Recorder
from provider_simulator.running import Simulator, running_simulator
from tests.support.live_server import free_port

DB_NAME = "chaos"


@dataclass
class Machine:
    """Processes that share a disk, a clock and a line to the database."""

    line: Line
    data_dir: Path
    workers: list[Process]


class Stage:
    """The whole service, and its faults by name."""

    def __init__(
        self,
        plan: Plan,
        database: Database,
        machines: list[Machine],
        api: tuple[Process, str],
        simulator: Simulator,
    ) -> None:
        self.plan = plan
        self.database = database
        self.machines = machines
        self.api, self.api_url = api
        self.simulator = simulator
        self.recorder = Recorder(address(database.port), DB_NAME)
        self.struck: Counter[str] = Counter()
        self._chance = random.Random(plan.seed)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    @property
    def workers(self) -> list[Process]:
        """The processes with workers, of all machines."""
        return [each for machine in self.machines for each in machine.workers]

    @property
    def is_settled(self) -> bool:
        """Whether all processes with workers run, and nothing else is left.

        Each has a directory of its own in its machine's spool; that of a
        dead one is there until it has been recovered.
        """
        return all(each.alive for each in self.workers) and all(
            len(list(machine.data_dir.glob("spool/*/")))
            == len(machine.workers)
            and not list(machine.data_dir.glob("spool/*/*.jsonl"))
            for machine in self.machines
        )

    def strike(self, fault: str) -> None:
        """Let one fault happen; it passes by itself."""
        self.struck[fault] += 1
        worker = self._chance.choice(self.workers)
        kind, _, how = fault.partition(": ")
        match kind:
            case "worker killed":
                self._kill(worker, 1.0)
            case "worker frozen":
                worker.send(signal.SIGSTOP)
                # Beyond the end of its leases.
                self._in(7.0, lambda: worker.send(signal.SIGCONT))
            case "worker ended by SIGTERM":
                worker.send(signal.SIGTERM)
                self._in(4.0, worker.start)
            case "database killed":
                self.database.kill()
                self._in(self._chance.uniform(0.2, 3), self.database.start)
            case "network":
                line = self._chance.choice(self.machines).line
                line.cut(Cut(how))
                self._in(self._chance.uniform(1, 7), line.heal)
            case "provider down":
                self.simulator.fail_for(2)
            case "API killed":
                self._kill(self.api, 0.5)

    def attend(self) -> None:
        """Undo the faults whose time has come."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()

    def heal(self) -> None:
        """Undo all faults, and let none happen by chance."""
        while self._later:
            heapq.heappop(self._later)[2]()
        for machine in self.machines:
            machine.line.heal()
        for process in (*self.workers, self.api):
            process.send(signal.SIGCONT)
            process.start()

    def _kill(self, process: Process, seconds: float) -> None:
        process.kill()
        self._in(self._chance.uniform(0, seconds), process.start)

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        due = time.monotonic() + seconds
        heapq.heappush(self._later, (due, next(self._numbers), action))


@contextmanager
def staged(plan: Plan, directory: Path) -> Iterator[Stage]:
    """Run everything until the block ends."""
    with ExitStack() as stack:
        database = Database(directory / "database")
        database.start()
        stack.callback(database.end)
        simulator = stack.enter_context(
            running_simulator(plan.provider(), process=True)
        )
        machines = [
            _machine(
                stack.enter_context(line_to(database.port)),
                directory / f"machine-{number}",
                shift,
            )
            for number, shift in enumerate(plan.clocks)
        ]
        line = stack.enter_context(line_to(database.port))
        api = _api(line, directory)
        stage = Stage(plan, database, machines, api, simulator)
        for process in (stage.api, *stage.workers):
            stack.callback(process.kill)
            process.start()
        yield stage


def _machine(line: Line, directory: Path, shift: float) -> Machine:
    directory.mkdir()
    settings = variables(directory / "data", address(line.port), DB_NAME)
    workers = [
        Process(
            f"{directory.name}-{number}",
            ["chaos.shifted", str(shift), "worker"],
            directory / f"worker-{number}.log",
            settings,
        )
        for number in range(2)
    ]
    return Machine(line, directory / "data", workers)


def _api(line: Line, directory: Path) -> tuple[Process, str]:
    port = free_port()
    settings = variables(directory / "api", address(line.port), DB_NAME)
    process = Process(
        "api",
        ["cli", "serve", "--no-workers"],
        directory / "api.log",
        {**settings, "PORT": str(port)},
    )
    return process, f"http://127.0.0.1:{port}"
