"""`metasync report`: the page about a run, from where the run is."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from cli.data_session import private_directory, write_file
from cli.errors import CommandError
from cli.private_instance import private_instance
from cli.rest_client import RestClient
from cli.service_access import given_client


def report(
    run_id: str,
    output: Path,
    console: Console,
    *,
    server: str | None,
    data: Path | None,
) -> None:
    """Write the page about a run of a server, or about one on `data`.

    Raises:
        CommandError: there is no such run.
    """
    if (server is None) == (data is None):
        raise CommandError(
            "Give exactly one of --server URL and --data DATA: the data of a "
            "`metasync optimize` without a server"
        )
    with _given(server) if server is not None else _private(data) as api:
        page = api.text(f"/runs/{run_id}/report")
    write_file(output, page, "The report", console)


def _given(server: str) -> contextlib.AbstractContextManager[RestClient]:
    return given_client(server)


@contextlib.contextmanager
def _private(data: Path | None) -> Iterator[RestClient]:
    directory = private_directory(data or Path())
    if not directory.is_dir():
        raise CommandError(f"There is no {directory}: nothing was run there")
    with private_instance(directory, workers=False) as (_, client):
        yield client
