"""The server of `metasync run`: a private instance, or a running one."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rich.console import Console

from cli import setup
from cli.model_settings import check_model, model_variables
from cli.private_instance import private_instance
from cli.rest_client import RestClient
from cli.run_settings import RunOptions
from cli.service_access import given_client
from cli.terminal import say

# Workers read a model again after a shorter time.
_MODEL_CHANGE_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class RunServer:
    """A server that is ready for the run.

    `use_old_limit_field` changes the model, where that is the command's.
    """

    api: RestClient
    use_old_limit_field: Callable[[], None] | None = None


@contextlib.contextmanager
def private_server(
    options: RunOptions, console: Console
) -> Iterator[RunServer]:
    """Yield a service of the command's own, with the model and a worker."""
    instance = private_instance(
        options.private_directory, model_variables(options.model)
    )
    with contextlib.ExitStack() as stack:
        with console.status("Starting a private instance of the service"):
            admin, client = stack.enter_context(instance)
            setup.ensure_model(admin, options.model)
            setup.resume_model(admin, options.model.name)
            setup.ensure_worker(client, options.concurrency)

        def use_old_limit_field() -> None:
            model = replace(options.model, old_limit_field=True)
            setup.ensure_model(admin, model)
            time.sleep(_MODEL_CHANGE_SECONDS)

        change = use_old_limit_field if options.try_other_limit_field else None
        with _last_word("Stopping; waiting for running calls ...", console):
            yield RunServer(client, change)


@contextlib.contextmanager
def given_server(options: RunOptions, console: Console) -> Iterator[RunServer]:
    """Yield the running service that --server names.

    Raises:
        CommandError: it has no such model, or no worker for it.
    """
    with given_client(str(options.server)) as client:
        check_model(client, options.model.name)
        if options.start_worker:
            setup.ensure_worker(client, options.concurrency)
        else:
            setup.check_worker(client, options.model.name)
        with _last_word("The server continues with its jobs.", console):
            yield RunServer(client)


@contextlib.contextmanager
def _last_word(text: str, console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(console, text)
        raise
