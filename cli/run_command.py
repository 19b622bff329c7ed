"""`metasync run`: options in, results file and exit status out."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

from filelock import FileLock, Timeout
from rich.console import Console

from cli import answer_classes, pilot, plan
from cli.display import failure_lines, summary_table
from cli.errors import CommandError, reason
from cli.input_file import Item, read_items
from cli.known_model import KnownModel, from_options, from_server
from cli.results_file import ResultsFile, Row, write_in_order
from cli.results_table import check_columns, write_results
from cli.run_page import write_page
from cli.run_session import Outcome, ask_rows
from cli.run_settings import RunOptions
from cli.service_access import given_client
from cli.terminal import say


def run(options: RunOptions, console: Console) -> int:
    """Run the file; returns the exit status.

    It is 0; 1 if a job failed, or was not asked for lack of money.

    Raises:
        CommandError: it could not be run.
    """
    _check_paths(options)
    items = read_items(
        options.sources,
        options.question,
        label_field=options.label_field,
        answer_field=options.answer_field,
        kind=options.kind,
    )
    check_columns(items, options.columns or ())
    chosen = options.cache.sampled(_chosen(items, options))
    items = options.cache.sampled(items)
    if options.plan:
        _show_plan(options, items, chosen, console)
        return 0
    with _alone(options):
        outcome = ask_rows(options, items, chosen, console)
        rows = _write(options, items, chosen, outcome)
        if not outcome.failures:
            # All is in the results file; the private data was only for
            # going on after a stop.
            shutil.rmtree(options.private_directory, ignore_errors=True)
    return _report(options, outcome, rows, console)


def _chosen(items: Sequence[Item], options: RunOptions) -> Sequence[Item]:
    """Give the items that --limit leaves."""
    if options.limit is None:
        return items
    if options.seed is None:
        return items[: options.limit]
    return pilot.sample_of(items, options.limit, str(options.seed))


def _show_plan(
    options: RunOptions,
    items: Sequence[Item],
    chosen: Sequence[Item],
    console: Console,
) -> None:
    model, budgets = _known(options)
    with ResultsFile(options.rows, items) as results:
        kept = dict(results.kept)
    found = plan.plan_of(chosen, kept, options.question, model)
    plan.show(found, console, concurrency=options.concurrency, budgets=budgets)


def _known(
    options: RunOptions,
) -> tuple[KnownModel, Sequence[Mapping[str, object]]]:
    if options.server is None:
        return from_options(options.model), []
    name = options.model.name
    with given_client(options.server) as client:
        model = from_server(client, name) or KnownModel(name, None, None)
        return model, client.get("/budgets")


def _write(
    options: RunOptions,
    items: Sequence[Item],
    chosen: Sequence[Item],
    outcome: Outcome,
) -> dict[str, Row]:
    """Write what is made of the rows at the end; returns them, by key."""
    with ResultsFile(options.rows, items) as results:
        rows = dict(results.kept)
    rows |= {row["key"]: row for row in outcome.failures}
    wanted = {item.key for item in chosen} | rows.keys()
    shown = [item for item in items if item.key in wanted]
    if options.target.is_made_at_the_end:
        write_results(
            options.target,
            shown,
            rows,
            options.columns,
            are_texts=options.form.get("responseFormat") == "text",
        )
    elif options.in_order:
        write_in_order(options.rows, shown, rows)
    if options.html is not None:
        write_page(options, shown, rows, outcome.tally)
    return rows


def _check_paths(options: RunOptions) -> None:
    options.target.check()
    out = options.out.resolve()
    if any(out == source.resolve() for source in options.sources):
        raise CommandError(
            "--out is the input itself; choose another file for the results"
        )


@contextlib.contextmanager
def _alone(options: RunOptions) -> Iterator[None]:
    """Be the only run that writes these results."""
    directory = options.private_directory
    lock = FileLock(directory / "run.lock", blocking=False)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout:
        raise CommandError(
            f"Another `metasync run` is writing {options.out}: wait for its "
            "end, or choose another --out"
        ) from None
    except OSError as error:
        raise CommandError(
            f"Cannot write {options.out}: {reason(error)}"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if [path.name for path in directory.iterdir()] == ["run.lock"]:
                shutil.rmtree(directory)
        lock.release()


def _report(
    options: RunOptions,
    outcome: Outcome,
    rows: Mapping[str, Row],
    console: Console,
) -> int:
    console.print(summary_table(outcome.tally))
    if options.label_field is not None:
        answer_classes.show(list(rows.values()), console, options.answer_field)
    for path in filter(None, (options.out, options.html)):
        name = "Results" if path == options.out else "Report"
        say(console, f"{name}: {path}")
    if outcome.failures:
        _tell_failures(outcome.failures, console)
    is_short = outcome.unasked and options.max_cost is not None
    if is_short:
        say(
            console,
            f"{outcome.unasked:,} rows were not asked: what they may cost is "
            f"more than what is left of --max-cost {options.max_cost:g}. "
            "Raise it, and the same command continues.",
        )
    return 1 if outcome.failures or is_short else 0


def _tell_failures(failures: Sequence[Row], console: Console) -> None:
    console.print(f"{len(failures):,} failed:", style="bold red")
    for line in failure_lines(failures):
        say(console, f"  {line}")
    say(
        console,
        "Run the same command again to try them once more (--skip-failed "
        "does not).",
    )
