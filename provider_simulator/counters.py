"""What the simulator has seen and done."""

from collections import Counter
from typing import Any

_MOST_KEYS = 1000


class Counters:
    """Counts since the start, or since they were reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew; calls that are open stay open."""
        self.open = getattr(self, "open", 0)
        self.most_open = self.open
        self.requests = 0
        self.duplicates = 0
        self.disconnected = 0
        self.answers: Counter[str] = Counter()
        self.endpoints: Counter[str] = Counter()
        self.duplicated_keys: Counter[str] = Counter()

    def begin(self, endpoint: str) -> None:
        """Count a call that came."""
        self.requests += 1
        self.endpoints[endpoint] += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)

    def end(self) -> None:
        """Count a call that is over."""
        self.open -= 1

    def duplicate(self, key: str) -> None:
        """Count a call whose key was known."""
        self.duplicates += 1
        known = key in self.duplicated_keys
        if known or len(self.duplicated_keys) < _MOST_KEYS:
            self.duplicated_keys[key] += 1

    def report(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "requests": self.requests,
            "open": self.open,
            "open_max": self.most_open,
            "duplicates": self.duplicates,
            "duplicated_keys": dict(self.duplicated_keys),
            "disconnected": self.disconnected,
            "answers": dict(self.answers),
            "endpoints": dict(self.endpoints),
        }
