"""Decide whether a call to a model may be made now: the only place.

A call passes one stage after another: is the account open, is there money,
is there a free place in the rate limits. Each stage is one concern in a
module of its own. What is not admitted is no failure: no call was made, and
its job waits in the queue.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Protocol

from api.services.calls.model_call import CallProgress, ModelCall
from llm_sdks.errors import ModelUnavailableError


class WaitKind(StrEnum):
    """Why a call is not admitted."""

    SUSPENDED = "suspended"
    BUDGET = "budget"
    LIMIT = "limit"


class NotAdmittedError(ModelUnavailableError):
    """No call was made; it may be tried again in `retry_after` seconds.

    `holds_claims` says that no worker claims the model's jobs meanwhile:
    they wait in the queue, and may be due at once.
    """

    def __init__(
        self,
        wait_kind: WaitKind,
        message: str,
        retry_after: float,
        *,
        holds_claims: bool = False,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.wait_kind = wait_kind
        self.holds_claims = holds_claims


class AdmittedCall(Protocol):
    """What one stage has granted to one call."""

    def ended(
        self, progress: CallProgress, error: BaseException | None
    ) -> None:
        """Take note of how the call ended; returns at once.

        `error` is what ended the call, if it failed or was cancelled.
        `progress` holds what the provider has counted by then.
        """


class AdmissionStage(Protocol):
    """One reason to let a call wait; safe to use from any thread."""

    async def admit(self, call: ModelCall) -> AdmittedCall:
        """Grant the call what it needs of this stage.

        Raises:
            NotAdmittedError: it must wait; nothing is granted.
        """


class Admission:
    """All stages, in order. A call that one refuses leaves those before."""

    def __init__(self, stages: Sequence[AdmissionStage] = ()) -> None:
        self._stages = tuple(stages)

    @asynccontextmanager
    async def passing(
        self, call: ModelCall, progress: CallProgress
    ) -> AsyncIterator[None]:
        """Let what is inside make one call, and learn from how it ends.

        Raises:
            NotAdmittedError: a stage lets the call wait.
        """
        admitted: list[AdmittedCall] = []
        failed: BaseException | None = None
        try:
            for stage in self._stages:
                admitted.append(await stage.admit(call))  # noqa: PERF401 - those before one that refuses are kept
            yield
        except BaseException as error:
            failed = error
            raise
        finally:
            for each in reversed(admitted):
                each.ended(progress, failed)
