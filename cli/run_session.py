"""Asks the rows of a run: a pilot first, if wanted, then the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from cli import pilot, setup
from cli.answers_memory import take_known
from cli.answers_options import run_salt
from cli.batch_run import BatchRun, RunRules
from cli.display import progress_display
from cli.early_stop import AllFailAlikeError, EarlyStop
from cli.errors import CommandError
from cli.input_file import Item
from cli.job_requests import JobRequests
from cli.known_model import KnownModel, from_options, from_server
from cli.results_file import ResultsFile, Row
from cli.run_server import RunServer, given_server, private_server
from cli.run_settings import RunOptions
from cli.spending import CallPrice, Spending
from cli.tally import Tally, tally_of_kept
from cli.terminal import say
from utilities import payload

_LIMIT_FIELD = "max_completion_tokens"
_BAD_REQUEST = (400, 422)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run has ended.

    `unasked` counts the rows for which the money did not suffice, or that
    were not agreed to after a pilot.
    """

    tally: Tally
    failures: Sequence[Row]
    unasked: int = 0


def ask_rows(
    options: RunOptions,
    items: Sequence[Item],
    chosen: Sequence[Item],
    console: Console,
) -> Outcome:
    """Ask the chosen items that have no answer yet.

    Raises:
        CommandError: they cannot be asked, or all fail alike.
    """
    with ResultsFile(options.rows, items) as results:
        if all(item.key in results.kept for item in chosen):
            say(
                console,
                f"Every line is answered in {options.out} already. To ask "
                "again, choose another --out.",
            )
            _open(results, console)
            return Outcome(tally_of_kept(chosen, results), [])
    connect = private_server if options.server is None else given_server
    with connect(options, console) as server:
        asking = _Asking(options, items, server, console)
        if options.pilot is None:
            return asking.ask(chosen)
        return asking.pilot_first(chosen, options.pilot)


class _Asking:
    """A run on its server."""

    def __init__(
        self,
        options: RunOptions,
        items: Sequence[Item],
        server: RunServer,
        console: Console,
    ) -> None:
        self._options = options
        self._items = items
        self._server = server
        self._console = console
        system = options.question.system
        self._prompt_id = (
            setup.ensure_prompt(server.api, system) if system else ""
        )
        self._is_changed = False
        self._prices = (
            _prices(options, server) if options.max_cost is not None else []
        )

    def pilot_first(self, chosen: Sequence[Item], count: int) -> Outcome:
        """Ask a sample; then the rest, if that is agreed."""
        sample = pilot.sample_of(chosen, count, self._requests().run_id)
        before = self.ask(sample)
        rows, rest = self._rows(sample, before), self._left(chosen)
        result = pilot.judge(
            rows, len(rest), concurrency=self._options.concurrency
        )
        by_key = {item.key: item for item in sample}
        pilot.show(result, rows, by_key, self._console)
        agreed = not before.unasked and pilot.goes_on(
            result,
            self._console,
            is_agreed=self._options.yes,
            max_cost=self._options.max_cost,
        )
        if agreed and rest:
            failed = {row["key"] for row in before.failures}
            again = [item for item in chosen if item.key not in failed]
            after = self.ask(again)
            return self._joined(chosen, before, after)
        return replace(before, unasked=len(rest))

    def ask(self, items: Sequence[Item]) -> Outcome:
        """Ask items; once more, where a field's name was refused."""
        try:
            outcome = self._ask_once(items)
            failures = outcome.failures
        except AllFailAlikeError as error:
            outcome, failures = None, error.rows
            if not self._may_change(failures):
                raise
        if outcome is not None and not self._may_change(failures):
            return outcome
        self._change()
        return self._ask_once(items)

    def _ask_once(self, items: Sequence[Item]) -> Outcome:
        options, requests = self._options, self._requests()
        with ResultsFile(options.rows, self._items) as results:
            _open(results, self._console)
            if options.cache.takes_answers:
                take_known(
                    self._server.api, requests, items, results, self._console
                )
            with progress_display(self._console) as display:
                batch = BatchRun(
                    self._server.api,
                    options.question,
                    self._prompt_id,
                    results,
                    display,
                    requests=requests,
                    rules=self._rules(items),
                )
                tally, failures = batch.execute(items)
        return Outcome(tally, failures, tally.total - tally.ended)

    def _requests(self) -> JobRequests:
        options = self._options
        return JobRequests(
            options.question,
            self._prompt_id,
            options.cache,
            run_salt(options.private_directory),
        )

    def _rules(self, items: Sequence[Item]) -> RunRules:
        options = self._options
        return RunRules(
            fail_fast=options.fail_fast,
            skip_failed=options.skip_failed,
            early_stop=EarlyStop(options.give_up_after),
            spending=self._spending(items),
        )

    def _spending(self, items: Sequence[Item]) -> Spending | None:
        options = self._options
        if options.max_cost is None:
            return None
        texts = [options.prompt, options.user or ""]
        asked = "".join([*texts, payload.dump(options.form)])
        retry = options.form.get("retryOnInvalid") or {}
        spending = Spending(
            options.max_cost,
            self._prices,
            prompt_bytes=len(asked.encode()),
            reasks=retry.get("maxReasks", 0),
        )
        _check_first(spending, items)
        return spending

    def _may_change(self, failures: Sequence[Row]) -> bool:
        can = self._server.use_old_limit_field is not None
        return can and not self._is_changed and limit_field_refused(failures)

    def _change(self) -> None:
        say(
            self._console,
            f"The provider may not support `{_LIMIT_FIELD}`: next try with "
            "`max_tokens`. (--max-tokens-field max_tokens uses it at once.)",
        )
        assert self._server.use_old_limit_field is not None  # noqa: S101 - as _may_change says
        self._server.use_old_limit_field()
        self._is_changed = True

    def _kept(self) -> dict[str, Row]:
        with ResultsFile(self._options.rows, self._items) as results:
            return dict(results.kept)

    def _rows(self, items: Sequence[Item], outcome: Outcome) -> list[Row]:
        kept = self._kept()
        failed = {row["key"]: row for row in outcome.failures}
        found = kept | failed
        return [found[each.key] for each in items if each.key in found]

    def _left(self, items: Sequence[Item]) -> list[Item]:
        kept = self._kept()
        return [item for item in items if item.key not in kept]

    def _joined(
        self, chosen: Sequence[Item], before: Outcome, after: Outcome
    ) -> Outcome:
        tally = after.tally
        for row in before.failures:
            tally = tally.with_row(row)
        tally = replace(tally, total=len(chosen))
        failures = [*before.failures, *after.failures]
        return Outcome(tally, failures, after.unasked)


