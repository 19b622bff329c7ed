"""The clients of a plug-in in one event loop, made when first needed."""

import asyncio
import importlib
from typing import cast

from llm_sdks.base_sdk import LLMConfig, in_daemon_thread
from llm_sdks.errors import ConfigurationError
from llm_sdks.wires.wire import ClientModule, Wire

# An endpoint, a key and a version of the interface.
_Identity = tuple[str, str, str]
# A token ends after an hour or so; each of several credentials has one.
_TOKENS_KEPT = 100


class Clients:
    """One client for each endpoint and credential."""

    def __init__(self, module: str, provider: str) -> None:
        """Name the module that imports the vendor's library."""
        self._module = module
        self._provider = provider
        self._wires: dict[_Identity, Wire] = {}
        # Those of exchanged credentials, oldest first.
        self._tokens: list[_Identity] = []
        self._loading = asyncio.Lock()

    async def of(self, config: LLMConfig, connect_timeout: float) -> Wire:
        """Return the client of a model's settings.

        Raises:
            ConfigurationError: the vendor's library cannot be used.
        """
        identity = (
            config.endpoint,
            config.api_key.get_secret_value(),
            config.api_version,
        )
        if identity not in self._wires:
            async with self._loading:
                module = await self._load()
                if identity not in self._wires:
                    wire = module.connect(config, connect_timeout)
                    self._wires[identity] = wire
                    if config.is_bearer:
                        await self._keep_token(identity)
        return self._wires[identity]

    async def close(self) -> None:
        """Close every client."""
        wires = list(self._wires.values())
        self._wires.clear()
        self._tokens.clear()
        for wire in wires:
            await wire.close()

    async def _keep_token(self, identity: _Identity) -> None:
        """Close the oldest client of a token: its token has ended."""
        self._tokens.append(identity)
        if len(self._tokens) > _TOKENS_KEPT:
            wire = self._wires.pop(self._tokens.pop(0), None)
            if wire is not None:
                await wire.close()

    async def _load(self) -> ClientModule:
        # In a thread: an import of seconds must not block the event loop.
        try:
            module = await in_daemon_thread(
                lambda: importlib.import_module(self._module)
            )
        except ImportError as error:
            raise ConfigurationError(
                f"The library of {self._provider} cannot be used: {error}"
            ) from error
        return cast("ClientModule", module)
