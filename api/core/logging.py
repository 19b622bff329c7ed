"""Log lines: an event's name and key-values, one line each.

`jobId`, `correlationId` and the like are bound with
`structlog.contextvars` by whoever knows them.
"""

import logging
import sys
from collections.abc import MutableMapping
from io import StringIO
from typing import Any, Literal, TextIO

import structlog
from asgi_correlation_id import correlation_id
from structlog.typing import ExcInfo

LogFormat = Literal["json", "console"]


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
        # Not with the variables of each frame: a key may be among them.
        return [
            _escape_control_characters,
            structlog.dev.ConsoleRenderer(exception_formatter=_traceback),
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]


def _escape_control_characters(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape what a terminal would obey: names and texts are anybody's."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _visible(value)
    return event


def _traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(_visible(text.getvalue()))


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each in "\n\t"
        else each.encode("unicode_escape").decode()
        for each in text
    )


def _add_correlation_id(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if value := correlation_id.get():
        event.setdefault("correlationId", value)
    return event


def _quieten_libraries() -> None:
    # Each of these would write a line a request or a call at INFO; a client
    # library's own line may also quote headers.
    for name in ("uvicorn.access", "httpx2", "httpcore2", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)