def limit_field_refused(failures: Sequence[Row]) -> bool:
    """Tell whether calls failed for the name of the token limit's field.

    Some servers know `max_tokens` only. Their refusal names the field, or
    says nothing but its status.
    """
    errors = [row.get("error") or {} for row in failures]
    refused = [e for e in errors if e.get("httpStatus") in _BAD_REQUEST]
    if any(_LIMIT_FIELD in str(error.get("message")) for error in refused):
        return True
    says_nothing = [
        error
        for error in refused
        if error.get("message") == f"HTTP {error['httpStatus']}"
    ]
    return bool(errors) and len(says_nothing) == len(errors)


def _open(results: ResultsFile, console: Console) -> None:
    if moved := results.open():
        say(
            console,
            f"{moved:,} answers to other lines or to another question were "
            f"moved to {results.earlier}.",
        )


def _prices(options: RunOptions, server: RunServer) -> list[CallPrice]:
    """Give the prices of all models that a row may be asked of.

    Raises:
        CommandError: one is not known: the amount could not be kept.
    """
    ladder = (options.form.get("retryOnInvalid") or {}).get("ladder", [])
    names = [options.model.name, *ladder]
    found: list[KnownModel | None] = (
        [from_options(options.model)]
        if options.server is None
        else [from_server(server.api, name) for name in names]
    )
    prices = [each.price for each in found if each is not None and each.price]
    if len(prices) < len(found):
        raise CommandError(
            "--max-cost needs the price of every model that is asked: give "
            "--input-price and --output-price, or set the model's cost on "
            "the server. A route has no price of its own"
        )
    return prices


def _check_first(spending: Spending, items: Sequence[Item]) -> None:
    dearest = max(map(spending.first_call, items), default=0.0)
    if dearest > spending.most:
        raise CommandError(
            f"--max-cost {spending.most:g} {spending.currency} does not "
            f"suffice for one row, which may cost {dearest:.6f} at most. "
            "Raise it, or lower --max-tokens"
        )
