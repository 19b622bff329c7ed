"""Wake-up calls between the parts of one process.

A signal carries no data and no promise: who misses one finds the work by
polling. It only saves the wait until the next poll.
"""

import threading
from collections import defaultdict
from collections.abc import Callable

Listener = Callable[[], None]

WORKERS_CHANGED = "workers"
RUNS_CHANGED = "runs"
EVALUATIONS_CHANGED = "evaluations"
JOBS_ENDED = "ended"


def jobs_waiting(client_id: str) -> str:
    """Name the topic on which a client's new jobs are announced."""
    return f"jobs:{client_id}"


def run_changed(run_id: str) -> str:
    """Name the topic on which the ends of a run's jobs are announced."""
    return f"run:{run_id}"


class Signals:
    """Thread-safe publish and subscribe; listeners must not block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, list[Listener]] = defaultdict(list)

    def subscribe(self, topic: str, listener: Listener) -> None:
        """Have `listener` called, on the publisher's thread."""
        with self._lock:
            self._listeners[topic].append(listener)

    def unsubscribe(self, topic: str, listener: Listener) -> None:
        """Stop the calls; unknown listeners are ignored."""
        with self._lock:
            if listener in self._listeners[topic]:
                self._listeners[topic].remove(listener)
            if not self._listeners[topic]:
                del self._listeners[topic]

    def publish(self, topic: str) -> None:
        """Call every listener of the topic once."""
        with self._lock:
            listeners = list(self._listeners.get(topic, ()))
        for listener in listeners:
            listener()

    def publish_all(self) -> None:
        """Call everybody: something may have been missed."""
        with self._lock:
            topics = list(self._listeners)
        for topic in topics:
            self.publish(topic)
