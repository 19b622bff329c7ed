"""A progress bar, in terminals and in notebooks."""

import sys
from typing import Any

from tqdm.auto import tqdm

from metasync.results import Result


def is_watched() -> bool:
    """Tell whether somebody looks: at a terminal, or at a notebook."""
    return "ipykernel" in sys.modules or sys.stderr.isatty()


class Progress:
    """Counts rows, failures and money; shows them if `shown`."""

    def __init__(self, total: int | None, *, shown: bool | None) -> None:
        """`shown`: None shows them if somebody looks."""
        self.ended = 0
        self.failed = 0
        self.cost = 0.0
        self.currency: str | None = None
        shown = is_watched() if shown is None else shown
        self._bar: tqdm[Any] | None = None
        if shown:
            self._bar = tqdm(total=total, unit="row", dynamic_ncols=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def add(self, result: Result[Any]) -> None:
        """Count one more row."""
        self.ended += 1
        self.failed += not result.ok
        self.cost += result.cost or 0.0
        self.currency = result.currency or self.currency
        if self._bar is not None:
            self._bar.set_postfix(self._told(), refresh=False)
            self._bar.update()

    def tell(self, trouble: str) -> None:
        """Say why nothing comes."""
        if self._bar is not None:
            self._bar.write(trouble, file=sys.stderr)

    def _told(self) -> dict[str, str]:
        told = {}
        if self.failed:
            told["failed"] = str(self.failed)
        if self.cost:
            told["cost"] = f"{self.cost:.4g} {self.currency or ''}".rstrip()
        return told
