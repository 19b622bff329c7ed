"""The commands and their help.

Each imports what it needs when it is called: `--help` and completion of a
shell should not wait for a second.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.audit_options import app as audit_commands
from cli.batch_options import batch_file
from cli.credentials_options import app as credential_commands
from cli.diff_options import diff_files
from cli.errors import CommandError
from cli.evaluate_options import evaluate_file
from cli.model_options import app as model_commands
from cli.optimize_options import optimize_file
from cli.policy_options import app as policy_commands
from cli.report_options import report_run
from cli.run_options import run_file
from cli.session import run_in_session
from cli.simulate import simulate
from cli.version import version
from cli.watch_options import list_jobs, show_log, watch
from cli.ws_handlers import list_handlers


class _Commands(TyperGroup):
    """The list of commands, without rich, which takes half a second."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - typer's
        super().__init__(*args, **kwargs)
        self.rich_markup_mode = None


app = typer.Typer(
    name="metasync",
    cls=_Commands,
    help="Run large amounts of LLM work: queue, workers, prompts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class DemoLLM(StrEnum):
    """Who answers in the demo."""

    LOCAL = "local"
    OPENAI = "openai"
    TEST = "test"


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.")
    ] = False,
) -> None:
    if show_version:
        typer.echo(f"metasync {version()}")
        raise typer.Exit


@app.command()
def init(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write.")
    ] = Path(".env"),
) -> None:
    """Write a .env with fresh random secrets, if there is none."""
    from cli import secrets_file  # noqa: PLC0415 - as the module says

    if secrets_file.ensure_secrets_file(path):
        typer.echo(f"Wrote {path} with fresh secrets (mode 0600).")
    elif missing := secrets_file.missing_secrets(path):
        raise CommandError(
            f"{path} exists and was not changed, but it does not set "
            f"{', '.join(missing)}. `metasync init FILE` writes new ones "
            "to another file, from which you can copy them"
        )
    if secrets_file.make_private(path):
        typer.echo(f"Other users could read {path}: its mode is 0600 now.")
    typer.echo(f"Admin key:  grep ADMIN_API_KEY {path}")


@app.command()
def serve(
    workers: Annotated[
        bool,
        typer.Option(help="Also run workers in this process."),
    ] = True,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            envvar="WEB_CONCURRENCY",
            help="As many processes, on one port. One uses about one core.",
        ),
    ] = 1,
    is_shared: Annotated[
        bool,
        typer.Option(
            "--shared-port",
            help="Others listen on the port, too.",
            hidden=True,
        ),
    ] = False,
    with_stdin: Annotated[
        bool,
        typer.Option(
            "--end-with-stdin", help="Exit when stdin ends.", hidden=True
        ),
    ] = False,
) -> None:
    """Run the service (the same as `python main_app.py`)."""
    from cli import service  # noqa: PLC0415 - as the module says

    if with_stdin:
        from cli.private_instance import end_with_stdin  # noqa: PLC0415 - as the module says

        end_with_stdin()
    if processes > 1 and not is_shared:
        raise typer.Exit(
            service.serve_in_processes(processes, run_workers=workers)
        )
    service.serve(run_workers=workers, is_shared=is_shared)


@app.command(hidden=True)
def instance(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where its data are.")
    ],
) -> None:
    """Run an instance for the program that has started this command.

    The Python client does so; it ends when standard input ends.
    """
    from cli.instance_command import run_instance  # noqa: PLC0415 - as the module says

    run_in_session(lambda _: run_instance(directory), "The instance ended.")


@app.command()
def worker() -> None:
    """Run workers only; the API runs in another process.

    Both need one database: set DB_CONNECTION_STRING.
    """
    from cli import service  # noqa: PLC0415 - as the module says

    service.work()


