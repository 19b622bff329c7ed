"""Log lines: an event's name and key-values, one line each.

`jobId`, `correlationId` and the like are bound with
`structlog.contextvars` where they are known.
"""

import io
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from asgi_correlation_id import correlation_id

LogFormat = Literal["json", "console"]

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# It logs where it listens, and when it starts and stops.
_SERVER: Final = "uvicorn.error"
_CHATTY: Final = (
    "aiohttp",
    "anthropic",
    "asyncio",
    "azure",
    "google_genai",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "pymongo",
    "urllib3",
    "uvicorn.access",
)


def configure_logging(level: str, log_format: LogFormat | None) -> None:
    """Send our own and our libraries' log lines to stderr in one format.

    Without a format, people at a terminal get `console` and everything
    else gets `json`.
    """
    chosen = log_format or ("console" if sys.stderr.isatty() else "json")
    shared = _shared_processors()
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(chosen),
            ],
        )
    )
    handler.addFilter(_is_for_operators)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    _quieten_libraries()


def _shared_processors() -> list[structlog.types.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        _add_correlation_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderers(log_format: LogFormat) -> list[structlog.types.Processor]:
    if log_format == "console":
        return [
            _escape_controls,
            structlog.dev.ConsoleRenderer(exception_formatter=_plain_error),
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]


def _escape_controls(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    # A client's name for something could otherwise steer the terminal, or
    # look like another line. What is no text, the renderer escapes itself.
    for name, value in event.items():
        if isinstance(value, str):
            kept = value.rstrip("\n")
            event[name] = _CONTROLS.sub(_escaped, kept)
    return event


def _plain_error(output: TextIO, error: structlog.typing.ExcInfo) -> None:
    # Not with the variables of each frame: a key may be among them.
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    lines = text.getvalue().split("\n")
    output.write("\n".join(_CONTROLS.sub(_escaped, line) for line in lines))


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match.group()):02x}"


def _add_correlation_id(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if value := correlation_id.get():
        event.setdefault("correlationId", value)
    return event


def _is_for_operators(record: logging.LogRecord) -> bool:
    """Leave out what libraries say below WARNING, at any `LOG_LEVEL`.

    The database's driver, HTTP clients and vendors' libraries log requests
    and answers: prompts, endpoints, sometimes keys. Our own lines are
    dictionaries by now.
    """
    if isinstance(record.msg, dict) or record.levelno >= logging.WARNING:
        return True
    return record.name == _SERVER and record.levelno >= logging.INFO


def _quieten_libraries() -> None:
    # They need not even make the lines that are left out.
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
