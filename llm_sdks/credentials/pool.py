"""The credentials of a model: whose turn it is, and which are out.

Those that work take turns. One that fails is out for some time, by the cause,
and then has its turn again; if all are out, the one that comes back first is
tried. Shared by the threads of a process.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from llm_sdks import errors

# A refused credential is tried again once a minute.
_REFUSED_SECONDS = 60.0
_LIMITED_SECONDS = 1.0
_FAILED_SECONDS, _MOST_FAILED_SECONDS = 1.0, 30.0
# No provider is believed that asks for more than a day.
_MOST_SECONDS = 86_400.0
# What the provider does to one credential: another one may be taken at once.
_OF_THE_CREDENTIAL = (errors.NotAuthorizedError, errors.RateLimitedError)
_OF_THE_PROVIDER = (
    errors.ProviderError,
    errors.OverloadedError,
    errors.CallTimeoutError,
    errors.CannotConnectError,
)


def is_of_credential(error: BaseException) -> bool:
    """Tell whether the same call may succeed with another credential."""
    return isinstance(error, _OF_THE_CREDENTIAL)


@dataclass(slots=True)
class _Credential:
    out_until: float = 0.0
    # Failures of the provider in a row.
    failures: int = 0


class CredentialPool:
    """The credentials of one model, by their names."""

    def __init__(
        self,
        names: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the names, at least one; `clock` gives seconds."""
        self.names = tuple(names)
        self._clock = clock
        self._lock = threading.Lock()
        self._states = {name: _Credential() for name in names}
        self._next = 0

    def first(self) -> str:
        """Return the credential whose turn it is.

        If all are out, the one that comes back first.
        """
        with self._lock:
            found = self._pick(())
            if found is not None:
                return found
            return min(
                self.names, key=lambda each: self._states[each].out_until
            )

    def following(self, tried: Collection[str]) -> str | None:
        """Return one that is not out, beside the tried ones; or None."""
        with self._lock:
            return self._pick(tried)

    def _pick(self, tried: Collection[str]) -> str | None:
        now, count = self._clock(), len(self.names)
        for step in range(count):
            place = (self._next + step) % count
            name = self.names[place]
            if name not in tried and self._states[name].out_until <= now:
                self._next = (place + 1) % count
                return name
        return None

    def answered(self, name: str) -> None:
        """Note that a call with a credential was answered."""
        with self._lock:
            state = self._states[name]
            state.failures, state.out_until = 0, 0.0

    def failed(self, name: str, error: BaseException) -> float:
        """Take a credential out, by the cause; return for how long (s)."""
        with self._lock:
            state = self._states[name]
            seconds = _seconds_out(error, state.failures)
            state.failures += isinstance(error, _OF_THE_PROVIDER)
            until = self._clock() + seconds
            state.out_until = max(state.out_until, until)
            return seconds

    def out(self) -> dict[str, float]:
        """Return which credentials are out, and for how long (s)."""
        with self._lock:
            now = self._clock()
            return {
                name: state.out_until - now
                for name, state in self._states.items()
                if state.out_until > now
            }


def _seconds_out(error: BaseException, failures: int) -> float:
    asked: float | None = getattr(error, "retry_after", None)
    if isinstance(error, errors.AccountExhaustedError):
        return min(max(asked or 0.0, _REFUSED_SECONDS), _MOST_SECONDS)
    if isinstance(error, errors.RateLimitedError):
        return min(max(asked or 0.0, _LIMITED_SECONDS), _MOST_SECONDS)
    if isinstance(error, errors.NotAuthorizedError):
        return _REFUSED_SECONDS
    if isinstance(error, _OF_THE_PROVIDER):
        doubled: float = _FAILED_SECONDS * 2 ** min(failures, 10)
        return min(doubled, _MOST_FAILED_SECONDS)
    return 0.0


class CredentialPools:
    """The pools of a process, by model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[str, CredentialPool] = {}

    def of(self, model_id: str, names: Sequence[str]) -> CredentialPool:
        """Return a model's pool: a new one if its credentials changed."""
        pool = self._pools.get(model_id)
        if pool is not None and pool.names == tuple(names):
            return pool
        with self._lock:
            pool = self._pools.get(model_id)
            if pool is None or pool.names != tuple(names):
                pool = self._pools[model_id] = CredentialPool(names)
            return pool
