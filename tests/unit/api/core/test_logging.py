import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.paths import ROOT

# In a process of its own: logging is set up once and for all of it.
BEFORE = """
import logging, sys
import structlog
from asgi_correlation_id import correlation_id
from pydantic import SecretStr
from api.core.logging import configure_logging

level, log_format = sys.argv[1], sys.argv[2] or None
log = structlog.get_logger("a.module")
configure_logging(level, log_format)
"""

Event = dict[str, Any]


def run(script: str, level: str = "INFO", log_format: str = "json") -> str:
    """Run a script that logs; give what stands on its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + script, level, log_format],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def events(script: str, level: str = "INFO") -> list[Event]:
    return [json.loads(line) for line in run(script, level).splitlines()]


@pytest.fixture(scope="module")
def lines() -> dict[str, Event]:
    """The lines of one process, by their events' names."""
    script = """
log.info("plain", jobId="7", count=2)
correlation_id.set("corr-1")
log.warning("correlated")
log.info("explicit", correlationId="own")
structlog.contextvars.bind_contextvars(jobId="job-1", runId="run-1")
log.error("bound")
logging.getLogger("a.library").warning("library said %s", "so")
structlog.contextvars.clear_contextvars()
log.info("newlines", text="a\\nb\\u2028c\\x85d", name="é")
secret = SecretStr("hush")
log.info("secret", key=secret, inside={"deep": [secret]}, text=f"{secret}")
logging.getLogger("a.library").warning("stdlib_secret %s", secret)
try:
    raise ValueError("why")
except ValueError:
    log.exception("raised")
for name in ("uvicorn.access", "httpx2", "httpcore2", "openai"):
    logging.getLogger(name).info("chatter of %s", name)
    logging.getLogger(name).warning("warning_of_%s", name)
log.debug("hidden")
logging.getLogger("a.library").debug("hidden too")
log.info("unserializable", value=object(), path={1, 2})
log.info("last")
"""
    found = events(script)
    by_name = {event["event"]: event for event in found}
    assert len(by_name) == len(found)
    return by_name


def test_a_line_carries_event_level_logger_and_values(
    lines: dict[str, Event],
) -> None:
    event = dict(lines["plain"])
    moment = datetime.fromisoformat(event.pop("timestamp"))
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)
    assert event == {
        "event": "plain",
        "level": "info",
        "logger": "a.module",
        "jobId": "7",
        "count": 2,
    }


def test_the_correlation_id_is_on_every_line_of_its_request(
    lines: dict[str, Event],
) -> None:
    assert "correlationId" not in lines["plain"]
    assert lines["correlated"]["correlationId"] == "corr-1"
    assert lines["correlated"]["level"] == "warning"
    assert lines["library said so"]["correlationId"] == "corr-1"


def test_a_correlation_id_that_is_given_counts(
    lines: dict[str, Event],
) -> None:
    assert lines["explicit"]["correlationId"] == "own"


def test_what_is_bound_is_on_every_line_until_it_is_cleared(
    lines: dict[str, Event],
) -> None:
    for name in ("bound", "library said so"):
        assert lines[name]["jobId"] == "job-1"
        assert lines[name]["runId"] == "run-1"
    assert "jobId" not in lines["newlines"]


def test_a_librarys_lines_have_the_same_form(
    lines: dict[str, Event],
) -> None:
    event = lines["library said so"]
    assert event["level"] == "warning"
    assert event["logger"] == "a.library"
    assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None


def test_values_cannot_break_a_line(lines: dict[str, Event]) -> None:
    assert lines["newlines"]["text"] == "a\nb\u2028c\x85d"
    assert lines["newlines"]["name"] == "é"


def test_a_secret_never_shows(lines: dict[str, Event]) -> None:
    assert "hush" not in str(lines)
    assert "SecretStr('**********')" in lines["secret"]["key"]
    assert lines["secret"]["text"] == "**********"
    assert "stdlib_secret **********" in lines


def test_an_exception_is_one_line_with_its_traceback(
    lines: dict[str, Event],
) -> None:
    event = lines["raised"]
    assert event["level"] == "error"
    assert event["exception"].startswith("Traceback (most recent call last)")
    assert event["exception"].endswith("ValueError: why")


