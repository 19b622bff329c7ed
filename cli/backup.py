"""`metasync backup` and `metasync restore`."""

import asyncio
from pathlib import Path

import typer

from cli.database import (
    as_it_is_now,
    clients_of,
    in_plain_words,
    quiet_settings,
)
from cli.service import check_address
from config import VERSION, Settings
from main_app import database_of
from utilities.private_files import make_private
from utilities.store.dump import Manifest, restore_dump, write_dump


def backup(path: Path) -> None:
    """Write the configured database into a file.

    Raises:
        CommandError: it cannot be written; says what to do.
    """
    with in_plain_words():
        settings = quiet_settings()
        with as_it_is_now(settings, path.absolute().parent) as address:
            manifest = asyncio.run(_write(settings, address, path))
    _say(f"Wrote {path}", manifest)


def restore(path: Path, *, replace: bool) -> None:
    """Bring a file's documents into the configured database.

    Raises:
        CommandError: it cannot be restored; says what to do.
    """
    with in_plain_words():
        settings = quiet_settings()
        if settings.db_connection_string is not None:
            check_address(settings.db_connection_string.get_secret_value())
        with database_of(settings) as address:
            manifest = asyncio.run(_restore(settings, address, path, replace))
        make_private(settings.data_dir)
    _say(f"Restored {path}", manifest)


async def _write(settings: Settings, address: str, path: Path) -> Manifest:
    clients = clients_of(settings, address)
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
    clients = clients_of(settings, address)
    try:
        return await restore_dump(clients, path, replace=replace)
    finally:
        await clients.close()


def _say(what: str, manifest: Manifest) -> None:
    parts = [
        f"{member.documents} {member.collection}"
        for member in manifest.members
        if member.documents
    ]
    typer.echo(f"{what}: {manifest.documents} documents ({', '.join(parts)}).")
