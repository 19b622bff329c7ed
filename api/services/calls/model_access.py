"""From a model's document to a plug-in that is ready to be called."""

import asyncio
from dataclasses import dataclass, replace
from typing import Self

import structlog
from pydantic import SecretStr

from api.models.model_models import ModelWithKey
from api.services.models.llm_config import llm_config
from config import MissingModelKeyError, ModelKeys
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    CompletionRequest,
    LLMConfig,
    in_daemon_thread,
)
from llm_sdks.conversation import Conversation
from llm_sdks.credentials.exchanged import is_exchanged
from llm_sdks.credentials.pool import CredentialPool, CredentialPools
from llm_sdks.credentials.tokens import HeldToken, Tokens
from llm_sdks.errors import LLMError, PluginError
from llm_sdks.registry import SdkRegistry
from llm_sdks.resilience.model_gate import ModelGate, ModelGates
from llm_sdks.resilience.policies import TimeoutPolicy
from utilities import payload
from utilities.log_summary import LogSummary

log = structlog.get_logger(__name__)

_NO_KEY = SecretStr("")
_MOST_OPENED = 1000


class TokenNeededError(Exception):
    """A credential has to be exchanged first: see `ModelAccess.ready`."""

    def __init__(self, sdk: BaseLLMSDK, secret: SecretStr) -> None:
        super().__init__("a token is needed")
        self.sdk = sdk
        self.secret = secret


@dataclass(slots=True)
class OpenModel:
    """A model with its plug-in and its checked settings."""

    sdk: BaseLLMSDK
    _config: LLMConfig
    _timeout: TimeoutPolicy
    # The plug-in has made ready for its calls.
    is_prepared: bool = False
    # The credential that was exchanged for its token, if it has one.
    credential: SecretStr | None = None

    @property
    def token(self) -> SecretStr:
        """The token, or the key."""
        return self._config.api_key

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
        tokens: Tokens | None = None,
    ) -> None:
        self.registry = registry
        self._keys = keys
        self._gates = gates
        self.timeout_seconds = timeout_seconds
        self._pools = pools or CredentialPools()
        self._tokens = tokens or Tokens()
        self._exchanges: dict[str, asyncio.Task[HeldToken]] = {}
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
            self._tokens,
        )

    def pool(self, model: ModelWithKey) -> CredentialPool | None:
        """Return the model's credentials, if it has several keys."""
        if not model.keys or not self._sdk(model.sdk).needs_key:
            return None
        return self._pools.of(model.model_id, model.keys)

    async def ready(
        self, model: ModelWithKey, key_reference: str | None = None
    ) -> OpenModel:
        """Do the same as `open`; exchange the credential if need be.

        Raises:
            LLMError: as `open`, or there is no token.
            MissingModelKeyError: as `open`.
        """
        try:
            return self.open(model, key_reference)
        except TokenNeededError as needed:
            secret = needed.secret
        token = await self._exchanged(secret)
        return self.open(model, key_reference, token)

    def renews(self, opened: OpenModel) -> bool:
        """Tell whether a refused call may be made again with a new token."""
        if opened.credential is None:
            return False
        return self._tokens.refused(opened.credential, opened.token)

    def open(
        self,
        model: ModelWithKey,
        key_reference: str | None = None,
        token: HeldToken | None = None,
    ) -> OpenModel:
        """Check a model's settings and make it ready for requests.

        With the key that is named, or the model's own.

        Raises:
            LLMError: the settings cannot work, or no such plug-in is here.
            MissingModelKeyError: names the variable that should be set.
            TokenNeededError: its credential has to be exchanged.
        """
        try:
            sdk = self._sdk(model.sdk)
            reference = key_reference or model.key
            key = self._keys.resolve(reference) if sdk.needs_key else _NO_KEY
            if is_exchanged(key):
                token = token or self._valid_token(sdk, key)
            # The jobs of one look at the database share the same model.
            which = model.model_id, key_reference
            shown = key if token is None else token.value
            last = self._opened.get(which)
            if last is not None and last.is_of(model, shown):
                return last.opened
            config = llm_config(model, key, token)
            sdk.validate_config(config)
        except (LLMError, MissingModelKeyError, TokenNeededError):
            raise
        except Exception as error:
            raise plugin_error(model.sdk, error) from error
        timeout = model.resilience.policy.timeout
        total = min(timeout.total, self.timeout_seconds)
        opened = OpenModel(sdk, config, replace(timeout, total=total))
        if token is not None:
            opened.credential = key
        if len(self._opened) >= _MOST_OPENED:
            self._opened.clear()
        self._opened[which] = _Opened(model, shown, opened)
        return opened

    def _valid_token(self, sdk: BaseLLMSDK, secret: SecretStr) -> HeldToken:
        token = self._tokens.valid(secret)
        if token is None:
            raise TokenNeededError(sdk, secret)
        return token

    async def _exchanged(self, secret: SecretStr) -> HeldToken:
        """Exchange beside the event loop: once for all who wait for it."""
        text = secret.get_secret_value()
        task = self._exchanges.get(text)
        if task is None or task.done():
            task = asyncio.ensure_future(
                in_daemon_thread(lambda: self._tokens.fresh(secret))
            )
            # Nobody may be left to hear of a failure.
            task.add_done_callback(lambda done: done.exception())
            self._exchanges[text] = task
        return await asyncio.shield(task)

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
