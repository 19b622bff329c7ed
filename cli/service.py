"""`metasync serve` and `metasync worker`: the service in this process.

Imported by these commands only: it takes most of a second, and the others
should not wait for it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import main_app
from api.core.logging import configure_logging
from api.services.monitoring.metrics_server import MetricsPortError
from cli.errors import CommandError
from cli.ports import check_port
from cli.secrets_file import make_private, readable_by_others
from cli.serve_processes import serve_processes
from config import ModelKeys, Settings, SettingsError
from utilities.embedded.database import EmbeddedDatabaseError
from utilities.store.schema import DatabaseError

_SCHEMES = ("mongodb://", "mongodb+srv://")
# What the driver's errors about an address, not about a server, are called.
_BAD_ADDRESS = {"InvalidURI", "ConfigurationError", "InvalidName"}
_ENV_FILE = Path(".env")


def serve(*, run_workers: bool, is_shared: bool = False) -> None:
    """Run the API, and the workers unless disabled.

    Raises:
        CommandError: it cannot run; says what to do.
    """
    with _in_plain_words():
        settings = _settings()
        if not is_shared:
            check_port(settings.host, settings.port)
        main_app.serve(
            settings,
            ModelKeys.load(),
            run_workers=run_workers,
            is_shared=is_shared,
        )


def serve_in_processes(count: int, *, run_workers: bool) -> int:
    """Run the service in several processes; return the exit status.

    Raises:
        CommandError: it cannot run; says what to do.
    """
    with _in_plain_words():
        settings = _settings()
        check_port(settings.host, settings.port)
        options = () if run_workers else ("--no-workers",)
        return serve_processes(settings, count, options)


def work() -> None:
    """Run workers without the API.

    Raises:
        CommandError: it cannot run; says what to do.
    """
    with _in_plain_words():
        settings = _settings()
        if settings.db_connection_string is None:
            raise CommandError(
                "Set DB_CONNECTION_STRING to the database of the process "
                "with the API: without a common database, a worker gets no "
                "jobs"
            )
        main_app.work(settings, ModelKeys.load())


def check_address(connection_string: str) -> None:
    """Make sure that a connection string can be MongoDB's.

    Raises:
        CommandError: it is another database's.
    """
    if not connection_string.startswith(_SCHEMES):
        raise CommandError(
            "DB_CONNECTION_STRING must begin with mongodb:// or "
            "mongodb+srv://; leave it empty for the embedded database"
        )


def _settings() -> Settings:
    settings = Settings.load()
    if settings.db_connection_string is not None:
        check_address(settings.db_connection_string.get_secret_value())
    configure_logging(settings.log_level, settings.log_format)
    _keep_private(settings.data_dir)
    if _ENV_FILE.is_file() and readable_by_others(_ENV_FILE):
        print(  # noqa: T201 - once, before the log begins
            "Warning: other users of this machine can read .env; "
            "`chmod 600 .env` (or `metasync init`) changes that",
            file=sys.stderr,
        )
    return settings


def _keep_private(data_dir: Path) -> None:
    # Prompts and answers are for this user only: the database, the spool
    # and the log are made so, and an older directory is closed. One that
    # belongs to somebody else, as a volume may, is left as it is.
    os.umask(0o077)
    if data_dir.is_dir() and data_dir.stat().st_uid == os.getuid():
        make_private(data_dir)


@contextmanager
def _in_plain_words() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if type(error.__cause__).__name__ in _BAD_ADDRESS:
            raise CommandError(
                "DB_CONNECTION_STRING is not a valid address: "
                "mongodb://USER:PASSWORD@HOST:27017/, with special "
                "characters in user and password percent-encoded"
            ) from error
        raise CommandError(str(error)) from error
    except (SettingsError, EmbeddedDatabaseError, MetricsPortError) as error:
        raise CommandError(str(error)) from error
