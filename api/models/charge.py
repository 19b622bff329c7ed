"""What calls are charged with: what the ledger adds up.

A charge stands for a number of calls to one model in one currency.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from api.models.metrics import Metrics
from utilities import payload


@dataclass(frozen=True, slots=True)
class Charge:
    """Calls to one model. Without a `currency`, they have no known cost.

    `input_tokens` includes those read from and written to the provider's
    cache, `output_tokens` those of reasoning. `units` is the cost: see
    `api.models.cost`. `credential` names the key of a model with several,
    `route` what was named in place of the model. `cached_answers` are jobs
    that needed no call, since the answer was there: see `JobIntake`.
    """

    model: str
    currency: str = ""
    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    units: int = 0
    credential: str = ""
    route: str = ""
    cached_answers: int = 0

    @classmethod
    def of_call(
        cls,
        model: str,
        used: Metrics,
        *,
        is_priced: bool,
        credential: str = "",
        route: str = "",
    ) -> Self:
        """Charge one call; its currency is that of its metrics."""
        currency = next(iter(used.currencies), "") if is_priced else ""
        return cls(
            model,
            currency,
            1,
            used.input_tokens,
            used.cached_tokens,
            used.cache_write_tokens,
            used.output_tokens,
            used.reasoning_tokens,
            used.units if is_priced else 0,
            credential,
            route,
        )

    def __add__(self, other: "Charge") -> "Charge":
        return Charge.sum_of([self, other])

    @classmethod
    def sum_of(cls, charges: Sequence[Self]) -> Self:
        """Add up charges that are for the same."""
        columns = zip(*(each.counts for each in charges), strict=True)
        asked, read, cached, written, answered, thought, units, known = map(
            sum, columns
        )
        return replace(
            charges[0],
            requests=asked,
            input_tokens=read,
            cached_tokens=cached,
            cache_write_tokens=written,
            output_tokens=answered,
            reasoning_tokens=thought,
            units=units,
            cached_answers=known,
        )

    @property
    def what(self) -> tuple[str, str, str, str]:
        """What it is for; charges for the same are added up."""
        return self.model, self.currency, self.credential, self.route

    @property
    def counts(self) -> tuple[int, ...]:
        """All of its numbers, in order."""
        return (
            self.requests,
            self.input_tokens,
            self.cached_tokens,
            self.cache_write_tokens,
            self.output_tokens,
            self.reasoning_tokens,
            self.units,
            self.cached_answers,
        )


@dataclass(slots=True)
class Bill:
    """The charges of one attempt of a job, as its calls end."""

    charges: list[Charge] = field(default_factory=list)
    # By budget, what the calls have spent of it, in units.
    spent: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.charges)

    def add(self, charge: Charge) -> None:
        """Take one more."""
        for place, before in enumerate(self.charges):
            if before.what == charge.what:
                self.charges[place] = before + charge
                return
        self.charges.append(charge)

    def spend(self, budget_id: str, units: int) -> None:
        """Take what a call has spent of a budget."""
        self.spent[budget_id] = self.spent.get(budget_id, 0) + units


@dataclass(frozen=True, slots=True)
class Posting:
    """A charge and whom it is charged to."""

    client_id: str
    operation: str
    run_id: str | None
    charge: Charge


@dataclass(frozen=True, slots=True)
class Spend:
    """What a process's calls have spent of a budget, in units."""

    budget_id: str
    process_id: str
    units: int


@dataclass(frozen=True, slots=True)
class Charged:
    """What one attempt was charged with, as its document keeps it.

    `attempt` is unique to it; `block` is the block that the ledger has
    added it with. `process_id` made the calls, which have `spent` some of
    budgets.
    """

    attempt: str
    block: str
    run_id: str | None
    charges: tuple[Charge, ...]
    process_id: str = ""
    spent: Mapping[str, int] = field(default_factory=dict)

    def postings(
        self, client_id: str, operation: str
    ) -> Iterator[Posting | Spend]:
        """Give them as the ledger takes them."""
        for budget_id, units in self.spent.items():
            yield Spend(budget_id, self.process_id, units)
        for charge in self.charges:
            yield Posting(client_id, operation, self.run_id, charge)


def dump_charged(before: str | None, new: Charged) -> str:
    """Add to the text that a document keeps."""
    row: list[object] = [
        new.attempt,
        new.block,
        new.run_id,
        # `astuple` copies deeply.
        [_row(one) for one in new.charges],
    ]
    if new.spent:
        row += [new.process_id, new.spent]
    text = payload.dump(row)
    return f"{before[:-1]},{text}]" if before else f"[{text}]"


def _row(charge: Charge) -> tuple[object, ...]:
    *counts, known = charge.counts
    row = (charge.model, charge.currency, *counts)
    seldom = (charge.credential, charge.route, known)
    return (*row, *seldom) if any(seldom) else row


def load_charged(text: str | None) -> Sequence[Charged]:
    """Read what `dump_charged` has written."""
    if text is None:
        return ()
    return [
        Charged(attempt, block, run_id, load_charges(rows), *budgets)
        for attempt, block, run_id, rows, *budgets in payload.load(text)
    ]


def load_charges(rows: Iterable[Sequence[object]]) -> tuple[Charge, ...]:
    """Read charges from rows of plain values."""
    return tuple(Charge(*row) for row in rows)  # type: ignore[arg-type] # as `dump_charged` has written them
