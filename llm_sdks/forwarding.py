"""Requests of others that go to a provider as they are.

Who has a request in a provider's own format needs no translation: the
plug-in adds address and credential, and returns the bytes that come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llm_sdks.base_sdk import CompletionRequest


class Interface(StrEnum):
    """The vendors' interfaces, by the paths under their versions."""

    CHAT = "/chat/completions"
    RESPONSES = "/responses"
    EMBEDDINGS = "/embeddings"
    MESSAGES = "/messages"
    COUNT_TOKENS = "/messages/count_tokens"

    @property
    def counts_only(self) -> bool:
        """Whether it only counts, so that a call uses and costs nothing."""
        return self is Interface.COUNT_TOKENS


# What OpenAI's base URL has.
OPENAI_INTERFACES: Mapping[Interface, str] = {
    each: each.value
    for each in (Interface.CHAT, Interface.RESPONSES, Interface.EMBEDDINGS)
}


@dataclass(frozen=True, slots=True)
class ForwardRequest:
    """One request in a provider's own format.

    `base` has the model and the times that the call may take. The `body`
    is JSON that names the model as the provider does; `headers` are those
    of the interface itself, such as `anthropic-beta`.
    """

    base: CompletionRequest
    interface: Interface
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
