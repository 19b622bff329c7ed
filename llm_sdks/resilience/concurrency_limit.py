"""How many calls at once a provider bears: found out by asking.

Additive increase, multiplicative decrease, as in TCP (Chiu and Jain, 1989):
a rate limit takes a third of the concurrency, every round of calls without
one gives a place back.
"""

_KEPT = 2 / 3
# Of the many calls that meet one limit together, the first counts.
_DECREASE_EVERY_SECONDS = 1.0


class ConcurrencyLimit:
    """One model's limit. Not thread-safe; `now` is in seconds."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self._found: float | None = None
        self._last_decrease: float | None = None

    @property
    def value(self) -> int | None:
        """The limit as it is now; None if there is none."""
        limits = [self.most] if self.most is not None else []
        if self._found is not None:
            limits.append(int(self._found))
        return min(limits, default=None)

    def allows(self, running: int) -> bool:
        """Tell whether one more may run beside so many."""
        value = self.value
        return value is None or running < value

    def succeeded(self) -> None:
        """A call went through: a little more may be tried."""
        if self._found is not None:
            self._found += 1 / self._found

    def rate_limited(self, running: int, now: float) -> None:
        """A call met the provider's limit while so many were running."""
        last = self._last_decrease
        if last is not None and now - last < _DECREASE_EVERY_SECONDS:
            return
        self._last_decrease = now
        self._found = max(running * _KEPT, 1.0)
