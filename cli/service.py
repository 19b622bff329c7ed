"""`metasync serve` and `metasync worker`: the service in this process.

Imported by these commands only: it takes most of a second, which others
need not wait for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import main_app
from api.core.logging import configure_logging
from api.services.monitoring.metrics_server import MetricsPortError
from cli.errors import CommandError
from config import ModelKeys, Settings, SettingsError
from utilities.embedded.database import EmbeddedDatabaseError
from utilities.store.schema import DatabaseError


def serve(*, run_workers: bool) -> None:
    """Run the API, and the workers unless told otherwise.

    Raises:
        CommandError: it cannot run; says what to do.
    """
    with _in_plain_words():
        settings = _settings()
        main_app.serve(settings, ModelKeys.load(), run_workers=run_workers)


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
                "with the API: on a database of its own, a worker has "
                "nothing to do"
            )
        main_app.work(settings, ModelKeys.load())


def _settings() -> Settings:
    settings = Settings.load()
    configure_logging(settings.log_level, settings.log_format)
    return settings


@contextmanager
def _in_plain_words() -> Iterator[None]:
    try:
        yield
    except (
        SettingsError,
        EmbeddedDatabaseError,
        DatabaseError,
        MetricsPortError,
    ) as error:
        raise CommandError(str(error)) from error
