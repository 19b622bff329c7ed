"""What a call used and what it cost. The only place that computes cost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Annotated, Any, Protocol, Self

from pydantic import Field

from api.models.base import ApiModel, Text


def _is_unset(price: float | None) -> bool:
    return price is None


class Cost(ApiModel):
    """A model's price: `input` and `output` per `tokens` tokens.

    The prices of cached input are shown only where they are set.
    """

    tokens: Annotated[
        int,
        Field(description="The number of tokens that the prices are for."),
    ]
    currency: str
    input: float
    output: float
    cached_input: Annotated[
        float | None,
        Field(
            description="Input read from the provider's cache.",
            exclude_if=_is_unset,
        ),
    ] = None
    cache_write: Annotated[
        float | None,
        Field(
            description="Input written to the provider's cache.",
            exclude_if=_is_unset,
        ),
    ] = None


# Far above what is real, and far enough below what the store can add up.
_MOST = 10**15
# Below a millionth of a cent, digits are noise.
_PLACES = Decimal("1e-10")


class UsageCounts(Protocol):
    """Tokens as a provider counted them: see `llm_sdks.base_sdk.Usage`."""

    @property
    def input_tokens(self) -> int:
        """All that was read, from a cache or not."""

    @property
    def output_tokens(self) -> int:
        """All that was written, thoughts included."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Tokens, seconds and, where a price is known, money; adds up.

    `input_tokens` includes those read from the provider's cache and those
    written to it, `output_tokens` includes `reasoning_tokens`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    duration: float = 0.0
    input_cost: float = 0.0
    output_cost: float = 0.0
    # The currencies of everything added up; one, where costs make sense.
    currencies: frozenset[str] = frozenset()
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @classmethod
    def of_usage(
        cls, usage: UsageCounts, duration: float, cost: Cost | None
    ) -> Self:
        """Count and price one call; `duration` is in seconds.

        Numbers that no call has are taken as 0.
        """
        asked = _count(usage.input_tokens)
        answered = _count(usage.output_tokens)
        cached = min(_count(getattr(usage, "cached_tokens", 0)), asked)
        written = _count(getattr(usage, "cache_write_tokens", 0))
        written = min(written, asked - cached)
        reasoning = _count(getattr(usage, "reasoning_tokens", 0))
        counted = cls(
            asked,
            answered,
            duration,
            cached_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=min(reasoning, answered),
        )
        return counted._priced(cost)

    @classmethod
    def of_call(
        cls,
        input_tokens: int,
        output_tokens: int,
        duration: float,
        cost: Cost | None,
    ) -> Self:
        """Count and price one call of which no more is known."""
        counted = cls(_count(input_tokens), _count(output_tokens), duration)
        return counted._priced(cost)

    def _priced(self, cost: Cost | None) -> Self:
        if cost is None or None in {cost.input, cost.output}:
            return self
        cached_price = getattr(cost, "cached_input", None)
        write_price = getattr(cost, "cache_write", None)
        full = self.input_tokens - self.cached_tokens - self.cache_write_tokens
        paid_in = (
            full * _exact(cost.input)
            + self.cached_tokens * _exact(cached_price, cost.input)
            + self.cache_write_tokens * _exact(write_price, cost.input)
        )
        paid_out = self.output_tokens * _exact(cost.output)
        return replace(
            self,
            input_cost=_rounded(paid_in / cost.tokens),
            output_cost=_rounded(paid_out / cost.tokens),
            currencies=frozenset({cost.currency}),
        )

    def __add__(self, other: "Metrics") -> "Metrics":
        return Metrics(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.duration + other.duration,
            add_money(self.input_cost, other.input_cost),
            add_money(self.output_cost, other.output_cost),
            self.currencies | other.currencies,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    def dump(self) -> dict[str, Any]:
        """Give every field, as JSON has it; `load` takes it back."""
        # `asdict` copies deeply, which costs more than the rest of a store.
        return {
            **{name: getattr(self, name) for name in _NAMES},
            "currencies": sorted(self.currencies),
        }

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
        details = {
            "cachedTokens": self.cached_tokens,
            "cacheWriteTokens": self.cache_write_tokens,
            "reasoningTokens": self.reasoning_tokens,
        }
        document |= {name: count for name, count in details.items() if count}
        if len(self.currencies) == 1:
            document |= {
                "inputCost": add_money(self.input_cost),
                "outputCost": add_money(self.output_cost),
                "totalCost": add_money(self.input_cost, self.output_cost),
                "currency": next(iter(self.currencies)),
            }
        return document


_NAMES = tuple(each.name for each in fields(Metrics))


def add_money(*amounts: float) -> float:
    """Add amounts as the decimal numbers they are shown as."""
    return _rounded(sum(map(_exact, amounts), Decimal(0)))


def _exact(amount: float | None, otherwise: float = 0.0) -> Decimal:
    return Decimal(repr(float(otherwise if amount is None else amount)))


def _rounded(amount: Decimal) -> float:
    # Of amounts beyond the reach of decimals, all digits count.
    return float(amount if amount > _MOST else amount.quantize(_PLACES))


def _count(tokens: object) -> int:
    # Plug-ins of others may give anything.
    if not isinstance(tokens, int) or not 0 <= tokens <= _MOST:
        return 0
    return int(tokens)


def _is_none_or_zero(value: object) -> bool:
    return not value


# Shown only if there are any.
DetailCount = Annotated[int, Field(exclude_if=_is_none_or_zero)]


class ProcessingMetrics(ApiModel):
    """Tokens, seconds and cost of every call of a job."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: Annotated[
        DetailCount,
        Field(description="Input read from the provider's cache."),
    ] = 0
    cache_write_tokens: Annotated[
        DetailCount,
        Field(description="Input written to the provider's cache."),
    ] = 0
    reasoning_tokens: Annotated[
        DetailCount, Field(description="Output tokens used for reasoning.")
    ] = 0
    duration: Annotated[float, Field(description="seconds")] = 0.0
    input_cost: float | None = None
    output_cost: float | None = None
    total_cost: Annotated[
        float | None, Field(description="Null if no price is known.")
    ] = None
    currency: str | None = None


COUNTS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


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
        name: sum(getattr(each, name) for each in used) for name in COUNTS
    }
    sums["duration"] = round(sum(each.duration for each in used), 6)
    currencies = {each.currency for each in used}
    if len(currencies) == 1 and None not in currencies:
        sums["currency"] = currencies.pop()
        for name in ("input_cost", "output_cost", "total_cost"):
            amounts = (getattr(each, name) or 0.0 for each in used)
            sums[name] = add_money(*amounts)
    return ProcessingMetrics(**sums)


_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Amount = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]


class MetricsInput(ProcessingMetrics):
    """Metrics that the owner of a job may set."""

    input_tokens: _Count = 0
    output_tokens: _Count = 0
    total_tokens: _Count = 0
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    duration: _Amount = 0.0
    input_cost: _Amount | None = None
    output_cost: _Amount | None = None
    total_cost: _Amount | None = None
    currency: Annotated[Text, Field(max_length=16)] | None = None
