"""Finds the plug-ins; the core names none of them.

Built-in plug-ins are the modules `llm_sdks/*_sdk.py`; others come from
installed packages by the entry point group `metasync.llm_sdks`.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Self, TypeGuard

import structlog

import llm_sdks
from llm_sdks.base_sdk import BaseLLMSDK, LLMConfig
from llm_sdks.errors import ConfigurationError
from llm_sdks.profiles.learnt import LearntProfiles
from llm_sdks.provider_sdk import ProviderSDK

ENTRY_POINT_GROUP = "metasync.llm_sdks"

SdkClass = type[BaseLLMSDK]

log = structlog.get_logger(__name__)


class SdkRegistry:
    """Plug-ins by name."""

    def __init__(self, classes: Iterable[SdkClass] = ()) -> None:
        self._classes: dict[str, SdkClass] = {}
        # What providers have refused, for all instances of this process.
        self.learnt = LearntProfiles()
        for sdk in classes:
            self.register(sdk)

    @classmethod
    def discover(cls) -> Self:
        """Register every plug-in that can be found.

        One that cannot be imported (its provider's library is missing,
        say) is logged and left out; the others work.
        """
        registry = cls(_built_in())
        for entry_point in entry_points(group=ENTRY_POINT_GROUP):
            registry._register_installed(entry_point)
        return registry

    def register(self, sdk: SdkClass) -> None:
        """Add a plug-in; a later one of the same name replaces it."""
        self._classes[sdk.get_name()] = sdk

    def _register_installed(self, entry_point: EntryPoint) -> None:
        try:
            sdk = entry_point.load()
            if not _is_complete(sdk):
                raise TypeError("is not a whole subclass of BaseLLMSDK")  # noqa: TRY301 - logged like the rest
            self.register(sdk)
        except Exception as error:  # noqa: BLE001 - somebody else's code; logged
            log.warning(
                "sdk_not_available",
                entry_point=entry_point.value,
                error=str(error),
            )

    def names(self) -> list[str]:
        """Return the registered names, sorted."""
        return sorted(self._classes)

    def create(self, name: str) -> BaseLLMSDK:
        """Make an instance for one thread.

        Raises:
            ConfigurationError: there is no such plug-in here.
        """
        if name not in self._classes:
            raise ConfigurationError(
                f"No SDK is registered as {name!r} in this process; "
                f"registered are: {', '.join(self.names())}"
            )
        sdk = self._classes[name]()
        if isinstance(sdk, ProviderSDK):
            sdk.share(self.learnt)
        return sdk

    def check(self, name: str, config: LLMConfig) -> None:
        """Let a plug-in check a model's settings.

        Raises:
            ConfigurationError: says what is missing or wrong.
        """
        sdk = self.create(name)
        try:
            sdk.validate_config(config)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - somebody else's code; logged
            # It says nothing of the settings; calls will fail by it.
            log.warning(
                "settings_not_checked", sdk=name, error=type(error).__name__
            )

    def needs_key(self, name: str) -> bool:
        """Tell whether models of a plug-in must have a key."""
        return self._classes[name].needs_key

    def base_url(self, name: str, endpoint: str) -> str:
        """Give the URL of a provider; empty if its requests cannot pass."""
        sdk = self._classes.get(name)
        if sdk is None or not issubclass(sdk, ProviderSDK):
            return ""
        return sdk.base_url(endpoint.strip())


def _built_in() -> Iterator[SdkClass]:
    for module in pkgutil.iter_modules(llm_sdks.__path__):
        if module.name.endswith("_sdk") and module.name != "base_sdk":
            imported = _import(f"{llm_sdks.__name__}.{module.name}")
            if imported is not None:
                yield from _classes_of(imported)


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        log.warning("sdk_not_available", module=name, error=str(error))
        return None


def _classes_of(module: ModuleType) -> Iterator[SdkClass]:
    for _, item in inspect.getmembers(module, inspect.isclass):
        if item.__module__ == module.__name__ and _is_complete(item):
            yield item


def _is_complete(item: object) -> TypeGuard[SdkClass]:
    is_sdk = inspect.isclass(item) and issubclass(item, BaseLLMSDK)
    return is_sdk and not inspect.isabstract(item)
