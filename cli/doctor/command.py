"""`metasync doctor`: all checks in their order, and the report."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dotenv import dotenv_values

from api.core.logging import configure_logging
from cli.doctor.findings import Finding, Status, fail, ok
from cli.doctor.machine import (
    check_data_dir,
    check_env_file,
    check_own_port,
    check_packages,
    check_python,
)
from cli.doctor.service_state import check_service, is_metasync
from cli.errors import CommandError, reason
from cli.stopping import stoppable
from cli.terminal import Terminal, one_line, say
from config import ModelKeys, Settings, SettingsError

_ENV_FILE = Path(".env")
_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not bound


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """The options of `metasync doctor`."""

    url: str | None = None
    calls: bool = True
    call_seconds: float = 20.0
    as_json: bool = False


def examine(options: DoctorOptions) -> int:
    """Make all checks, print each, return 1 if one has failed."""
    configure_logging("CRITICAL", "console")
    console = Terminal()
    findings = []
    with stoppable(Terminal(stderr=True), "Nothing was changed."):
        for finding in check_all(options):
            findings.append(finding)
            if not options.as_json:
                _show(console, finding)
    worst = _worst(findings)
    if options.as_json:
        checks = [asdict(finding) for finding in findings]
        # ASCII only: a name in it cannot steer a terminal either.
        print(json.dumps({"status": worst, "checks": checks}))  # noqa: T201
    return int(worst is Status.FAIL)


def check_all(options: DoctorOptions) -> Iterator[Finding]:
    """Make the checks one after another.

    A service that runs elsewhere (`url`) is asked over REST: the files of
    this machine are not its own, and are left out.
    """
    yield check_python()
    yield check_packages()
    seconds = options.call_seconds if options.calls else None
    if options.url is not None:
        yield from _check_elsewhere(options.url, seconds)
        return
    yield check_env_file(_ENV_FILE)
    try:
        settings = Settings.load()
        keys = ModelKeys.load()
    except SettingsError as error:
        remedy = "Correct .env; `metasync init` writes a fresh one"
        for problem in str(error).splitlines():
            yield fail("settings", problem, remedy)
        return
    yield ok("settings", "all are valid")
    yield from check_data_dir(settings.data_dir)
    url = _own_url(settings)
    ours = settings.port != 0 and is_metasync(url)
    yield check_own_port(settings.host, settings.port, ours=ours)
    if ours:
        admin_key = settings.admin_api_key.get_secret_value()
        yield from check_service(url, admin_key, call_seconds=seconds)
        return
    # It imports the whole service.
    from cli.doctor.database_state import check_database  # noqa: PLC0415

    yield from check_database(settings, keys, call_seconds=seconds)


def _check_elsewhere(url: str, seconds: float | None) -> Iterator[Finding]:
    if not url.startswith(("http://", "https://")):
        raise CommandError("--url needs a URL, such as http://127.0.0.1:8001")
    if not is_metasync(url):
        yield fail(
            "service",
            f"no Metasync answers at {url}",
            "Check the address; a first start may take 20 s",
        )
        return
    variable = "ADMIN_API_KEY"
    admin_key = os.environ.get(variable) or _read_env_file().get(variable)
    if not admin_key:
        remedy = f"Set {variable} to the key of that service"
        yield fail("service", f"{variable} is not set", remedy)
        return
    yield from check_service(url, admin_key, call_seconds=seconds)


def _read_env_file() -> dict[str, str | None]:
    try:
        return dotenv_values(_ENV_FILE, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(
            f"Cannot read {_ENV_FILE}: {reason(error)}"
        ) from None


def _own_url(settings: Settings) -> str:
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.port}"


def _worst(findings: list[Finding]) -> Status:
    found = {finding.status for finding in findings}
    for status in (Status.FAIL, Status.WARN):
        if status in found:
            return status
    return Status.OK


def _show(console: Terminal, finding: Finding) -> None:
    style = _STYLES[finding.status]
    text = f"{finding.check}: {finding.message}"
    if finding.remedy is not None:
        text = f"{text.rstrip('.')}. {finding.remedy}."
    console.print(f"[{style}]{finding.status:<5}[/]", end="")
    say(console, one_line(text))
