"""What the rules of models need to know of others."""

from collections.abc import Collection
from typing import Protocol

from llm_sdks.base_sdk import LLMConfig


class Sdks(Protocol):
    """Knows which plug-ins are registered, and what they need."""

    def names(self) -> list[str]:
        """Return their names."""

    def needs_key(self, name: str) -> bool:
        """Tell whether models of a plug-in must have a key."""

    def check(self, name: str, config: LLMConfig) -> None:
        """Let a plug-in check a model's settings.

        Raises:
            ConfigurationError: says what is missing or wrong.
        """


class Routes(Protocol):
    """Knows the routes, whose names are not for models."""

    async def check_free(self, name: str) -> None:
        """Make sure that no route has a name.

        Raises:
            ConflictError: one has it.
        """

    async def check_unused(self, model_id: str) -> None:
        """Make sure that no route leads to a model.

        Raises:
            ConflictError: names one that does.
        """

    async def among(self, references: Collection[str]) -> set[str]:
        """Return those that are names or ids of routes."""


class NoRoutes:
    """Where there are none."""

    async def check_free(self, name: str) -> None:
        """Allow every name."""

    async def check_unused(self, model_id: str) -> None:
        """Allow every model."""

    async def among(self, references: Collection[str]) -> set[str]:  # noqa: ARG002 - the interface
        """Return none."""
        return set()


class Keys(Protocol):
    """Knows which variables may hold models' keys."""

    def check(self, reference: str) -> None:
        """Check a reference.

        Raises:
            RefusedModelKeyError: says what to do.
        """
