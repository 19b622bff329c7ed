"""What a run has to do with earlier answers: its options."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, reason

if TYPE_CHECKING:
    from cli.input_file import Item

_MOST_SAMPLES = 1000
_RUN_FILE = "run.id"

Cache = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache",
        help="Take earlier answers to the same questions, also of other "
        "files and programs.",
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Ask anew; the new answers take the place of earlier ones.",
    ),
]
Samples = Annotated[
    int,
    typer.Option(
        min=1,
        max=_MOST_SAMPLES,
        help="So many independent answers to each row.",
    ),
]


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Whether earlier answers are taken, and how many each row gets."""

    mode: str = "use"
    samples: int = 1

    @property
    def takes_answers(self) -> bool:
        """Whether earlier answers are taken."""
        return self.mode == "use"

    def fields(self, sample: int | None) -> dict[str, Any]:
        """Give the fields of a job."""
        if self.mode == "off":
            return {}
        return {"cache": self.mode, **({"sample": sample} if sample else {})}

    def sampled(self, items: "Sequence[Item]") -> "list[Item]":
        """Give each item as often as it is to be asked."""
        if self.samples == 1:
            return list(items)
        return [
            replace(item, sample=n, key=_sample_key(item.key, n))
            for item in items
            for n in range(self.samples)
        ]


WITHOUT_CACHE = CacheOptions("off")


def cache_options(*, cache: bool, fresh: bool, samples: int) -> CacheOptions:
    """Read the options.

    Raises:
        CommandError: they do not go together.
    """
    if fresh and not cache:
        raise CommandError("Give only one of --fresh and --no-cache")
    mode = "fresh" if fresh else "use" if cache else "off"
    return CacheOptions(mode, samples)


def run_salt(directory: Path) -> str:
    """Return what is the same for a run that is continued after a stop.

    Another run's jobs are others: whether they may take the answers of
    earlier ones is for the cache to say.

    Raises:
        CommandError: it cannot be kept.
    """
    path = directory / _RUN_FILE
    try:
        if not path.exists():
            path.write_text(secrets.token_hex(8), encoding="ascii")
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot use {path}: {reason(error)}") from None


def _sample_key(key: str, sample: int) -> str:
    if sample == 0:
        return key
    return hashlib.sha256(f"{key}/{sample}".encode()).hexdigest()[:40]
