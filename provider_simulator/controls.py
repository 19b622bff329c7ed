"""What steers the simulator at run time, outside of every limit."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict

from pydantic_core import from_json, to_json

from provider_simulator.endpoints import detail
from provider_simulator.script import Script, read_rules
from provider_simulator.settings import SimulatorError
from provider_simulator.simulation import Simulation
from provider_simulator.values import Reply, Request

_MOST_FAILURES = 1000
_LONGEST_OUTAGE = 3600
_UNPROCESSABLE = 422

Control = Callable[[Request], Reply]
_COUNT = re.compile(r"/fail/(count|duration)/([^/]*)")


class Controls:
    """Settings, script, induced failures, counts, health."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._routes: dict[str, dict[str, Control]] = {
            "/health": {"GET": self._health},
            "/settings": {
                "GET": self._settings,
                "PATCH": self._change_settings,
            },
            "/script": {"GET": self._script, "PUT": self._replace_script},
            "/stats": {"GET": self._stats},
            "/stats/reset": {"POST": self._reset_stats},
            "/invoice": {"GET": self._invoice},
            "/invoice/reset": {"POST": self._reset_invoice},
            "/fail/status": {"GET": self._failing},
            "/fail/reset": {"POST": self._reset_failures},
        }

    def answer(self, request: Request) -> Reply | None:
        """Answer a request; None if it is for somebody else."""
        methods = self._routes.get(request.path)
        if methods is None:
            if not _COUNT.fullmatch(request.path):
                return None
            methods = {"POST": self._fail}
        control = methods.get(request.method)
        if control is None:
            return not_allowed(*methods)
        try:
            return control(request)
        except SimulatorError as error:
            return detail(_UNPROCESSABLE, str(error))

    def _health(self, _: Request) -> Reply:
        uptime = self._simulation.clock() - self._simulation.started
        return _json({"status": "ok", "uptime_seconds": round(uptime, 3)})

    def _settings(self, _: Request) -> Reply:
        return _json(self._simulation.settings)

    def _change_settings(self, request: Request) -> Reply:
        try:
            changes = from_json(request.body)
        except ValueError as error:
            raise SimulatorError(f"The body is not JSON: {error}") from None
        if not isinstance(changes, dict):
            raise SimulatorError("The body must be a JSON object")
        self._simulation.configure(self._simulation.settings.changed(changes))
        return self._settings(request)

    def _script(self, _: Request) -> Reply:
        rules = self._simulation.script.rules
        return _json(
            [
                rule.model_dump(by_alias=True, exclude_unset=True)
                for rule in rules
            ]
        )

    def _replace_script(self, request: Request) -> Reply:
        rules = read_rules(request.body) if request.body.strip() else []
        self._simulation.script = Script(rules)
        return self._script(request)

    def _stats(self, _: Request) -> Reply:
        slots = self._simulation.slots
        return _json(
            self._simulation.counters.report()
            | {
                "concurrent": slots.taken,
                "concurrent_max": slots.most_taken,
                "waiting": slots.waiting,
            }
        )

    def _reset_stats(self, request: Request) -> Reply:
        self._simulation.counters.reset()
        self._simulation.slots.forget()
        return self._stats(request)

    def _invoice(self, _: Request) -> Reply:
        return _json(self._simulation.invoice.report())

    def _reset_invoice(self, request: Request) -> Reply:
        self._simulation.invoice.reset()
        return self._invoice(request)

    def _failing(self, _: Request) -> Reply:
        return _json(self._status())

    def _status(self) -> dict[str, object]:
        status = self._simulation.outages.status()
        seconds = status.duration_remaining_seconds
        failure_status = {
            "fail_requests_count": status.count_remaining,
            # Unix time; 0 while no duration is set.
            "fail_until_timestamp": time.time() + seconds if seconds else 0,
            "duration_remaining_seconds": seconds,
            "currently_failing": status.failing,
        }
        return {
            "failure_status": failure_status,
            "currently_failing": status.failing,
            # As earlier versions named them.
            **asdict(status),
        }

    def _fail(self, request: Request) -> Reply:
        *_, kind, text = request.path.split("/")
        if kind == "count":
            count = int(_within(text, _MOST_FAILURES, int))
            self._simulation.outages.fail_next(count)
            return self._set(
                f"The next {count} calls will fail", fail_requests_count=count
            )
        seconds = _within(text, _LONGEST_OUTAGE, float)
        self._simulation.outages.fail_for(seconds)
        return self._set(
            f"All calls will fail for {seconds:g} seconds",
            duration_seconds=int(seconds) if seconds % 1 == 0 else seconds,
        )

    def _reset_failures(self, _: Request) -> Reply:
        self._simulation.outages.reset()
        return self._set("No call will fail", status="normal_operation")

    def _set(self, message: str, **fields: object) -> Reply:
        return _json({**self._status(), "message": message, **fields})


def not_allowed(*methods: str) -> Reply:
    """Make the answer to a method that a path does not have."""
    body = to_json({"detail": "Method Not Allowed"})
    return Reply(body, status=405, headers=(("allow", ", ".join(methods)),))


def _json(value: object) -> Reply:
    return Reply(to_json(value))


def _within(text: str, most: float, kind: Callable[[str], float]) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    # Written so that NaN is out as well.
    if not 0 <= value <= most:
        raise SimulatorError(f"{text!r} is not a number from 0 to {most}")
    return value
