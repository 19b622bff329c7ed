"""The client without an event loop is the one with it, and up to date."""

import importlib.util
import inspect
import json
import re
import sys
from types import ModuleType
from typing import Any

import pytest
from pydantic import TypeAdapter

from metasync import AsyncMetasync, Metasync, errors, jobs, models
from metasync.values import Metadata, Metrics, Stored, Value
from tests.support.paths import ROOT

TOOL = ROOT / "clients/python/tools/make_sync.py"
SCHEMAS: dict[str, Any] = json.loads(
    (ROOT / "docs/openapi.json").read_text("utf-8")
)["components"]["schemas"]
# Of values with other names there.
NAMES = {
    "Metrics": "ProcessingMetrics",
    "BulkResult": "JobBulkResult",
    "EvaluationItem": "ItemResult",
    "Budget": "BudgetState",
    "NewClient": "ClientWithKey",
    "Webhook": "WebhookWithSecret",
}
VALUES: set[type[Value]] = {
    each
    for each in {**vars(jobs), **vars(models)}.values()
    if isinstance(each, type)
    and issubclass(each, Value)
    and each not in {Value, Stored}
} | {Metadata, Metrics}
IN_ORDER = sorted(VALUES, key=lambda each: each.__name__)


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sync", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_sync"] = module
    spec.loader.exec_module(module)
    return module


def test_it_is_up_to_date() -> None:
    texts = tool().texts()
    stale = [p.name for p, text in texts.items() if p.read_text() != text]
    assert not stale, "run `make client`"
    left = re.compile(r"\b(async|await|asyncio)\b")
    assert not [p.name for p, text in texts.items() if left.search(text)]


def test_both_have_the_same_methods() -> None:
    def methods(client: object) -> set[str]:
        return {
            f"{name}.{method}"
            for name, part in vars(client).items()
            if not name.startswith("_")
            for method, _ in inspect.getmembers(part, callable)
            if not method.startswith("_")
        }

    url, token = "http://127.0.0.1:1", "a:b"
    assert methods(Metasync(url, token)) == methods(AsyncMetasync(url, token))
    assert len(methods(Metasync(url, token))) > 50


@pytest.mark.parametrize(
    "value",
    IN_ORDER,
    ids=[each.__name__ for each in IN_ORDER],
)
def test_values_are_the_services(value: type[Value]) -> None:
    schema = SCHEMAS[NAMES.get(value.__name__, value.__name__)]
    known = schema["properties"]
    names = {
        str(field.alias): field.is_required()
        for field in value.model_fields.values()
    }
    assert set(names) <= set(known)
    # What need not come is not needed.
    needed = {name for name, is_needed in names.items() if is_needed}
    assert needed <= set(schema.get("required", []))
    for field in value.model_fields.values():
        if {"type": "null"} in known[str(field.alias)].get("anyOf", []):
            kind: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
            kind.validate_python(None)


def test_the_tree_of_errors_is_as_its_text_says() -> None:
    named = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.MetasyncError)
    }
    assert errors.__doc__ is not None
    assert {name for name in named if name not in errors.__doc__} == set()
