"""The simulator's state: settings, script, limits, counts."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from provider_simulator.chance import Chance
from provider_simulator.counters import Counters
from provider_simulator.idempotency import IdempotencyCache
from provider_simulator.invoice import Invoice
from provider_simulator.limits import Clock, RateLimit, Slots
from provider_simulator.outages import Outages
from provider_simulator.script import Rule, Script
from provider_simulator.settings import SimulatorSettings
from provider_simulator.values import Reply

_ERRORS = 400

Sleep = Callable[[float], Awaitable[None]]


class Simulation:
    """Belongs to one event loop; `clock` gives seconds, `sleep` takes them."""

    def __init__(
        self,
        settings: SimulatorSettings,
        rules: Iterable[Rule] = (),
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.clock = clock
        self.sleep = sleep
        self.started = clock()
        self.script = Script(rules)
        self.counters = Counters()
        self.invoice = Invoice()
        self.outages = Outages(clock)
        self.rate = RateLimit(clock)
        self.slots = Slots()
        self.chance = Chance(settings)
        self.cache: IdempotencyCache[Reply] = IdempotencyCache(
            clock,
            settings.idempotency_entries,
            settings.idempotency_seconds,
            worth_keeping=lambda reply: reply.status < _ERRORS,
        )
        self.settings = settings
        self.configure(settings)

    def configure(self, settings: SimulatorSettings) -> None:
        """Behave differently from now on."""
        self.settings = settings
        self.rate.configure(settings)
        self.slots.configure(settings.concurrency_limit)
        self.chance.configure(settings)
        self.cache.configure(
            settings.idempotency_entries, settings.idempotency_seconds
        )
