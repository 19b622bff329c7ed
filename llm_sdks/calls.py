"""What a plug-in is asked, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from llm_sdks.answers import Logprobs
from llm_sdks.conversation import Conversation, ResponseFormat, ToolCall
from llm_sdks.errors import ConfigurationError
from llm_sdks.profiles.profile import Profile
from llm_sdks.usage import Usage


@dataclass(frozen=True, slots=True)
class LLMConfig:
    """How to reach one model. The key does not show in its `repr`.

    `is_bearer` says that the key is a token of an exchanged credential,
    `agent` is the User-Agent of its requests, if it has one. `profile` is
    what its owner says that it supports. `model_id` and
    `revision` name the model's document and its state, empty where there is
    none; they are no settings.
    """

    name: str
    endpoint: str = ""
    api_type: str = ""
    api_version: str = ""
    deployment: str = ""
    service: str | None = None
    api_key: SecretStr = field(default_factory=lambda: SecretStr(""))
    max_token: int | None = None
    max_completion_token: int | None = None
    min_temperature: float = 0.0
    max_temperature: float = 2.0
    profile: Profile | None = None
    is_bearer: bool = False
    agent: str | None = None
    model_id: str = field(default="", compare=False)
    revision: str = field(default="", compare=False)

    @property
    def provider_model(self) -> str:
        """What the provider calls this model."""
        return self.deployment or self.name

    def clamp(self, temperature: float) -> float:
        """Bring a temperature into the model's range."""
        return min(
            max(temperature, self.min_temperature), self.max_temperature
        )


@dataclass(frozen=True, slots=True, init=False)
class CompletionRequest:
    """One call: a model, a conversation and how long it may take.

    All times are in seconds: `timeout` is for the whole call,
    `connect_timeout` until there is a connection, `read_timeout` between
    two pieces of the answer. Two calls with the same `idempotency_key` are
    one to providers that know such keys.

    Most calls are a system text, one user message and a temperature. Such a
    call is made with `system`, `user`, `temperature` and `response_schema`
    (a JSON Schema of the answer) in place of a `conversation`, and a plug-in
    that knows no more than that reads the properties of these names. With
    both, they change the conversation.
    """

    config: LLMConfig
    conversation: Conversation
    timeout: float
    connect_timeout: float
    read_timeout: float
    idempotency_key: str | None

    def __init__(  # noqa: PLR0917 - the order that plug-ins rely on
        self,
        config: LLMConfig,
        system: str | None = None,
        user: str | None = None,
        temperature: float | None = None,
        timeout: float = 900.0,
        connect_timeout: float = 5.0,
        read_timeout: float = 600.0,
        response_schema: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        *,
        conversation: Conversation | None = None,
    ) -> None:
        if conversation is None:
            conversation = Conversation.simple(
                system or "", user or "", temperature, response_schema
            )
        else:
            conversation = _changed(
                conversation, system, user, temperature, response_schema
            )
        put = object.__setattr__
        put(self, "config", config)
        put(self, "conversation", conversation)
        put(self, "timeout", timeout)
        put(self, "connect_timeout", connect_timeout)
        put(self, "read_timeout", read_timeout)
        put(self, "idempotency_key", idempotency_key)

    @property
    def system(self) -> str:
        """The system text; empty if there is none."""
        return self.conversation.system

    @property
    def user(self) -> str:
        """The text of the one user message.

        Raises:
            ConfigurationError: the conversation is more than that, which a
                plug-in that asks for this text cannot send.
        """
        if not self.conversation.is_simple:
            error = ConfigurationError(
                "The provider's plug-in takes a system text and one user "
                "message only: no further messages, images or tools"
            )
            error.param = "messages"
            raise error
        return self.conversation.turns[0].text

    @property
    def temperature(self) -> float:
        """The wanted temperature; 1, the providers' own, if none is."""
        wanted = self.conversation.sampling.temperature
        return 1.0 if wanted is None else wanted

    @property
    def response_schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema that the answer should follow, if any."""
        return self.conversation.response_format.schema


def _changed(
    conversation: Conversation,
    system: str | None,
    user: str | None,
    temperature: float | None,
    response_schema: Mapping[str, Any] | None,
) -> Conversation:
    if system is not None:
        conversation = conversation.with_system(system)
    if user is not None:
        conversation = conversation.with_user(user)
    if temperature is not None:
        sampling = replace(conversation.sampling, temperature=temperature)
        conversation = replace(conversation, sampling=sampling)
    if response_schema is not None:
        form = ResponseFormat.of(response_schema)
        conversation = replace(conversation, response_format=form)
    return conversation


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer.

    `tool_calls` and `logprobs` are those of a conversation's answer.
    """

    text: str
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    request_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: Logprobs | None = None


# A stream yields pieces of text, and usage as soon as the provider tells it,
# so that a caller that stops early has it. A later `Usage` replaces an
# earlier one. If there is usage at all, the last item is one.
StreamItem = str | Usage


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """One call for embeddings: a model, and the texts to embed.

    `dimensions` asks for shorter vectors than the model's own. The times
    are those of `CompletionRequest`, in seconds.
    """

    config: LLMConfig
    texts: tuple[str, ...]
    dimensions: int | None = None
    timeout: float = 900.0
    connect_timeout: float = 5.0
    read_timeout: float = 600.0
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each text, in the texts' order; all of one length."""

    vectors: tuple[Sequence[float], ...]
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    request_id: str | None = None
