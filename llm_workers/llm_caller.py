"""One call to a model: its settings, its key, its plug-in, its price."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from config import ModelKeys
from llm_sdks import errors
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
)
from llm_sdks.registry import SdkRegistry
from llm_workers.catalog import Catalog

log = structlog.get_logger(__name__)


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
        self._registry = registry
        self._keys = keys
        self._timeout = timeout_seconds
        self._timer = timer
        self._sdks: dict[str, BaseLLMSDK] = {}

    async def call(self, call: Call) -> Answer:
        """Make one call.

        Raises:
            LLMError: one of the family, whatever the plug-in raised.
            MissingModelKeyError: names the variable that should be set.
            NotFoundError: the model is gone.
        """
        model = await self._catalog.model(call.model)
        sdk = self._sdk(model.sdk)
        request = CompletionRequest(
            self._config(model, sdk),
            call.system,
            call.user,
            call.temperature,
            self._timeout,
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
        for sdk in self._sdks.values():
            await sdk.aclose()
        self._sdks.clear()

    async def _complete(
        self, sdk: BaseLLMSDK, request: CompletionRequest
    ) -> Completion:
        try:
            sdk.validate_config(request.config)
            async with asyncio.timeout(self._timeout):
                return await sdk.acomplete(request)
        except errors.LLMError:
            raise
        except TimeoutError:
            raise errors.CallTimeoutError(
                f"No answer within {self._timeout:g} s"
            ) from None
        except Exception as error:
            # Somebody else's code: whatever it raises ends this job only.
            log.exception("plugin_raised", sdk=sdk.get_name())
            raise errors.PluginError(
                f"The plug-in {sdk.get_name()!r} raised "
                f"{type(error).__name__}; the log has the details"
            ) from error

    def _sdk(self, name: str) -> BaseLLMSDK:
        if name not in self._sdks:
            self._sdks[name] = self._registry.create(name)
        return self._sdks[name]

    def _config(self, model: ModelWithKey, sdk: BaseLLMSDK) -> LLMConfig:
        key = self._keys.resolve(model.key) if sdk.needs_key else SecretStr("")
        return LLMConfig(
            name=model.name,
            endpoint=model.endpoint,
            api_type=model.api_type,
            api_version=model.api_version,
            deployment=model.deployment,
            service=model.service,
            api_key=key,
            max_token=model.max_token,
            max_completion_token=model.max_completion_token,
            min_temperature=model.min_temperature,
            max_temperature=model.max_temperature,
        )
