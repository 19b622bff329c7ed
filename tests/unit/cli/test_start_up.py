"""`metasync` starts at once, and its light parts agree with the heavy."""

import os
import signal
import subprocess
import sys
from importlib import metadata

import pytest

import config
from cli import simulate
from cli.ports import check_port
from provider_simulator.settings import (
    FailureKind,
    LatencyDistribution,
    SimulatorSettings,
)
from tests.support.paths import ROOT
from tests.support.timing import elapsed_seconds, is_within

# Each takes a tenth of a second or more, and nothing but a command that
# runs needs them.
HEAVY = {
    "aiohttp",
    "anthropic",
    "config",
    "fastapi",
    "google",
    "httpx2",
    "main_app",
    "openai",
    "provider_simulator",
    "pymongo",
    "rich",
    "structlog",
}
# typer itself imports it, to convert what a command is given.
CONVERTING = {"pydantic"}
_LIST = (
    "import sys\n"
    "sys.argv = ['metasync', *sys.argv[1:]]\n"
    "from cli.app import main\n"
    "try:\n"
    "    main()\n"
    "except SystemExit:\n"
    "    pass\n"
    "print(*sys.modules, file=sys.stderr)\n"
)


def imported_by(*arguments: str) -> set[str]:
    process = subprocess.run(
        [sys.executable, "-c", _LIST, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    modules = process.stderr.splitlines()[-1].split()
    return {name.partition(".")[0] for name in modules}


def test_the_version_imports_nothing_of_note() -> None:
    assert not imported_by("--version") & {*HEAVY, *CONVERTING, "typer"}


@pytest.mark.parametrize("arguments", [("--help",), (), ("surve",)])
def test_the_list_of_commands_imports_nothing_heavy(
    arguments: tuple[str, ...],
) -> None:
    assert not imported_by(*arguments) & HEAVY


def test_help_converts_nothing() -> None:
    assert not imported_by("--help") & CONVERTING


def test_a_command_does_import_what_it_needs() -> None:
    assert imported_by("demo", "--help") & HEAVY == {"rich"}


@pytest.mark.parametrize(
    ("option", "seconds"), [("--version", 1.0), ("--help", 2.0)]
)
@pytest.mark.timing
def test_it_takes_no_time_worth_speaking_of(
    option: str, seconds: float
) -> None:
    # 0.1 s and 0.2 s where nothing else runs.
    command = [sys.executable, "-m", "cli", option]

    def work() -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)

    assert is_within(seconds, lambda: elapsed_seconds(work))


def test_the_version_is_one() -> None:
    assert metadata.version("metasync") == config.VERSION


def test_simulate_offers_what_the_simulator_knows() -> None:
    defaults = SimulatorSettings().model_dump()
    for name, value in simulate.DEFAULTS.items():
        assert defaults[name] == value
    assert set(simulate.FAILURES) == {str(kind) for kind in FailureKind}
    assert [str(each) for each in simulate.Distribution] == [
        str(each) for each in LatencyDistribution
    ]


def test_ctrl_c_while_importing_is_quiet() -> None:
    code = (
        "import builtins, os, signal, sys\n"
        "real = builtins.__import__\n"
        "def slow(name, *rest):\n"
        "    if name == 'cli.commands':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = slow\n"
        "from cli.app import main\n"
        "main()\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert process.returncode == 128 + signal.SIGINT
    assert process.stderr == process.stdout == ""


def test_completion_of_a_shell() -> None:
    variables = {
        "_METASYNC_COMPLETE": "complete_bash",
        "COMP_WORDS": "metasync d",
        "COMP_CWORD": "1",
    }
    process = subprocess.run(
        [sys.executable, "-c", _LIST],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert {"demo", "doctor"} <= set(process.stdout.split())


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(Exception, match="Set HOST to an address"):
        check_port("192.0.2.1", 8001)
