"""One call to a model: its settings, its key, its plug-in, its price."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.services.model_access import ModelAccess, plugin_error
from config import ModelKeys
from llm_sdks import errors
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
)
from llm_sdks.registry import SdkRegistry
from llm_workers.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Call:
    """What one step of a job asks a model."""

    model: str
    system: str
    user: str
    temperature: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what that cost."""

    completion: Completion
    metrics: Metrics
    model: ModelWithKey


class LLMCaller:
    """Makes calls for one worker; its plug-ins live in that worker's loop."""

    def __init__(
        self,
        catalog: Catalog,
        registry: SdkRegistry,
        keys: ModelKeys,
        *,
        timeout_seconds: float,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._catalog = catalog
        self._access = ModelAccess(registry, keys)
        self._timeout = timeout_seconds
        self._timer = timer

    async def call(self, call: Call) -> Answer:
        """Make one call.

        Raises:
            LLMError: one of the family, whatever the plug-in raised.
            MissingModelKeyError: names the variable that should be set.
            NotFoundError: the model is gone.
        """
        model = await self._catalog.model(call.model)
        sdk, config = self._access.open(model)
        request = CompletionRequest(
            config, call.system, call.user, call.temperature, self._timeout
        )
        started = self._timer()
        completion = await self._complete(sdk, request)
        metrics = Metrics.of_call(
            completion.usage.input_tokens,
            completion.usage.output_tokens,
            self._timer() - started,
            model.cost,
        )
        return Answer(completion, metrics, model)

    async def close(self) -> None:
        """Close the plug-ins' connections."""
        await self._access.close()

    async def _complete(
        self, sdk: BaseLLMSDK, request: CompletionRequest
    ) -> Completion:
        try:
            async with asyncio.timeout(self._timeout):
                return _checked(await sdk.acomplete(request))
        except errors.LLMError:
            raise
        except TimeoutError:
            raise errors.CallTimeoutError(
                f"No answer within {self._timeout:g} s"
            ) from None
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            raise plugin_error(sdk.get_name(), error) from error
        except (Exception, SystemExit) as error:
            # Somebody else's code: whatever it raises ends this job only.
            raise plugin_error(sdk.get_name(), error) from error


def _is_being_cancelled() -> bool:
    # Told from a plug-in that cancels itself.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _checked(completion: Any) -> Completion:  # noqa: ANN401 - a plug-in's
    """Make sure that a plug-in returned what it should."""
    if isinstance(completion, Completion):
        kept: Any = completion
        counts = (
            getattr(kept.usage, "input_tokens", None),
            getattr(kept.usage, "output_tokens", None),
        )
        if isinstance(kept.text, str) and all(
            isinstance(count, int) for count in counts
        ):
            return completion
    raise TypeError("complete() must return a Completion")
