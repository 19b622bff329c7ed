"""What a call used and what it cost. The only place that computes cost."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self

from pydantic import Field

from api.models.base import ApiModel, Text


class Cost(ApiModel):
    """A model's price: `input` and `output` per `tokens` tokens."""

    tokens: Annotated[
        int, Field(description="So many tokens cost `input` or `output`.")
    ]
    currency: str
    input: float
    output: float
    cached_input: Annotated[
        float | None,
        Field(description="Input read from the provider's cache."),
    ] = None
    cache_write: Annotated[
        float | None,
        Field(description="Input written to the provider's cache."),
    ] = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Tokens, seconds and, where a price is known, money; adds up."""

    input_tokens: int = 0
    output_tokens: int = 0
    duration: float = 0.0
    input_cost: float = 0.0
    output_cost: float = 0.0
    # The currencies of everything added up; one, where costs make sense.
    currencies: frozenset[str] = frozenset()

    @classmethod
    def of_call(
        cls,
        input_tokens: int,
        output_tokens: int,
        duration: float,
        cost: Cost | None,
    ) -> Self:
        """Count and price one call; `duration` is in seconds."""
        if cost is None:
            return cls(input_tokens, output_tokens, duration)
        return cls(
            input_tokens,
            output_tokens,
            duration,
            input_tokens / cost.tokens * cost.input,
            output_tokens / cost.tokens * cost.output,
            frozenset({cost.currency}),
        )

    def __add__(self, other: "Metrics") -> "Metrics":
        return Metrics(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.duration + other.duration,
            self.input_cost + other.input_cost,
            self.output_cost + other.output_cost,
            self.currencies | other.currencies,
        )

    def dump(self) -> dict[str, Any]:
        """Give every field, as JSON has it; `load` takes it back."""
        return asdict(self) | {"currencies": sorted(self.currencies)}

    @classmethod
    def load(cls, fields: Mapping[str, Any]) -> Self:
        """Make the metrics of which `dump` gave the fields."""
        currencies = frozenset(fields["currencies"])
        return cls(**{**fields, "currencies": currencies})

    def to_document(self) -> dict[str, int | float | str]:
        """Give the fields as stored; costs only in a single currency."""
        document: dict[str, int | float | str] = {
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            "totalTokens": self.input_tokens + self.output_tokens,
            "duration": round(self.duration, 6),
        }
        if len(self.currencies) == 1:
            document |= {
                "inputCost": _money(self.input_cost),
                "outputCost": _money(self.output_cost),
                "totalCost": _money(self.input_cost + self.output_cost),
                "currency": next(iter(self.currencies)),
            }
        return document


def _money(amount: float) -> float:
    # Below a millionth of a cent, digits are noise of the arithmetic.
    return round(amount, 10)


class ProcessingMetrics(ApiModel):
    """Tokens, seconds and cost of every call of a job."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    duration: Annotated[float, Field(description="seconds")] = 0.0
    input_cost: float | None = None
    output_cost: float | None = None
    total_cost: Annotated[
        float | None, Field(description="Null where no price is known.")
    ] = None
    currency: str | None = None


def add_up(metrics: Iterable[ProcessingMetrics | None]) -> ProcessingMetrics:
    """Sum what several jobs used; costs only in a single currency.

    Sums can be summed: one of several currencies has none, and so has
    whatever it is added to.
    """
    used = [
        each
        for each in metrics
        if each is not None and (each.duration or each.total_tokens)
    ]
    sums: dict[str, Any] = {
        name: sum(getattr(each, name) for each in used)
        for name in ("input_tokens", "output_tokens", "total_tokens")
    }
    sums["duration"] = round(sum(each.duration for each in used), 6)
    currencies = {each.currency for each in used}
    if len(currencies) == 1 and None not in currencies:
        sums["currency"] = currencies.pop()
        for name in ("input_cost", "output_cost", "total_cost"):
            amounts = (getattr(each, name) or 0.0 for each in used)
            sums[name] = _money(sum(amounts))
    return ProcessingMetrics(**sums)


# Far above what is real, and far enough below what the store can add up.
_MOST = 10**15
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Amount = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]


class MetricsInput(ProcessingMetrics):
    """Metrics as the owner of a job may set them."""

    input_tokens: _Count = 0
    output_tokens: _Count = 0
    total_tokens: _Count = 0
    duration: _Amount = 0.0
    input_cost: _Amount | None = None
    output_cost: _Amount | None = None
    total_cost: _Amount | None = None
    currency: Annotated[Text, Field(max_length=16)] | None = None
