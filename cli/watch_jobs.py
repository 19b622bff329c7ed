"""Lists jobs of a running service: counts, and the newest of them."""

import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table

from cli.errors import CommandError
from cli.rest_client import Json
from cli.service_access import service
from cli.terminal import one_line, say

_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = 100
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
STYLES = {
    "PROCESSED": "green",
    "CONSUMED": "green",
    "PROCESSING": "cyan",
    "PENDING": "yellow",
    "ERROR_PROCESSING": "red",
    "ERROR_CONSUMING": "red",
}


def show_jobs(
    console: Console,
    wanted: Mapping[str, str],
    *,
    since: str | None,
    limit: int,
    as_json: bool,
    server: str | None,
) -> None:
    """Print the counts and the newest jobs.

    Raises:
        CommandError: `since` is no time, or the service refuses.
    """
    query: dict[str, str | int] = dict(wanted)
    if since is not None:
        query["from"] = _moment(since)
    with service(server) as user:
        jobs = user.get("/jobs", **query, sort="-createdAt", limit=limit)
        if as_json:
            for job in jobs:
                # ASCII only: no text in it can steer a terminal.
                sys.stdout.write(json.dumps(job) + "\n")
            return
        counts = user.get("/jobs/summary", **query)
    say(console, counted(counts))
    if jobs:
        console.print(_table(jobs))


def counted(counts: Json) -> str:
    """Give the counts of statuses that have jobs as a line."""
    parts = [
        f"{count:,} {status}"
        for status, count in counts.items()
        if isinstance(count, int) and count and status != "total"
    ]
    return f"{counts['total']:,} jobs: {', '.join(parts) or 'none'}"


def why(job: Json) -> str:
    """Say in a line why a job waits or failed; empty if it did neither."""
    waiting, error = job.get("waitingFor"), job.get("errorData")
    if waiting is not None:
        until = waiting.get("until")
        parts = [waiting["kind"], until and f"until {until}"]
        parts.append(waiting.get("detail"))
        return _cut(": ".join(part for part in parts if part))
    if error is not None:
        return _cut(f"{error.get('errorType')}: {error.get('message')}")
    return ""


def age(moment: str, now: datetime | None = None) -> str:
    """Tell how long ago an ISO 8601 time is."""
    now = now or datetime.now(UTC)
    seconds = max((now - datetime.fromisoformat(moment)).total_seconds(), 0)
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _table(jobs: list[Json]) -> Table:
    table = Table(box=ROUNDED)
    for heading in ("Job", "Age", "Status", "Operation", "Model"):
        table.add_column(heading, no_wrap=heading in {"Job", "Age"})
    table.add_column("Why", overflow="fold")
    for job in jobs:
        status = one_line(job["status"])
        table.add_row(
            one_line(job["jobId"]),
            age(job["_metadata"]["createdAt"]),
            f"[{STYLES.get(status, 'white')}]{status}[/]",
            _cut(job["operation"]),
            _cut(job["model"]),
            why(job),
        )
    return table


def _cut(text: str) -> str:
    text = one_line(text).replace("[", r"\[")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _moment(since: str) -> str:
    """Read an age (`24h`), or a time.

    Raises:
        CommandError: it is neither.
    """
    if found := _AGE.fullmatch(since):
        span = timedelta(**{_UNITS[found[2]]: int(found[1])})
        return (datetime.now(UTC) - span).isoformat()
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise CommandError(
            f"--since {since!r} is no time: give 90s, 15m, 24h, 7d, or a "
            "date such as 2026-01-31"
        ) from None
    return moment.astimezone(UTC).isoformat()