@pytest.mark.parametrize(
    "name", ["uvicorn.access", "httpx2", "httpcore2", "openai"]
)
def test_chatty_libraries_are_heard_from_warnings_on(
    lines: dict[str, Event], name: str
) -> None:
    assert f"chatter of {name}" not in lines
    assert lines[f"warning_of_{name}"]["level"] == "warning"


def test_lines_below_the_level_are_left_out(lines: dict[str, Event]) -> None:
    assert "last" in lines
    assert "hidden" not in lines
    assert "hidden too" not in lines


def test_a_value_that_is_not_json_is_shown_all_the_same(
    lines: dict[str, Event],
) -> None:
    assert lines["unserializable"]["value"].startswith("<object object")


ALL_LEVELS = """
for name in ("debug", "info", "warning", "error", "critical"):
    getattr(log, name)(f"our {name}")
    getattr(logging.getLogger("a.library"), name)(f"their {name}")
"""


@pytest.mark.parametrize(
    ("level", "ours", "theirs"), [("DEBUG", 0, 2), ("ERROR", 3, 3)]
)
def test_the_level_holds_for_us_and_libraries_begin_with_warnings(
    level: str, ours: int, theirs: int
) -> None:
    names = ["debug", "info", "warning", "error", "critical"]
    expected = {f"our {name}" for name in names[ours:]}
    expected |= {f"their {name}" for name in names[theirs:]}
    assert {event["event"] for event in events(ALL_LEVELS, level)} == expected


def test_no_library_can_ask_for_more() -> None:
    script = """
for name in ("openai", "pymongo.command", "aiohttp.client", "a.plugin"):
    logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger(name).debug("the prompt")
    logging.getLogger(name).info("the endpoint")
log.debug("ours")
logging.getLogger("uvicorn.error").info("it listens")
"""
    shown = [event["event"] for event in events(script, "DEBUG")]
    assert shown == ["ours", "it listens"]


@pytest.mark.parametrize(
    "script",
    [
        "log.warning('named', name='a\\x1b[77mb\\nc\\x9bd')",
        "log.warning('a\\x1b[77mb\\nc\\x9bd')",
        "log.warning('nested', names=['a\\x1b[77mb\\nc\\x9bd'])",
        "logging.getLogger('x').warning('%s', 'a\\x1b[77mb\\nc\\x9bd')",
        (
            "try:\n    raise ValueError('a\\x1b[77mb\\x9bd')\n"
            "except ValueError:\n    log.exception('raised')"
        ),
    ],
)
def test_names_cannot_steer_a_terminal(script: str) -> None:
    shown = run(script, log_format="console")
    assert "\x1b[77m" not in shown
    assert "\x9b" not in shown
    assert "b\nc" not in shown
    assert "\\x1b[77m" in shown


def test_without_a_terminal_the_format_is_json() -> None:
    line = run("log.info('plain')", log_format="")
    assert json.loads(line)["event"] == "plain"


def test_the_console_format_is_for_people_and_hides_secrets_too() -> None:
    shown = run(
        "correlation_id.set('corr-1')\n"
        "log.warning('plain', key=SecretStr('hush'), count=2)",
        log_format="console",
    )
    assert not shown.startswith("{")
    assert "plain" in shown
    assert "warning" in shown
    assert "corr-1" in shown
    assert "hush" not in shown


def test_a_traceback_does_not_show_what_variables_hold() -> None:
    shown = run(
        "def call(key):\n"
        "    raise RuntimeError('closed')\n"
        "try:\n"
        "    call('hu' + 'sh')\n"
        "except RuntimeError:\n"
        "    log.exception('failed')",
        log_format="console",
    )
    assert "RuntimeError: closed" in shown
    assert "hush" not in shown


def test_a_terminal_obeys_nothing_that_is_logged() -> None:
    script = """
log.info("worker_started", name="a\\x1b[31mred\\x07", text="b\\x9bc\\r")
try:
    raise ValueError("\\x1b]0;title\\x07")
except ValueError:
    log.exception("failed")
"""
    text = run(script, log_format="console")
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "\r" not in text
    assert "\x1b]" not in text
    assert "\\x1b[31mred" in text
