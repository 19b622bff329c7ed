"""What a provider would bill: kept on its own, from its own prices.

An answer is billed when it is made, whether or not it reaches its caller;
a repeated call that gets a kept answer is not billed again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from provider_simulator.values import Tokens

# Amounts are billed to this place.
_PLACE = Decimal("1e-10")
# The prices of models that have none of their own.
ANY_MODEL = "*"

Price = Annotated[Decimal, Field(ge=0, max_digits=20)]


class InvoicePrices(BaseModel):
    """Prices per `tokens` tokens; those left out are as input, or output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str = "USD"
    tokens: int = Field(default=1_000_000, gt=0)
    input: Price
    output: Price
    cached_input: Price | None = None
    cache_write: Price | None = None
    reasoning: Price | None = None
    per_request: Price = Decimal(0)

    def cost(self, used: Tokens) -> Decimal:
        """Return what one call costs: its input and output, each rounded."""
        plain = used.input - used.cached - used.cache_write
        read = self._sum(
            (plain, self.input),
            (used.cached, _or(self.cached_input, self.input)),
            (used.cache_write, _or(self.cache_write, self.input)),
        )
        wrote = self._sum(
            (used.output - used.reasoning, self.output),
            (used.reasoning, _or(self.reasoning, self.output)),
        )
        return _rounded(read + self.per_request) + _rounded(wrote)

    def _sum(self, *parts: tuple[int, Decimal]) -> Decimal:
        return sum((n * p for n, p in parts), Decimal(0)) / self.tokens


@dataclass(slots=True)
class _Line:
    requests: int = 0
    tokens: Tokens = field(default_factory=lambda: Tokens(0, 0))
    cost: dict[str, Decimal] = field(default_factory=dict)


class Invoice:
    """The lines of one invoice, by model."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def reset(self) -> None:
        """Begin anew."""
        self._lines.clear()

    def bill(
        self, model: str, used: Tokens, prices: Mapping[str, InvoicePrices]
    ) -> None:
        """Add an answer that was made; without prices, its tokens only."""
        line = self._lines.setdefault(model, _Line())
        line.requests += 1
        line.tokens = _added(line.tokens, used)
        found = prices.get(model) or prices.get(ANY_MODEL)
        if found is not None:
            before = line.cost.get(found.currency, Decimal(0))
            line.cost[found.currency] = before + found.cost(used)

    def report(self) -> dict[str, Any]:
        """Return all lines and their total; amounts are texts."""
        lines = self._lines.values()
        return {
            "total": {
                "requests": sum(line.requests for line in lines),
                "cost": _costs(line.cost for line in lines),
            },
            "models": {
                model: {
                    "requests": line.requests,
                    "input_tokens": line.tokens.input,
                    "cached_tokens": line.tokens.cached,
                    "cache_write_tokens": line.tokens.cache_write,
                    "output_tokens": line.tokens.output,
                    "reasoning_tokens": line.tokens.reasoning,
                    "cost": _costs([line.cost]),
                }
                for model, line in sorted(self._lines.items())
            },
        }


def _costs(costs: Iterable[Mapping[str, Decimal]]) -> dict[str, str]:
    total: dict[str, Decimal] = {}
    for cost in costs:
        for currency, amount in cost.items():
            total[currency] = total.get(currency, Decimal(0)) + amount
    return {currency: f"{amount:f}" for currency, amount in total.items()}


def _added(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(
        one.input + other.input,
        one.output + other.output,
        one.cached + other.cached,
        one.reasoning + other.reasoning,
        one.cache_write + other.cache_write,
    )


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(_PLACE, ROUND_HALF_EVEN)


def _or(price: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if price is None else price
