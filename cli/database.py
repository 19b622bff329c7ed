"""The configured database, for commands that read or write it themselves."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from api.core.logging import configure_logging
from cli.errors import CommandError
from cli.service import check_address
from config import Settings, SettingsError
from utilities.cosmos_connector import ClientManager, StoreError
from utilities.embedded.database import (
    EmbeddedDatabase,
    EmbeddedDatabaseError,
)
from utilities.embedded.snapshot import copy_databases
from utilities.store.dump import DumpError


def quiet_settings() -> Settings:
    """Read the settings, and show only trouble in the log.

    Raises:
        SettingsError: they are not valid.
    """
    settings = Settings.load()
    # The result is one line; of what is on the way, only trouble is shown.
    configure_logging("WARNING", settings.log_format)
    return settings


@contextlib.contextmanager
def as_it_is_now(settings: Settings, directory: Path) -> Iterator[str]:
    """Give the address of the server, or of a copy of the embedded one."""
    if settings.db_connection_string is not None:
        address = settings.db_connection_string.get_secret_value()
        check_address(address)
        yield address
        return
    if not directory.is_dir():
        raise CommandError(f"There is no directory {directory}")
    with tempfile.TemporaryDirectory(
        prefix=".metasync-backup-", dir=directory
    ) as copy:
        copy_databases(settings.data_dir, Path(copy))
        with EmbeddedDatabase(Path(copy)) as database:
            yield database.connection_string


def clients_of(settings: Settings, address: str) -> ClientManager:
    """Give the way to the database of the settings."""
    return ClientManager(
        address, settings.db_name, settings.db_timeout_seconds
    )


@contextlib.contextmanager
def in_plain_words() -> Iterator[None]:
    """Turn expected failures of the block into messages for people.

    Raises:
        CommandError: says what to do.
    """
    try:
        yield
    except (SettingsError, EmbeddedDatabaseError, DumpError) as error:
        raise CommandError(str(error)) from error
    except StoreError as error:
        raise CommandError(
            f"The database does not answer as it should: "
            f"{type(error).__name__}. Check DB_CONNECTION_STRING"
        ) from error
