"""From a model's document to a plug-in that is ready to be called."""

from dataclasses import dataclass, replace
from typing import Self

import structlog
from pydantic import SecretStr

from api.models.model_models import ModelWithKey
from api.services.models.llm_config import llm_config
from config import MissingModelKeyError, ModelKeys
from llm_sdks.base_sdk import BaseLLMSDK, CompletionRequest, LLMConfig
from llm_sdks.conversation import Conversation
from llm_sdks.credentials.pool import CredentialPool, CredentialPools
from llm_sdks.errors import LLMError, PluginError
from llm_sdks.registry import SdkRegistry
from llm_sdks.resilience.model_gate import ModelGate, ModelGates
from llm_sdks.resilience.policies import TimeoutPolicy
from utilities import payload
from utilities.log_summary import LogSummary

log = structlog.get_logger(__name__)

_NO_KEY = SecretStr("")
_MOST_OPENED = 1000


@dataclass(slots=True)
class OpenModel:
    """A model with its plug-in and its checked settings."""

    sdk: BaseLLMSDK
    _config: LLMConfig
    _timeout: TimeoutPolicy
    # The plug-in has made ready for its calls.
    is_prepared: bool = False

    def request(
        self,
        system: str,
        user: str,
        temperature: float,
        *,
        response_schema: str | None = None,
        idempotency_key: str | None = None,
    ) -> CompletionRequest:
        """Make a request to it; a schema comes as JSON."""
        schema = payload.load(response_schema) if response_schema else None
        return CompletionRequest(
            self._config,
            system,
            user,
            temperature,
            timeout=self._timeout.total,
            connect_timeout=self._timeout.connect,
            read_timeout=self._timeout.read,
            response_schema=schema,
            idempotency_key=idempotency_key,
        )

    def conversation(
        self, asked: Conversation, idempotency_key: str | None
    ) -> CompletionRequest:
        """Make a request to it of a whole conversation."""
        return CompletionRequest(
            self._config,
            timeout=self._timeout.total,
            connect_timeout=self._timeout.connect,
            read_timeout=self._timeout.read,
            idempotency_key=idempotency_key,
            conversation=asked,
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    _model: ModelWithKey
    _key: SecretStr
    opened: OpenModel

    def is_of(self, model: ModelWithKey, key: SecretStr) -> bool:
        return self._model is model and self._key == key


class ModelAccess:
    """The plug-ins of one event loop, made when first needed.

    No call may take longer than `timeout_seconds`, whatever its model says.
    """

    def __init__(
        self,
        registry: SdkRegistry,
        keys: ModelKeys,
        gates: ModelGates,
        timeout_seconds: float,
        pools: CredentialPools | None = None,
    ) -> None:
        self.registry = registry
        self._keys = keys
        self._gates = gates
        self.timeout_seconds = timeout_seconds
        self._pools = pools or CredentialPools()
        self._sdks: dict[str, BaseLLMSDK] = {}
        self._opened: dict[tuple[str, str | None], _Opened] = {}

    def anew(self) -> Self:
        """Return the same for another event loop."""
        return type(self)(
            self.registry,
            self._keys,
            self._gates,
            self.timeout_seconds,
            self._pools,
        )

    def pool(self, model: ModelWithKey) -> CredentialPool | None:
        """Return the model's credentials, if it has several keys."""
        if not model.keys or not self._sdk(model.sdk).needs_key:
            return None
        return self._pools.of(model.model_id, model.keys)

    def open(
        self, model: ModelWithKey, key_reference: str | None = None
    ) -> OpenModel:
        """Check a model's settings and make it ready for requests.

        With the key that is named, or the model's own.

        Raises:
            LLMError: the settings cannot work, or no such plug-in is here.
            MissingModelKeyError: names the variable that should be set.
        """
        try:
            sdk = self._sdk(model.sdk)
            reference = key_reference or model.key
            key = self._keys.resolve(reference) if sdk.needs_key else _NO_KEY
            # The jobs of one look at the database share the same model.
            which = model.model_id, key_reference
            last = self._opened.get(which)
            if last is not None and last.is_of(model, key):
                return last.opened
            config = llm_config(model, key)
            sdk.validate_config(config)
        except (LLMError, MissingModelKeyError):
            raise
        except Exception as error:
            raise plugin_error(model.sdk, error) from error
        timeout = model.resilience.policy.timeout
        total = min(timeout.total, self.timeout_seconds)
        opened = OpenModel(sdk, config, replace(timeout, total=total))
        if len(self._opened) >= _MOST_OPENED:
            self._opened.clear()
        self._opened[which] = _Opened(model, key, opened)
        return opened

    def gate(self, model: ModelWithKey) -> ModelGate:
        """Return what the model's calls must pass, in this whole process."""
        return self._gates.of(
            model.model_id,
            frozenset({model.model_id, model.name}),
            model.resilience.policy,
        )

    async def close(self) -> None:
        """Close the plug-ins' connections."""
        for sdk in self._sdks.values():
            await sdk.aclose()
        self._sdks.clear()
        self._opened.clear()

    def _sdk(self, name: str) -> BaseLLMSDK:
        if name not in self._sdks:
            self._sdks[name] = self.registry.create(name)
        return self._sdks[name]


# For the whole process: a broken plug-in must not fill the log.
_RAISED = LogSummary()


def plugin_error(name: str, error: BaseException) -> PluginError:
    """Log what a plug-in's code raised; turn it into an error of ours.

    The details go to the log only: they may contain secrets.
    """
    _RAISED.tell(
        (name, type(error)),
        lambda count: log.error(
            "plugin_raised", sdk=name, exc_info=error, count=count
        ),
    )
    return PluginError(
        f"The plug-in {name!r} raised {type(error).__name__}; the log has "
        "the details"
    )
