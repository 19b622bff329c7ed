"""How many calls at once a provider takes: found out by asking.

As in TCP (Jacobson, Congestion avoidance and control, 1988): a rate limit
sets the threshold to two thirds of what ran. After the pause that follows,
calls start few and each answer adds one, up to the threshold; from there on
every round of answers adds one.
"""

_KEPT = 2 / 3
# The part of the threshold that calls start with after a pause.
_FIRST_SHARE = 1 / 8


class ConcurrencyLimit:
    """One model's limit. Not thread-safe."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self._found: float | None = None
        self._threshold = 0.0

    @property
    def value(self) -> int | None:
        """The limit as it is now; None if there is none."""
        limits = [self.most] if self.most is not None else []
        if self._found is not None:
            limits.append(int(self._found))
        return min(limits, default=None)

    @property
    def has_recovered(self) -> bool:
        """Whether as many calls run again as the threshold allows."""
        return self._found is None or self._found >= self._threshold

    def allows(self, running: int) -> bool:
        """Tell whether one more may run beside those that are running."""
        value = self.value
        return value is None or running < value

    def succeeded(self) -> None:
        """Note an answer: a little more may be tried."""
        if self._found is None:
            return
        if self._found < self._threshold:
            self._found = min(self._found + 1, self._threshold)
        else:
            self._found += 1 / self._found

    def rate_limited(self, running: int) -> None:
        """Note that the provider's limit was met with `running` calls."""
        self._threshold = self._found = max(running * _KEPT, 1.0)

    def restart(self) -> None:
        """Start with few calls again, after a pause."""
        if self._found is not None:
            self._found = max(self._threshold * _FIRST_SHARE, 1.0)
