"""Checks the audit of the configured database."""

import asyncio
from pathlib import Path

import typer

from api.services.access.audit.audit_log import CHAINS, ENTRIES
from api.services.access.audit.chain import chain_key
from api.services.access.audit.verification import Verification, Verifier
from cli.database import (
    as_it_is_now,
    clients_of,
    in_plain_words,
    quiet_settings,
)
from config import Settings
from utilities.cosmos_connector import Documents


def verify_audit() -> int:
    """Print what a check of all chains finds; return the exit status.

    Raises:
        CommandError: the database cannot be read; says what to do.
    """
    with in_plain_words():
        settings = quiet_settings()
        with as_it_is_now(settings, Path.cwd()) as address:
            found = asyncio.run(_verify(settings, address))
    for problem in found.problems:
        typer.echo(problem)
    typer.echo(
        f"{found.entries} entries in {found.chains} chains: "
        + ("changed, see above" if found.problems else "unchanged")
    )
    return 1 if found.problems else 0


async def _verify(settings: Settings, address: str) -> Verification:
    clients = clients_of(settings, address)
    key = chain_key(settings.api_key_pepper.get_secret_value())
    try:
        return await Verifier(
            Documents(clients, ENTRIES), Documents(clients, CHAINS), key
        ).verify()
    finally:
        await clients.close()
