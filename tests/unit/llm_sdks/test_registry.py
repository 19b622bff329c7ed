import importlib
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from llm_sdks import registry as module
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
)
from llm_sdks.errors import ConfigurationError
from llm_sdks.registry import ENTRY_POINT_GROUP, SdkRegistry
from tests.support.samples import logged


class Foreign(BaseLLMSDK):
    """A plug-in from another package."""

    name = "foreign"

    @classmethod
    def get_name(cls) -> str:
        return cls.name

    def validate_config(self, config: LLMConfig) -> None:
        """Take any settings."""

    def complete(self, _request: CompletionRequest) -> Completion:
        return Completion("")

    def stream(self, _request: CompletionRequest) -> Iterator[StreamItem]:
        return iter(())


class Replacement(Foreign):
    """Another one of the same name."""


def install(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    """Have packages that offer plug-ins: names of what to import."""

    def found(*, group: str) -> list[EntryPoint]:
        assert group == ENTRY_POINT_GROUP
        return [EntryPoint(name, to, group) for name, to in targets.items()]

    monkeypatch.setattr(module, "entry_points", found)


def offer(monkeypatch: pytest.MonkeyPatch, **content: Any) -> None:
    """Make a package that can be imported as `offered`."""
    package = ModuleType("offered")
    package.__dict__.update(content)
    monkeypatch.setitem(sys.modules, "offered", package)


def test_the_built_in_plug_ins_are_found() -> None:
    registry = SdkRegistry.discover()
    assert {"OpenAI", "test"} <= set(registry.names())
    for name in registry.names():
        assert registry.create(name).get_name() == name


def test_a_plug_in_of_another_package_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, Foreign=Foreign)
    install(monkeypatch, foreign="offered:Foreign")
    registry = SdkRegistry.discover()
    assert isinstance(registry.create("foreign"), Foreign)
    assert "OpenAI" in registry.names()


def test_another_package_may_replace_a_built_in_plug_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    better = type("Better", (Foreign,), {"name": "test"})
    offer(monkeypatch, Better=better)
    install(monkeypatch, better="offered:Better")
    assert type(SdkRegistry.discover().create("test")) is better


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("no.such.module:Foreign", id="no module"),
        pytest.param("offered:Missing", id="no such name"),
        pytest.param("offered:a_function", id="a function"),
        pytest.param("offered:an_object", id="no class"),
        pytest.param("offered:Other", id="another class"),
        pytest.param("offered", id="a module"),
        pytest.param("offered:Unfinished", id="an abstract class"),
        pytest.param("offered:Nameless", id="a name that fails"),
    ],
)
def test_a_broken_entry_point_is_left_out_and_logged(
    monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    class Unfinished(BaseLLMSDK):
        @classmethod
        def get_name(cls) -> str:
            return "unfinished"

    class Nameless(Foreign):
        @classmethod
        def get_name(cls) -> str:
            raise RuntimeError("no name")

    events = logged(monkeypatch, module)
    offer(
        monkeypatch,
        Foreign=Foreign,
        Unfinished=Unfinished,
        Nameless=Nameless,
        Other=dict,
        a_function=print,
        an_object=7,
    )
    install(monkeypatch, broken=target, good="offered:Foreign")
    names = SdkRegistry.discover().names()
    assert {"foreign", "OpenAI", "test"} <= set(names)
    assert "unfinished" not in names
    (event,) = events
    assert event["event"] == "sdk_not_available"
    assert event["entry_point"] == target
    assert event["error"]
    assert event["log_level"] == "warning"


def test_a_package_that_raises_on_import_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Exploding(EntryPoint):
        def load(self) -> Any:
            raise ZeroDivisionError("at import")

    events = logged(monkeypatch, module)
    broken = Exploding("broken", "x:Y", ENTRY_POINT_GROUP)
    monkeypatch.setattr(module, "entry_points", lambda **_: [broken])
    assert "test" in SdkRegistry.discover().names()
    assert [event["error"] for event in events] == ["at import"]


def test_a_built_in_plug_in_without_its_library_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = logged(monkeypatch, module)
    really_import = importlib.import_module

    def import_module(name: str) -> ModuleType:
        if name == "llm_sdks.openai_sdk":
            raise ModuleNotFoundError("No module named 'openai'")
        return really_import(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    registry = SdkRegistry.discover()
    assert "test" in registry.names()
    assert "OpenAI" not in registry.names()
    assert {
        "event": "sdk_not_available",
        "module": "llm_sdks.openai_sdk",
        "error": "No module named 'openai'",
        "log_level": "warning",
    } in events


def test_an_unknown_name_is_answered_with_those_that_are_known() -> None:
    other = type("Other", (Foreign,), {"name": "another"})
    registry = SdkRegistry([Foreign, other])
    with pytest.raises(ConfigurationError) as unknown:
        registry.create("Nowhere")
    assert "'Nowhere'" in str(unknown.value)
    assert str(unknown.value).endswith("registered are: another, foreign")


def test_names_are_sorted() -> None:
    classes = [type(n, (Foreign,), {"name": n}) for n in ("b", "C", "a")]
    assert SdkRegistry(classes).names() == ["C", "a", "b"]
    assert SdkRegistry().names() == []


def test_of_two_plug_ins_of_one_name_the_later_counts() -> None:
    registry = SdkRegistry([Foreign])
    registry.register(Replacement)
    assert registry.names() == ["foreign"]
    assert type(registry.create("foreign")) is Replacement


def test_every_thread_gets_an_instance_of_its_own() -> None:
    registry = SdkRegistry([Foreign])
    assert registry.create("foreign") is not registry.create("foreign")
