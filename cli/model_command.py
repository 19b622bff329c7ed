"""Adds, lists, tests and removes models of a running service."""

import time
from dataclasses import dataclass

from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table

from api.services.limits.prices import known_cost
from cli.doctor.findings import Finding, Status
from cli.doctor.service_state import check_models
from cli.errors import CommandError
from cli.known_providers import PREFIXES, Place, place_of
from cli.rest_client import Json, RestClient
from cli.service_access import admin_of
from cli.terminal import one_line, say
from config import key_variable

_CALL_SECONDS = 30.0
_PRICED_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class Added:
    """What is said of a new model; None: by its name."""

    name: str
    sdk: str | None = None
    endpoint: str | None = None
    deployment: str | None = None
    api_version: str = ""
    key_variable: str | None = None
    max_tokens: int = 4096
    requests_per_minute: int | None = None

    def fields(self) -> Json:
        """Give the body of `POST /models`.

        Raises:
            CommandError: nothing is known of the name, and too little said.
        """
        place = self._place()
        given: Json = {
            "name": self.name,
            "sdk": self.sdk or place.sdk,
            "endpoint": place.endpoint
            if self.endpoint is None
            else self.endpoint,
            "deployment": self.deployment or place.deployment or self.name,
            "apiVersion": self.api_version,
            "key": self.key_variable or place.key_variable,
            "maxCompletionToken": self.max_tokens,
        }
        if self.requests_per_minute is not None:
            given["limits"] = {"requestsPerMinute": self.requests_per_minute}
        return given

    def _place(self) -> Place:
        place = place_of(self.name)
        if place is not None and self.sdk in {None, place.sdk}:
            return place
        if self.sdk is None:
            raise CommandError(
                f"Nothing is known of {self.name!r}: give --sdk, and "
                "--endpoint if it is no vendor's own; or a name that begins "
                f"with {', '.join(f'{each}/' for each in PREFIXES)}"
            )
        return Place(self.sdk, self.key_variable or key_variable(self.name))


def add_model(
    added: Added, console: Console, *, server: str | None, call: bool
) -> int:
    """Add a model, say what is known of it, and call it; give the status.

    Raises:
        CommandError: it cannot be added; says what to do.
    """
    fields = added.fields()
    with admin_of(server) as admin:
        made = admin.post("/models", fields)
        say(console, f"Added {added.name}: {_described(made)}.")
        say(
            console,
            f"Its key is read from {key_variable(fields['key'])}, in the "
            "environment of the service.",
        )
        return _called(admin, added.name, console) if call else 0


def list_models(console: Console, *, server: str | None) -> None:
    """Print a table of the models."""
    table = Table(box=ROUNDED)
    for heading in ("Model", "Plug-in", "Price", "Limits", "State"):
        table.add_column(heading, overflow="fold")
    with admin_of(server) as admin:
        for model in admin.pages("/models"):
            table.add_row(
                one_line(model["name"]),
                one_line(model["sdk"]),
                _price(model),
                _limits(model),
                _state(model),
            )
    if not table.row_count:
        say(console, "There is none: `metasync model add NAME` adds one.")
        return
    console.print(table)


def test_model(name: str, console: Console, *, server: str | None) -> int:
    """Call a model; give the status.

    Raises:
        CommandError: there is no such model.
    """
    with admin_of(server) as admin:
        _id_of(admin, name)
        return _called(admin, name, console)


def remove_model(name: str, console: Console, *, server: str | None) -> None:
    """Remove a model.

    Raises:
        CommandError: there is no such model.
    """
    with admin_of(server) as admin:
        admin.delete(f"/models/{_id_of(admin, name)}")
    say(console, f"Removed {name}.")


def _id_of(admin: RestClient, name: str) -> str:
    names = {each["name"]: each["model_id"] for each in admin.pages("/models")}
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise CommandError(f"There is no model {name!r}; there is: {known}")
    return str(names[name])


def _called(admin: RestClient, name: str, console: Console) -> int:
    failed = False
    for finding in check_models(admin, _CALL_SECONDS, name):
        failed |= finding.status is Status.FAIL
        say(console, _told(finding))
    return int(failed)


def _told(finding: Finding) -> str:
    text = f"{finding.status}: {finding.message}"
    return f"{text}. {finding.remedy}." if finding.remedy else f"{text}."


def _described(model: Json) -> str:
    where = model["endpoint"] or "the vendor's own address"
    return f"{model['sdk']} at {where}, {_price(model)}"


def _price(model: Json) -> str:
    cost = model.get("cost")
    if cost is not None:
        per, currency = cost["tokens"], cost["currency"]
        read, wrote = cost["input"], cost["output"]
    else:
        name = model["deployment"] or model["name"]
        known = known_cost(model["sdk"], model["endpoint"], name, time.time())
        if known is None:
            return "price not known"
        per, currency = known.tokens, known.currency
        read, wrote = known.input, known.output
    factor = _PRICED_TOKENS / per
    return (
        f"{read * factor:g} / {wrote * factor:g} {one_line(currency)} a "
        "million tokens"
    )


def _limits(model: Json) -> str:
    names = {
        "requestsPerMinute": "{:,} requests/min",
        "tokensPerMinute": "{:,} tokens/min",
        "maxConcurrency": "{:,} at once",
    }
    limits = model.get("limits") or {}
    return ", ".join(
        text.format(limits[name])
        for name, text in names.items()
        if limits.get(name)
    )


def _state(model: Json) -> str:
    suspended = model.get("suspended")
    if suspended is None:
        return "in use"
    return one_line(f"suspended: {suspended['reason']}")
