"""Tokens of exchanged credentials, kept for their life.

Shared by the threads of a process. Of one credential, one exchange runs at a
time: whoever comes meanwhile takes the token that is still valid, or waits.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import SecretStr

from llm_sdks import errors
from llm_sdks.credentials.exchanged import ExchangedCredential, read_credential

# So long before its end, a token is renewed; of a short one, a half of its
# life before.
RENEW_SECONDS = 300.0
_SHORT_PART = 0.5
# After a failure, no exchange for so long, doubled with each one in a row.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# A token that a provider refuses is renewed, but not more often than this.
_REFUSAL_SECONDS = 60.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A token while it is valid; times by the clock (s)."""

    value: SecretStr
    renew_at: float
    ends_at: float
    since: float
    agent: str | None = None


@dataclass(slots=True)
class _Entry:
    credential: ExchangedCredential
    exchanging: threading.Lock = field(default_factory=threading.Lock)
    held: HeldToken | None = None
    failure: errors.LLMError | None = None
    failures: int = 0
    pause_until: float = 0.0


class Tokens:
    """The tokens of a process, by credential."""

    def __init__(
        self,
        clock: Clock = time.monotonic,
        read: Callable[[SecretStr], ExchangedCredential] = read_credential,
    ) -> None:
        self._clock = clock
        self._read = read
        self._lock = threading.Lock()
        self._entries: dict[bytes, _Entry] = {}

    def valid(self, secret: SecretStr) -> HeldToken | None:
        """Return the token if nothing has to be done for it.

        One that another thread renews is taken as long as it is valid.
        """
        entry = self._entry(secret)
        held, now = entry.held, self._clock()
        if held is None or now >= held.ends_at:
            return None
        is_due = now >= held.renew_at and now >= entry.pause_until
        return None if is_due and not entry.exchanging.locked() else held

    def fresh(self, secret: SecretStr) -> HeldToken:
        """Return a token, exchanged now if need be; may block for 30 s.

        While another thread renews a token that is still valid, that one is
        returned.

        Raises:
            LLMError: there is none; the failure of the last exchange, while
                the next one has to wait.
        """
        entry = self._entry(secret)
        held, now = entry.held, self._clock()
        is_valid = held is not None and now < held.ends_at
        if not entry.exchanging.acquire(blocking=not is_valid):
            assert held is not None  # noqa: S101 - it is valid
            return held
        try:
            # Another thread may have done it meanwhile.
            held = entry.held
            if held is not None and self._clock() < held.renew_at:
                return held
            return self._exchanged(entry)
        finally:
            entry.exchanging.release()

    def refused(self, secret: SecretStr, token: SecretStr) -> bool:
        """Note that a provider refuses a token; tell if it is renewed.

        One that is new is kept: its renewal would change nothing.
        """
        entry = self._entry(secret)
        with self._lock:
            held = entry.held
            if held is None or held.value != token:
                # There is another one by now.
                return True
            if self._clock() - held.since < _REFUSAL_SECONDS:
                return False
            entry.held = None
            return True

    def _entry(self, secret: SecretStr) -> _Entry:
        # No secret is kept as a key of a dictionary.
        text = secret.get_secret_value().encode()
        key = hashlib.sha256(text).digest()
        entry = self._entries.get(key)
        if entry is None:
            credential = self._read(secret)
            with self._lock:
                entry = self._entries.setdefault(key, _Entry(credential))
        return entry

    def _exchanged(self, entry: _Entry) -> HeldToken:
        started = self._clock()
        held = entry.held
        is_valid = held is not None and started < held.ends_at
        if started < entry.pause_until and entry.failure is not None:
            if is_valid:
                assert held is not None  # noqa: S101 - as it says
                return held
            raise _again(entry.failure, entry.pause_until - started)
        try:
            token = entry.credential.exchange()
        except errors.LLMError as error:
            self._note(entry, error)
            if is_valid:
                assert held is not None  # noqa: S101 - as above
                return held
            raise
        ends = started + token.seconds
        margin = min(RENEW_SECONDS, token.seconds * _SHORT_PART)
        entry.failure, entry.failures = None, 0
        entry.held = HeldToken(
            SecretStr(token.value),
            ends - margin,
            ends,
            self._clock(),
            entry.credential.agent,
        )
        return entry.held

    def _note(self, entry: _Entry, error: errors.LLMError) -> None:
        pause = min(_FIRST_PAUSE * 2.0**entry.failures, _LONGEST_PAUSE)
        # Its traceback would keep the secret.
        entry.failure = error.with_traceback(None)
        entry.failures = min(entry.failures + 1, 10)
        entry.pause_until = self._clock() + pause


def _again(error: errors.LLMError, seconds: float) -> errors.LLMError:
    return type(error)(
        str(error), http_status=error.http_status, retry_after=seconds
    )
