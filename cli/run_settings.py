"""What `metasync run` is to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli import setup
from cli.answers_options import WITHOUT_CACHE, CacheOptions
from cli.early_stop import DEFAULT_FAILURES
from cli.input_file import Question
from cli.input_rows import Fields, Kind
from cli.results_table import Target


@dataclass(frozen=True)
class RunOptions:
    """The options of `metasync run`."""

    sources: Sequence[Path]
    out: Path
    model: setup.ModelOptions
    prompt: str
    user: str | None = None
    is_template: bool = False
    kind: Kind | None = None
    # How the results are written, if not by the name.
    out_kind: Kind | None = None
    # The input's columns in a table of answers; None: all.
    columns: Sequence[str] | None = None
    temperature: float = 0.0
    form: Fields = field(default_factory=dict)
    concurrency: int = 50
    label_field: str | None = None
    server: str | None = None
    start_worker: bool = False
    try_other_limit_field: bool = False
    fail_fast: bool = False
    skip_failed: bool = False
    # So many failures alike, and no answer, end the run; 0: none do.
    give_up_after: int = DEFAULT_FAILURES
    plan: bool = False
    # Only so many rows: the first, or drawn at random with a seed.
    limit: int | None = None
    seed: int | None = None
    pilot: int | None = None
    yes: bool = False
    max_cost: float | None = None
    answer_field: str | None = None
    in_order: bool = False
    html: Path | None = None
    cache: CacheOptions = WITHOUT_CACHE

    @property
    def question(self) -> Question:
        """What is asked of every line."""
        return Question(
            self.model.name,
            self.model.sdk,
            self.prompt,
            self.temperature,
            self.form,
            self.user,
            self.is_template,
        )

    @property
    def rows(self) -> Path:
        """The file of rows: the results, or what their table is made of."""
        return self.target.rows

    @property
    def target(self) -> Target:
        """The results, and how they are written."""
        return Target.of(self.out, self.out_kind)

    @property
    def private_directory(self) -> Path:
        """Where a private instance keeps its data until all is done."""
        return self.out.with_name(f".{self.out.name}.metasync")
