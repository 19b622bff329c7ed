"""A live view of a running service, for a terminal."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.errors import CommandError
from cli.rest_client import Json, RestClient
from cli.service_access import service
from cli.terminal import one_line, span
from cli.watch_jobs import counted, why

# The rate is that of so many looks.
_LOOKS = 5
_SAMPLE = 200
_ROWS = 8
_ENDED = ("PROCESSED", "CONSUMED", "ERROR_PROCESSING", "ERROR_CONSUMING")
_HOUR, _MINUTE = 3600, 60


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the service has found."""

    at: float
    counts: Json
    waiting: Counter[str]
    errors: Counter[str]
    models: list[Json]
    spend: list[Json]
    workers: list[Json]


@dataclass
class Rate:
    """Jobs that end in a second, over the last looks."""

    _seen: deque[tuple[float, int]] = field(
        default_factory=lambda: deque(maxlen=_LOOKS)
    )

    def add(self, at: float, ended: int) -> float | None:
        """Take a count; return the rate if there are two looks."""
        self._seen.append((at, ended))
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        if last <= first:
            return None
        return max(now - before, 0) / (last - first)


def show_top(
    console: Console, *, every: float, once: bool, server: str | None
) -> None:
    """Show the view until Ctrl-C, or print it once."""
    rate = Rate()
    with service(server) as user:
        if once or not console.is_terminal:
            console.print(_view(look(user), rate))
            return
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_looked(user, rate), refresh=True)
                time.sleep(every)


def look(user: RestClient, timer: Callable[[], float] = time.time) -> Look:
    """Ask the service for everything that the view shows."""
    fields = "status,model,waitingFor,errorData"
    newest: dict[str, str | int] = {"sort": "-createdAt", "limit": _SAMPLE}
    pending = user.get("/jobs", status="PENDING", limit=_ROWS)
    failed = user.get(
        "/jobs", status="ERROR_PROCESSING", fields=fields, **newest
    )
    today = datetime.now(UTC).date().isoformat()
    usage = user.get("/usage", groupBy="client,model", **{"from": today})
    return Look(
        timer(),
        user.get("/jobs/summary"),
        Counter(why(job) for job in pending if job.get("waitingFor")),
        Counter(why(job).partition(": ")[0] for job in failed),
        list(user.pages("/models")),
        usage["groups"],
        list(user.pages("/workers")),
    )


def _looked(user: RestClient, rate: Rate) -> RenderableType:
    try:
        return _view(look(user), rate)
    except CommandError as error:
        # The view goes on when the service is back.
        return Text(one_line(str(error)), style="red")


def _view(found: Look, rate: Rate) -> RenderableType:
    ended = sum(found.counts.get(status, 0) for status in _ENDED)
    speed = rate.add(found.at, ended)
    parts: Iterable[RenderableType | None] = (
        Text(_headline(found, speed), style="bold"),
        _counter("Waiting for (the next in the queue)", found.waiting),
        _counter(f"Errors of the newest {_SAMPLE} failed jobs", found.errors),
        _suspended(found.models),
        _spend(found.spend),
        _workers(found.workers),
    )
    return Group(*(part for part in parts if part is not None))


def _headline(found: Look, speed: float | None) -> str:
    line = counted(found.counts)
    if speed is None:
        return line
    line += f" · {speed:,.1f} jobs/s"
    left = found.counts.get("PENDING", 0) + found.counts.get("PROCESSING", 0)
    if speed and left:
        line += f" · {span(left / speed)} left"
    return line


def _counter(title: str, counts: Counter[str]) -> Table | None:
    if not counts:
        return None
    table = _plain(title, "", "Jobs")
    for text, count in counts.most_common(_ROWS):
        table.add_row(text or "?", f"{count:,}")
    return table


def _suspended(models: list[Json]) -> Table | None:
    stopped = [model for model in models if model.get("suspended")]
    if not stopped:
        return None
    table = _plain("Suspended models", "Model", "Why", "Since", "Next trial")
    for model in stopped:
        state = model["suspended"]
        table.add_row(
            *(
                one_line(str(text or ""))
                for text in (
                    model["name"],
                    state["reason"],
                    state["since"],
                    state.get("retryAt"),
                )
            )
        )
    return table


def _spend(groups: list[Json]) -> Table | None:
    if not groups:
        return None
    table = _plain(
        "Today, by client and model",
        *("Client", "Model", "Calls", "Tokens", "Cost"),
    )
    busiest = sorted(groups, key=lambda each: -each["requests"])
    for group in busiest[:_ROWS]:
        table.add_row(
            one_line(group.get("clientId") or ""),
            one_line(group.get("model") or ""),
            f"{group['requests']:,}",
            f"{group['totalTokens']:,}",
            _cost(group),
        )
    return table


def _cost(group: Json) -> str:
    costs = group.get("costByCurrency") or {}
    shown = [f"{cost:,.4f} {one_line(unit)}" for unit, cost in costs.items()]
    if group.get("unpricedRequests"):
        shown.append(f"{group['unpricedRequests']:,} calls without a price")
    return " + ".join(shown)


def _workers(workers: list[Json]) -> Table | None:
    if not workers:
        return None
    table = _plain("Workers", "Worker", "State")
    for worker in workers[:_ROWS]:
        name = worker.get("name") or worker["workerId"]
        table.add_row(one_line(str(name)), one_line(str(worker["status"])))
    return table


def _plain(title: str, *headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left")
    for heading in headings:
        is_number = heading in {"Jobs", "Calls", "Tokens", "Cost"}
        table.add_column(
            heading,
            justify="right" if is_number else "left",
            overflow="fold",
        )
    return table
