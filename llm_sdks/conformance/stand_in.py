"""What a plug-in's author supplies: a provider with set behaviour."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from llm_sdks.base_sdk import BaseLLMSDK, LLMConfig, Usage

TEXT = "Yes, so it is: é 😀"
USAGE = Usage(20, 9)


class NotSupportedError(Exception):
    """The stand-in cannot behave so: the check does not apply."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers, whole or as a stream, whichever is asked for."""

    text: str = TEXT
    usage: Usage = USAGE


@dataclass(frozen=True, slots=True)
class Truncates(Answers):
    """Answers, and reports that the token limit cut the answer."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Withholds the answer, and reports that."""


@dataclass(frozen=True, slots=True)
class Fails:
    """Answers with an error of this HTTP status, in the provider's form."""

    status: int
    message: str = "so it is"
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class FailsMidway:
    """Begins a stream, then sends an error in it."""


@dataclass(frozen=True, slots=True)
class RefusesTemperature(Answers):
    """Refuses the first call for its temperature, then answers."""


@dataclass(frozen=True, slots=True)
class Hangs:
    """Takes the call and never answers."""


@dataclass(frozen=True, slots=True)
class BreaksOff:
    """Closes the connection in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class TalksNonsense:
    """Answers with status 200 and what is no JSON."""


@dataclass(frozen=True, slots=True)
class CallsTool:
    """Calls a tool, whole or as a stream; `arguments` are its JSON."""

    name: str = "weather"
    arguments: str = '{"city":"Rome"}'


@dataclass(frozen=True, slots=True)
class Embeds:
    """Gives a vector for each text."""


Behaviour = (
    Answers
    | CallsTool
    | Embeds
    | Truncates
    | Filters
    | Fails
    | FailsMidway
    | RefusesTemperature
    | Hangs
    | BreaksOff
    | TalksNonsense
)


class StandIn(ABC):
    """A provider under the author's control, on a real socket."""

    @abstractmethod
    def sdk(self) -> BaseLLMSDK:
        """Return a new instance of the plug-in."""

    @abstractmethod
    def config(self) -> LLMConfig:
        """Return settings that reach the stand-in; with a key of 16+."""

    @abstractmethod
    def behave(self, behaviour: Behaviour) -> None:
        """Behave so from now on, and count calls from zero.

        Raises:
            NotSupportedError: it cannot.
        """

    @abstractmethod
    def calls(self) -> int:
        """Return how many calls came since its behaviour was set."""

    @abstractmethod
    def open_calls(self) -> int:
        """Return how many calls wait for an answer now."""
