"""Places that bulk calls leave free for the next interactive ones.

A call that finds all places taken waits for another one to end, however
urgent it is. So as many places are kept free as interactive calls needed at
once in the last minute or two, at most half of all. Who has no interactive
calls gives nothing away.
"""

# A peak is remembered for one to two of these times, in seconds.
WINDOW_SECONDS = 60.0


class Headroom:
    """The most interactive calls at once lately. Not thread-safe."""

    def __init__(self, window: float = WINDOW_SECONDS) -> None:
        self._window = window
        self._since = float("-inf")
        self._peak = self._before = 0

    def note(self, count: int, now: float) -> None:
        """Note how many interactive calls run and wait; `now` in seconds."""
        self._turn(now)
        self._peak = max(self._peak, count)

    def peak(self, now: float) -> int:
        """Return the most that were noted lately."""
        if not (self._peak or self._before):
            return 0
        self._turn(now)
        return max(self._peak, self._before)

    def kept(self, places: int, count: int, now: float) -> int:
        """Return how many of a number of places bulk calls leave free.

        `count` interactive calls have places already.
        """
        return max(min(self.peak(now), places // 2) - count, 0)

    def _turn(self, now: float) -> None:
        passed = now - self._since
        if passed < self._window:
            return
        self._before = self._peak if passed < 2 * self._window else 0
        self._peak, self._since = 0, now
