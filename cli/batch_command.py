"""`metasync batch`: a vendor's batch file in, its results out."""

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from cli import setup
from cli.batch_input import BatchInput, read_input
from cli.batch_results import Results, read_results, rewritten
from cli.batch_service import BatchApi, BatchState, batch_api, save_results
from cli.display import progress_display, summary_table
from cli.errors import CommandError, reason
from cli.model_settings import check_model, model_variables
from cli.private_instance import private_instance
from cli.rest_client import RestClient, ServerRefusedError
from cli.service_access import given_client
from cli.tally import Display, Tally
from cli.terminal import one_line, say

_FIRST_POLL, _LAST_POLL = 0.2, 2.0
_GROWTH = 1.3
_SHOWN = 20
_NOT_FOUND = 404
_GOOD = ("PROCESSED", "CONSUMED", "ERROR_CONSUMING")
_BAD = ("ERROR_PROCESSING", "CANCELED")


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """The options of `metasync batch`.

    `model` is how the models of a private instance are reached; their names
    are those in the file.
    """

    source: Path
    out: Path
    model: setup.ModelOptions
    server: str | None = None

    @property
    def directory(self) -> Path:
        """Where it is noted how far the command is."""
        return self.out.with_name(f".{self.out.name}.metasync")


@dataclass(frozen=True, slots=True)
class _Note:
    """What a stopped command leaves for the next one.

    `digest` is the input's; `batch_id` is set once the batch with the
    `key` has begun.
    """

    digest: str
    server: str | None
    key: str
    batch_id: str | None = None


def usual_sdk(source: Path) -> str:
    """Name the provider whose format a file has.

    Raises:
        CommandError: the file cannot be read.
    """
    return read_input(source).format.value


def run_batch(options: BatchOptions, console: Console) -> int:
    """Send a file, and write its results; returns the exit status.

    It is 0, or 1 if a line has no answer.

    Raises:
        CommandError: it could not be done.
    """
    if options.out.resolve() == options.source.resolve():
        raise CommandError(
            "--out is the input itself; choose another file for the results"
        )
    source = read_input(options.source)
    with _alone(options):
        return _run(options, source, console)


def _run(options: BatchOptions, source: BatchInput, console: Console) -> int:
    note = _read_note(options, source)
    known = read_results(options.out, source)
    _check_out(options, source, known, is_own=note is not None)
    if len(known.answered) == len(source.ids):
        say(
            console,
            f"Every line is answered in {options.out} already. To ask again, "
            "choose another --out.",
        )
        shutil.rmtree(options.directory, ignore_errors=True)
        return 0
    note = note or _Note(source.digest, options.server, secrets.token_hex(16))
    work = _Work(options, source, known, console)
    with _connected(options, source, console) as api:
        work.finish(api, note)
    found = read_results(options.out, source)
    return _report(options, source, found, console)


@dataclass
class _Work:
    """The lines that are open, on their way to their answers."""

    options: BatchOptions
    source: BatchInput
    known: Results
    console: Console

    def finish(self, api: RestClient, note: _Note) -> None:
        """Bring them there, from wherever an earlier command stopped.

        Raises:
            CommandError: the service does not take the file.
        """
        vendor = batch_api(self.source)
        batch_id = self._batch(api, vendor, note)
        with progress_display(self.console) as display:
            state = self._wait(api, vendor, batch_id, display)
        if state.mistakes:
            _forget_batch(self.options, note)
            raise CommandError(_refused(self.options.source, state))
        answered = self.known.answered
        with rewritten(
            self.options.out, answered.__contains__, self.source
        ) as target:
            save_results(api, state, target)
        _forget_batch(self.options, note)

    def _batch(self, api: RestClient, vendor: BatchApi, note: _Note) -> str:
        """Return the id of the batch; begin it, if that is to be done."""
        begun = note.batch_id
        if begun is not None:
            if _is_there(api, vendor, begun):
                say(self.console, f"Going on with {begun}.")
                return begun
            note = _Note(note.digest, note.server, secrets.token_hex(16))
        _write_note(self.options, note)
        content = self.options.directory / "input.jsonl"
        self.source.write_open(self.known.answered, content)
        try:
            batch_id = vendor.begin(api, content, note.key)
        finally:
            content.unlink(missing_ok=True)
        _write_note(self.options, replace(note, batch_id=batch_id))
        return batch_id

    def _wait(
        self,
        api: RestClient,
        vendor: BatchApi,
        batch_id: str,
        display: Display,
    ) -> BatchState:
        pause, began = _FIRST_POLL, time.monotonic()
        while True:
            state = vendor.state(api, batch_id)
            summary = api.get(
                "/jobs/summary", batchKey=vendor.job_key(batch_id)
            )
            display.update(self._tally(summary, time.monotonic() - began))
            if state.has_ended:
                return state
            time.sleep(pause)
            pause = min(pause * _GROWTH, _LAST_POLL)

    def _tally(self, summary: Mapping[str, object], seconds: float) -> Tally:
        kept = len(self.known.answered)
        metrics = summary["processingMetrics"]
        used = metrics if isinstance(metrics, dict) else {}
        return Tally(
            total=len(self.source.ids),
            answered=kept + _count(summary, _GOOD),
            failed=_count(summary, _BAD),
            kept=kept,
            input_tokens=int(used.get("inputTokens") or 0),
            output_tokens=int(used.get("outputTokens") or 0),
            seconds=seconds,
        )