@app.command()
def proxy(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: any free port.")
    ] = 8002,
    host: Annotated[
        str, typer.Option(help="The address to listen on.")
    ] = "127.0.0.1",
    url: Annotated[
        str, typer.Option(metavar="URL", help="The running Metasync.")
    ] = "http://127.0.0.1:8001",
    connect_hosts: Annotated[
        str,
        typer.Option(
            envvar="PROXY_CONNECT_HOSTS",
            help="Hosts that CONNECT may lead to, with commas between. "
            "Their port is 443 if none is given.",
        ),
    ] = "",
) -> None:
    """Run a forward proxy: requests for providers get the models' keys.

    curl -x http://CLIENT_ID:KEY@127.0.0.1:8002 http://api.openai.com/v1/models
    """
    from cli.proxy_command import run_proxy  # noqa: PLC0415 - as the module says

    allowed = [each.strip() for each in connect_hosts.split(",")]
    run_proxy(url, host, port, [each for each in allowed if each])


app.command(name="run")(run_file)
app.command(name="diff")(diff_files)
app.command(name="batch")(batch_file)
app.command(name="evaluate")(evaluate_file)
app.command(name="optimize")(optimize_file)
app.command(name="report")(report_run)
app.command(name="jobs")(list_jobs)
app.command(name="logs")(show_log)
app.command(name="top")(watch)
app.add_typer(model_commands)
app.add_typer(credential_commands)
app.add_typer(policy_commands)
app.add_typer(audit_commands)


@app.command(name="demo")
def run_demo(
    llm: Annotated[
        DemoLLM,
        typer.Option(
            envvar="DEMO_LLM",
            help="The model: a small one on this machine, OpenAI (needs "
            "OPENAI_API_KEY), or an echo.",
        ),
    ] = DemoLLM.LOCAL,
    seed: Annotated[
        int | None,
        typer.Option(help="The same seed shows the same answers."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg", help="Also draw the output into a file."
        ),
    ] = None,
) -> None:
    """Show the whole way of a job on real input; needs no account."""
    from cli.demo import DemoOptions, run_on_terminal  # noqa: PLC0415 - as the module says

    options = DemoOptions(llm.value, seed, picture)
    raise typer.Exit(run_on_terminal(options))


@app.command(name="local-llm")
def local_llm(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: any free port.")
    ] = 8080,
    parallel: Annotated[
        int,
        typer.Option(min=1, max=64, help="Calls processed at once."),
    ] = 8,
) -> None:
    """Serve the demo's small language model, with OpenAI's interface.

    For trying things out: no account, no network. It is a base model, so
    it continues text: give it some worked examples. It answers one JSON
    object, in a stream if asked to. Only this machine can reach it.
    """
    from cli.local_llm_command import serve_local_llm  # noqa: PLC0415 - as the module says

    raise typer.Exit(serve_local_llm(port=port, parallel=parallel))


@app.command()
def doctor(
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The service to check. Default: the one at HOST and PORT of "
            "the settings, or the database itself if no service runs.",
        ),
    ] = None,
    calls: Annotated[
        bool,
        typer.Option(help="Make one small call to each model."),
    ] = True,
    call_seconds: Annotated[
        float,
        typer.Option(min=1, max=600, help="The time limit of a call."),
    ] = 20.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs.")
    ] = False,
) -> None:
    """Check a set-up and say what to do; status 1 if something fails."""
    from cli.doctor.command import DoctorOptions, examine  # noqa: PLC0415 - as the module says

    options = DoctorOptions(url, calls, call_seconds, as_json)
    raise typer.Exit(examine(options))


@app.command()
def backup(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write.")
    ],
) -> None:
    """Write all documents of the database into a file.

    The service may run meanwhile. The file fits every database; secrets
    and what waits in DATA_DIR's spool are not in it.
    """
    from cli.backup import backup as write  # noqa: PLC0415 - as the module says

    write(path)


@app.command()
def restore(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to read.")
    ],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="First remove what the database has."),
    ] = False,
) -> None:
    """Bring a backup into the database of the settings; stop Metasync first.

    The file is checked before anything is changed. A database that is not
    empty is refused.
    """
    from cli.backup import restore as read  # noqa: PLC0415 - as the module says

    read(path, replace=replace)


app.command(name="simulate")(simulate)
app.command(name="ws-handlers")(list_handlers)


def execute() -> None:
    """Run a command; expected failures are one message and status 2."""
    try:
        app()
    except CommandError as error:
        from cli.terminal import say_error  # noqa: PLC0415 - as the module says

        say_error(str(error))
        sys.exit(2)
