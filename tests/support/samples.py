"""Values and small tools that several unit tests need."""

import asyncio
import time
from collections.abc import Callable, MutableMapping
from types import ModuleType
from typing import Any

import pytest
import structlog
from bson import ObjectId
from hypothesis import strategies as st
from structlog.testing import LogCapture

from api.services.queue.job_work import ClaimedJob

# Names that have broken one store or another.
HOSTILE_KEYS = (
    *("", ".", "$", "$where", "a.b", "a..b", ".a", "a.", "\x00", "a\x00b"),
    *("%", "%00", "%2E", "NaN", "Infinity", "__proto__", "_id", "ключ", "😀"),
    *("\u2028", "\x85", '"', "\\", "a b", "a\nb"),
)

json_keys = st.one_of(st.sampled_from(HOSTILE_KEYS), st.text(max_size=8))
json_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**80), max_value=10**80),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(("NaN", "Infinity", "-Infinity", "null")),
    st.text(),
)
json_values = st.recursive(
    json_scalars,
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(json_keys, children, max_size=4),
    ),
    max_leaves=12,
)
json_objects = st.dictionaries(json_keys, json_values, max_size=5)


def claimed_job(**changes: Any) -> ClaimedJob:
    """Give a job as a worker holds it after its first claim."""
    fields: dict[str, Any] = {
        "job_id": ObjectId(),
        "client_id": "client-1",
        "lease_token": "token-1",
        "attempts": 1,
        "model": "working-model",
        "working_prompts": ("working-prompt",),
        "temperature": 0.25,
        "request_json": '{"text":"hello"}',
        **changes,
    }
    return ClaimedJob(**fields)


def nested(depth: int, innermost: object = 0) -> Any:
    """Give a list of a list of ... of `innermost`, `depth` levels deep."""
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


def logged(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> list[MutableMapping[str, Any]]:
    """Collect what a module logs, however logging is set up by then."""
    capture = LogCapture()
    logger = structlog.wrap_logger(None, processors=[capture])
    monkeypatch.setattr(module, "log", logger)
    return capture.entries


async def becomes(check: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until `check` is true, while the event loop runs on."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.005)
