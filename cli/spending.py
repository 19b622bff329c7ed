"""What a run may cost at most: `--max-cost`."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.models.cost import Cost, from_units, to_units
from cli.errors import CommandError
from cli.input_file import Item
from cli.rest_client import Json

# As the service reserves them: roles, and a schema's frame.
_OVERHEAD_TOKENS = 500
# The output of a model without a limit of its own.
_MOST_OUTPUT_TOKENS = 128_000
# A job whose answers cannot be used is started so often at most.
_ATTEMPTS = 5
# What a model is told of an answer that cannot be used, in tokens.
_DEFECT_TOKENS = 3000


@dataclass(frozen=True, slots=True)
class CallPrice:
    """What calls of one model cost; `output_tokens` bounds an answer."""

    cost: Cost
    output_tokens: int = _MOST_OUTPUT_TOKENS

    def bound(self, input_bytes: int, answers: int = 0) -> int:
        """Return what a call costs at most, in units.

        A token has at least one byte. `answers` is how many of the model's
        own answers it is shown again.
        """
        again = answers * (self.output_tokens + _DEFECT_TOKENS)
        read = input_bytes + _OVERHEAD_TOKENS + again
        return self.cost.table.bound(read, self.output_tokens)


def price_of(
    model: Json, cost: Cost | None, output_tokens: int | None = None
) -> CallPrice | None:
    """Give the price of a model as a server describes it, if known."""
    if cost is None:
        return None
    limit = model.get("maxCompletionToken") or model.get("maxToken")
    return CallPrice(cost, output_tokens or limit or _MOST_OUTPUT_TOKENS)


class Spending:
    """Keeps what is spent, and what open jobs may still cost, in bounds.

    A row is asked while all rows that are open, at the most that they may
    cost, leave enough. Only the last row, alone, may pass the amount: by
    its further attempts, if its answers cannot be used.
    """

    def __init__(
        self,
        most: float,
        prices: Sequence[CallPrice],
        *,
        prompt_bytes: int,
        reasks: int = 0,
    ) -> None:
        """Take the amount, and the models that a row may be asked of.

        Raises:
            CommandError: their prices are in several currencies.
        """
        currencies = sorted({each.cost.currency for each in prices})
        if len(currencies) != 1:
            raise CommandError(
                "--max-cost needs prices in one currency; the models have "
                f"{', '.join(currencies) or 'none'}"
            )
        self.currency = currencies[0]
        self.most = most
        self._left = to_units(most)
        self._prices = prices
        self._prompt_bytes = prompt_bytes
        self._reasks = reasks
        self._open: dict[str, int] = {}

    def spend(self, cost: float) -> None:
        """Count what a row has cost."""
        self._left -= to_units(cost)

    def begin(self, item: Item) -> bool:
        """Let an item be asked, if what is left suffices."""
        most = self._most(item)
        reserved = sum(self._open.values())
        fits = reserved + most <= self._left
        if not fits and not (not self._open and self._one(item) <= self._left):
            return False
        self._open[item.key] = most
        return True

    def end(self, item: Item) -> None:
        """Free what an item has reserved: it has ended."""
        self._open.pop(item.key, None)

    @property
    def left(self) -> float:
        """What is left of the amount."""
        return from_units(self._left)

    def first_call(self, item: Item) -> float:
        """Return what one call for an item costs at most."""
        return from_units(self._one(item))

    def _one(self, item: Item) -> int:
        size = self._prompt_bytes + item.size
        return max(price.bound(size) for price in self._prices)

    def _most(self, item: Item) -> int:
        size = self._prompt_bytes + item.size
        asks = range(self._reasks + 1)
        return _ATTEMPTS * sum(
            price.bound(size, number)
            for price in self._prices
            for number in asks
        )
