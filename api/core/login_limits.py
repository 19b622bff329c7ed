"""Failed logins: how many are answered 401 before the answer is 429.

Counted are wrong keys, of each address and of each client at an address.
Who has the right key is never kept out by the wrong keys of others:

- A client's key has 256 random bits and cannot be guessed. It is always
  compared, and the right one is always accepted.
- The administrator's key and the other secrets of the operator are chosen
  by people. Above the limit of an address, they are not compared any more,
  unless the address is known: the right one has come from it before.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from api.core.errors import TooManyFailedLoginsError
from utilities.sliding_window import SlidingWindow

# Addresses, and clients at addresses, that are remembered. About 200 bytes
# each; those that have not failed for longest are forgotten first.
MOST_REMEMBERED = 10_000
# A client at an address has this part of an address's limit: several
# clients may share an address.
CLIENTS_PART = 3
# What is sent as an id may be anything.
_LONGEST_ID = 64


@dataclass
class LoginLimits:
    """The failed logins of one process; any thread may use it.

    `per_minute` 0 means no limit.
    """

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    most: int = MOST_REMEMBERED
    _failures: OrderedDict[tuple[str, ...], SlidingWindow] = field(
        default_factory=OrderedDict
    )
    _of_clients: OrderedDict[tuple[str, ...], SlidingWindow] = field(
        default_factory=OrderedDict
    )
    _known: OrderedDict[tuple[str, str], None] = field(
        default_factory=OrderedDict
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self._failures) + len(self._of_clients) + len(self._known)

    def check(self, secret: str, address: str) -> None:
        """Let a secret of the operator be compared, or refuse to.

        `secret` is its name.

        Raises:
            TooManyFailedLoginsError: too many failed, and the address is
                not known.
        """
        if not self._failures or (secret, address) in self._known:
            return
        with self._lock:
            window = self._failures.get((address,))
            if window is not None:
                _check(window, self.clock(), self.per_minute)

    def succeeded(self, secret: str, address: str) -> None:
        """Note that the right secret of the operator came from there."""
        known = (secret, address)
        if known in self._known:
            return
        with self._lock:
            self._known[known] = None
            if len(self._known) > self.most:
                self._known.popitem(last=False)

    def failed(self, address: str, client_id: str | None = None) -> None:
        """Count a wrong key, sent for a client if there is a `client_id`.

        Those above the limit are not counted. Clients that do not exist
        have the same limit as others, so that it does not tell which do.

        Raises:
            TooManyFailedLoginsError: there were too many before.
        """
        if not self.per_minute:
            return
        now, limit = self.clock(), self.per_minute
        with self._lock:
            window = self._window(self._failures, (address,))
            _check(window, now, limit)
            if client_id is not None:
                at = (client_id[:_LONGEST_ID], address)
                of_client = self._window(self._of_clients, at)
                _check(of_client, now, math.ceil(limit / CLIENTS_PART))
                of_client.add(now)
            window.add(now)

    def _window(
        self,
        windows: OrderedDict[tuple[str, ...], SlidingWindow],
        key: tuple[str, ...],
    ) -> SlidingWindow:
        window = windows.get(key)
        if window is not None:
            windows.move_to_end(key)
            return window
        window = windows[key] = SlidingWindow()
        if len(windows) > self.most:
            windows.popitem(last=False)
        return window


def _check(window: SlidingWindow, now: float, limit: int) -> None:
    if not window.has_room(now, limit):
        seconds = window.seconds_until_room(now, limit)
        raise TooManyFailedLoginsError(max(1, math.ceil(seconds)))
