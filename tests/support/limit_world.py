"""Processes under limits that they share, in simulated time."""

import asyncio
import contextlib
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

from api.models.limit_models import CallLimits
from api.models.model_models import CostInput, ModelWithKey
from api.services.calls.model_call import Account, CallProgress, ModelCall
from api.services.limits.admission import NotAdmittedError
from api.services.limits.limit_keeper import LimitKeeper
from api.services.limits.limit_stage import LimitStage
from api.services.limits.limit_store import LimitStore
from api.services.limits.limiter import Limiter
from api.services.shared.client_states import ClientStates
from llm_sdks.usage import Usage
from tests.support.virtual_time import virtual_clock
from utilities.cosmos_connector import Documents
from utilities.store.in_memory import InMemoryClientManager

CLIENT = ("client",)
BULK = Account("client")
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def limited(**limits: int) -> ModelWithKey:
    return ModelWithKey(
        model_id="m1",
        name="m",
        sdk="test",
        key="K",
        cost=CostInput(input=0, output=0),
        limits=CallLimits(**limits),
        metadata={"createdAt": MOMENT, "updatedAt": MOMENT},
    )


class Provider:
    """Notes when calls begin, and how many run at once."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.by_process: Counter[str] = Counter()
        self.by_client: Counter[str] = Counter()
        self.running = self.most = self.refused = 0
        # Its own limit of calls in any minute, if it has one.
        self.limit: int | None = None
        self.taken: deque[float] = deque()

    def headers(self) -> dict[str, str]:
        """Say what is left of the limit, as of now."""
        if self.limit is None:
            return {}
        now = asyncio.get_running_loop().time()
        while self.taken and self.taken[0] <= now - 60:
            self.taken.popleft()
        if len(self.taken) < self.limit:
            self.taken.append(now)
        else:
            self.refused += 1
        left = self.limit - len(self.taken)
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": "30s",
        }

    def within(self, seconds: float) -> int:
        """Return the most calls of any such time."""
        times = self.began
        return max(
            bisect_left(times, start + seconds) - position
            for position, start in enumerate(times)
        )

    def between(self, start: float, end: float) -> int:
        return bisect_left(self.began, end) - bisect_left(self.began, start)


class World:
    """A database and a provider, and processes that come and go."""

    def __init__(self, model: ModelWithKey) -> None:
        self.clients = InMemoryClientManager()
        self.model = model
        self.provider = Provider()
        self.refused = 0

    async def store_weights(self, weights: Mapping[str, float]) -> None:
        """Store clients with these weights."""
        clients = Documents(self.clients, "clients", virtual_clock)
        for client_id, weight in weights.items():
            await clients.insert({"clientId": client_id, "weight": weight})

    @contextlib.asynccontextmanager
    async def process(
        self, name: str, latency: float = 0.5, clients: Sequence[str] = CLIENT
    ) -> AsyncIterator["Process"]:
        """Run a process that claims as many jobs of clients as it may."""
        documents = Documents(self.clients, "call_limits", virtual_clock)
        limiter = Limiter(LimitStore(documents), name, virtual_clock)
        states = ClientStates(
            Documents(self.clients, "clients", virtual_clock)
        )
        keeper = LimitKeeper(limiter, states, virtual_clock)
        process = Process(self, name, limiter, latency)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(keeper.run()),
                *(
                    tasks.create_task(process.claim(Account(each)))
                    for each in clients
                ),
            ]
            yield process
            for task in (*running, *process.calls):
                task.cancel()


class Process:
    """Claims jobs as workers do, and makes their calls."""

    def __init__(
        self,
        world: World,
        name: str,
        limiter: Limiter,
        latency: float,
    ) -> None:
        self.world, self.name, self.limiter = world, name, limiter
        self.latency = latency
        self.stage = LimitStage(limiter, virtual_clock)
        self.usage: Usage | None = None
        self.calls: set[asyncio.Task[None]] = set()

    async def claim(self, account: Account) -> None:
        """Look for jobs five times a second, without end."""
        await self.call(account)
        while True:
            (share,) = self.limiter.shares(account.client_id)
            for _ in range(share.take(200)):
                task = asyncio.create_task(self.call(account))
                self.calls.add(task)
                task.add_done_callback(self.calls.discard)
            await asyncio.sleep(share.wait)

    async def call(
        self,
        account: Account | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Make one call."""
        world = self.world
        call = ModelCall(world.model, "", "", 0, account=account or BULK)
        try:
            admitted = await self.stage.admit(call)
        except NotAdmittedError:
            world.refused += 1
            return
        provider = world.provider
        provider.began.append(asyncio.get_running_loop().time())
        provider.by_process[self.name] += 1
        provider.by_client[call.account.client_id] += 1
        provider.running += 1
        provider.most = max(provider.most, provider.running)
        progress = CallProgress(usage=self.usage, headers=provider.headers())
        try:
            await asyncio.sleep(self.latency)
        finally:
            provider.running -= 1
            admitted.ended(progress, error)
