"""Wakes the supervisor when a client without a free thread has new jobs."""

from collections.abc import Callable, Collection

from utilities.signals import Signals, jobs_waiting


class WaitingClients:
    """Listens to the clients some of whose workers wait for a thread."""

    def __init__(self, signals: Signals, wake: Callable[[], None]) -> None:
        self._signals = signals
        self._wake = wake
        self._topics: set[str] = set()

    def listen_to(self, client_ids: Collection[str]) -> None:
        """Listen to these, and to no others."""
        topics = {jobs_waiting(client_id) for client_id in client_ids}
        for topic in topics - self._topics:
            self._signals.subscribe(topic, self._wake)
        for topic in self._topics - topics:
            self._signals.unsubscribe(topic, self._wake)
        self._topics = topics
