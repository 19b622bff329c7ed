"""The first stage of admission: is the model's account open?"""

from dataclasses import dataclass

from api.models.model_models import Model
from api.services.calls.model_call import CallProgress, ModelCall
from api.services.limits.admission import (
    AdmittedCall,
    NotAdmittedError,
    WaitKind,
)
from api.services.limits.model_states import ModelState
from api.services.limits.suspension import (
    ModelSuspendedError,
    reason_of,
    remedy_of,
)
from api.services.limits.suspensions import Suspensions, Trial
from llm_sdks import errors

# What tells nothing about the account.
_TELLS_NOTHING = (
    errors.RateLimitedError,
    errors.OverloadedError,
    errors.CannotConnectError,
    errors.CallTimeoutError,
    errors.ProviderError,
    errors.PluginError,
    errors.NotAuthorizedError,
    errors.ConfigurationError,
)


@dataclass(frozen=True, slots=True)
class _Ordinary:
    """A call to a model that is not suspended."""

    suspensions: Suspensions
    model: Model
    epoch: int

    def ended(
        self,
        progress: CallProgress,  # noqa: ARG002 - the interface
        error: BaseException | None,
    ) -> None:
        if isinstance(error, errors.LLMError) and reason_of(error):
            self.suspensions.suspend(self.model, error, self.epoch)


@dataclass(frozen=True, slots=True)
class _TrialCall:
    """The call that finds out whether the account is open again."""

    suspensions: Suspensions
    trial: Trial

    def ended(
        self,
        progress: CallProgress,  # noqa: ARG002 - the interface
        error: BaseException | None,
    ) -> None:
        suspensions, trial = self.suspensions, self.trial
        if error is None:
            suspensions.resume(trial.state)
        elif isinstance(error, errors.ModelUnavailableError):
            suspensions.trial_not_made(trial, error.retry_after or 0.0)
        elif not isinstance(error, errors.LLMError):
            suspensions.trial_not_made(trial)
        elif reason_of(error) or isinstance(error, _TELLS_NOTHING):
            suspensions.trial_failed(trial, error)
        else:
            suspensions.resume(trial.state)


class SuspensionStage:
    """Lets calls to suspended models wait, but for one trial call."""

    def __init__(self, suspensions: Suspensions) -> None:
        self._suspensions = suspensions

    async def admit(self, call: ModelCall) -> AdmittedCall:
        """Admit a call to an open account, or the trial call.

        Raises:
            NotAdmittedError: the model is suspended, and its jobs wait.
            ModelSuspendedError: the model is suspended; its jobs fail.
        """
        suspensions, model = self._suspensions, call.model
        model_id = model.model_id
        state = suspensions.of(model_id)
        if state is None:
            return _Ordinary(suspensions, model, suspensions.epoch(model_id))
        if suspensions.is_due(state):
            trial = await suspensions.take_trial(state)
            if trial is not None:
                return _TrialCall(suspensions, trial)
        raise self._refused(state)

    def _refused(self, state: ModelState) -> errors.LLMError:
        said = f"Model {state.name} is suspended: {state.message}"
        if not state.is_waited_for:
            remedy = remedy_of(state.reason)
            return ModelSuspendedError(
                f"{said}. {remedy}; `POST /models/{state.model_id}/resume` "
                "then tries the model at once."
            )
        wait = max(self._suspensions.seconds_left(state), 1.0)
        return NotAdmittedError(
            WaitKind.SUSPENDED, said, wait, holds_claims=True
        )