def _is_there(api: RestClient, vendor: BatchApi, batch_id: str) -> bool:
    try:
        vendor.state(api, batch_id)
    except ServerRefusedError as error:
        if error.status != _NOT_FOUND:
            raise
        return False
    return True


def _count(summary: Mapping[str, object], names: tuple[str, ...]) -> int:
    return sum(int(str(summary.get(name) or 0)) for name in names)


def _refused(source: Path, state: BatchState) -> str:
    shown = [f"  {one_line(each)}" for each in state.mistakes[:_SHOWN]]
    if more := len(state.mistakes) - len(shown):
        shown.append(f"  and {more:,} more")
    return "\n".join([f"{source} cannot be run:", *shown])


def _check_out(
    options: BatchOptions, source: BatchInput, known: Results, *, is_own: bool
) -> None:
    """Refuse to write over results of something else.

    Raises:
        CommandError: the file for the results has such.
    """
    if known.foreign:
        raise CommandError(
            f"{options.out} has results of other lines than those of "
            f"{options.source}; choose another --out"
        )
    is_whole = len(known.answered) == len(source.ids)
    if options.out.exists() and not is_own and not is_whole:
        raise CommandError(
            f"{options.out} is there already; choose another --out"
        )


@contextlib.contextmanager
def _connected(
    options: BatchOptions, source: BatchInput, console: Console
) -> Iterator[RestClient]:
    """Yield the client of a service that has the models."""
    if options.server is not None:
        with given_client(options.server) as client:
            if len(source.models) == 1:
                check_model(client, next(iter(source.models)))
            with _told_of_the_rest(console):
                yield client
        return
    instance = private_instance(
        options.directory, model_variables(options.model)
    )
    with contextlib.ExitStack() as stack:
        with console.status("Starting a private instance of the service"):
            admin, client = stack.enter_context(instance)
            for name in sorted(source.models):
                model = replace(options.model, name=name, deployment=name)
                setup.ensure_model(admin, model)
        yield client


@contextlib.contextmanager
def _told_of_the_rest(console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(console, "The server continues with the batch.")
        raise


@contextlib.contextmanager
def _alone(options: BatchOptions) -> Iterator[None]:
    """Be the only command that writes these results."""
    directory = options.directory
    lock = FileLock(directory / "run.lock", blocking=False)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout:
        raise CommandError(
            f"Another `metasync batch` is writing {options.out}: wait for its "
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


def _read_note(options: BatchOptions, source: BatchInput) -> _Note | None:
    """Return what an earlier command has left.

    Raises:
        CommandError: it was about another input, or another server.
    """
    try:
        text = _note_file(options).read_text(encoding="utf-8")
        note = _Note(**json.loads(text))
    except (OSError, ValueError, TypeError):
        return None
    if note.digest != source.digest:
        raise CommandError(
            f"{options.source} has changed since the results in "
            f"{options.out} were begun; choose another --out"
        )
    if note.batch_id is not None and note.server != options.server:
        raise CommandError(
            "The batch of an earlier command is on "
            f"{note.server or 'a private instance'}; give the same --server"
        )
    return replace(note, server=options.server)


def _write_note(options: BatchOptions, note: _Note) -> None:
    _note_file(options).write_text(json.dumps(asdict(note)), encoding="utf-8")


def _forget_batch(options: BatchOptions, note: _Note) -> None:
    """Keep that the results are this command's; the batch has ended."""
    fresh = replace(note, batch_id=None, key=secrets.token_hex(16))
    _write_note(options, fresh)


def _note_file(options: BatchOptions) -> Path:
    return options.directory / "batch.json"


def _report(
    options: BatchOptions,
    source: BatchInput,
    found: Results,
    console: Console,
) -> int:
    total, answered = len(source.ids), len(found.answered)
    tally = Tally(total=total, answered=answered, failed=total - answered)
    console.print(summary_table(tally))
    say(console, f"Results: {options.out}")
    if answered == total:
        shutil.rmtree(options.directory, ignore_errors=True)
        return 0
    console.print(f"{total - answered:,} failed:", style="bold red")
    for custom_id, why in list(found.failed.items())[:_SHOWN]:
        name = one_line(custom_id)
        say(console, f"  line {source.ids[custom_id]} ({name}): {why}")
    if (more := len(found.failed) - _SHOWN) > 0:
        say(console, f"  and {more:,} more")
    say(console, "Run the same command again to try them once more.")
    return 1
