"""`metasync backup` and `metasync restore`."""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer

from api.core.logging import configure_logging
from cli.errors import CommandError
from cli.service import check_address
from config import VERSION, Settings, SettingsError
from main_app import database_of
from utilities.cosmos_connector import ClientManager, StoreError
from utilities.embedded.database import (
    EmbeddedDatabase,
    EmbeddedDatabaseError,
)
from utilities.embedded.snapshot import copy_databases
from utilities.private_files import make_private
from utilities.store.dump import (
    DumpError,
    Manifest,
    restore_dump,
    write_dump,
)


def backup(path: Path) -> None:
    """Write the configured database into a file.

    Raises:
        CommandError: it cannot be written; says what to do.
    """
    with _in_plain_words():
        settings = _settings()
        with _as_it_is_now(settings, path.absolute().parent) as address:
            manifest = asyncio.run(_write(settings, address, path))
    _say(f"Wrote {path}", manifest)


def restore(path: Path, *, replace: bool) -> None:
    """Bring a file's documents into the configured database.

    Raises:
        CommandError: it cannot be restored; says what to do.
    """
    with _in_plain_words():
        settings = _settings()
        if settings.db_connection_string is not None:
            check_address(settings.db_connection_string.get_secret_value())
        with database_of(settings) as address:
            manifest = asyncio.run(_restore(settings, address, path, replace))
        make_private(settings.data_dir)
    _say(f"Restored {path}", manifest)


def _settings() -> Settings:
    settings = Settings.load()
    # The result is one line; of what is on the way, only trouble is shown.
    configure_logging("WARNING", settings.log_format)
    return settings


@contextlib.contextmanager
def _as_it_is_now(settings: Settings, directory: Path) -> Iterator[str]:
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


async def _write(settings: Settings, address: str, path: Path) -> Manifest:
    clients = _clients(settings, address)
    try:
        return await write_dump(clients, path, VERSION)
    finally:
        await clients.close()


async def _restore(
    settings: Settings,
    address: str,
    path: Path,
    replace: bool,  # noqa: FBT001 - private
) -> Manifest:
    clients = _clients(settings, address)
    try:
        return await restore_dump(clients, path, replace=replace)
    finally:
        await clients.close()


def _clients(settings: Settings, address: str) -> ClientManager:
    return ClientManager(
        address, settings.db_name, settings.db_timeout_seconds
    )


def _say(what: str, manifest: Manifest) -> None:
    parts = [
        f"{member.documents} {member.collection}"
        for member in manifest.members
        if member.documents
    ]
    typer.echo(f"{what}: {manifest.documents} documents ({', '.join(parts)}).")


@contextlib.contextmanager
def _in_plain_words() -> Iterator[None]:
    try:
        yield
    except (SettingsError, EmbeddedDatabaseError, DumpError) as error:
        raise CommandError(str(error)) from error
    except StoreError as error:
        raise CommandError(
            f"The database does not answer as it should: "
            f"{type(error).__name__}. Check DB_CONNECTION_STRING"
        ) from error
