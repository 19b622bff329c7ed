"""What a call used and what it cost. The only place that computes cost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Protocol, Self

from pydantic import Field

from api.models.base import ApiModel, Text
from api.models.cost import Cost, TokenCounts, from_units, to_units

# Far above what is real, and far enough below what the store can add up.
_MOST = 10**15


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
    # In units of money: see `api.models.cost`.
    input_units: int = 0
    output_units: int = 0
    # The currencies of everything added up; one, where costs make sense.
    currencies: frozenset[str] = frozenset()
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @classmethod
    def of_usage(
        cls,
        usage: UsageCounts,
        duration: float,
        cost: Cost | None,
        *,
        requests: int = 1,
        at: float | None = None,
        is_batch: bool = False,
    ) -> Self:
        """Count and price one call; `duration` is in seconds.

        `at` is when it ended, in Unix seconds: prices may depend on it. A
        call that was not answered is no request. Numbers that no call has
        are taken as 0.
        """
        asked = _count(usage.input_tokens)
        answered = _count(usage.output_tokens)
        cached = min(_count(getattr(usage, "cached_tokens", 0)), asked)
        written = _count(getattr(usage, "cache_write_tokens", 0))
        written = min(written, asked - cached)
        reasoning = _count(getattr(usage, "reasoning_tokens", 0))
        reasoning = min(reasoning, answered)
        paid, currencies = (0, 0), frozenset[str]()
        if cost is not None:
            counts = TokenCounts(
                asked - cached - written,
                cached,
                written,
                answered - reasoning,
                reasoning,
            )
            paid = cost.table.price(
                counts, requests=requests, at=at, is_batch=is_batch
            )
            currencies = frozenset({cost.currency})
        return cls(
            asked,
            answered,
            duration,
            *paid,
            currencies,
            cached_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=reasoning,
        )

    @classmethod
    def of_call(
        cls,
        input_tokens: int,
        output_tokens: int,
        duration: float,
        cost: Cost | None,
    ) -> Self:
        """Count and price one call of which no more is known."""
        usage = _Counted(input_tokens, output_tokens)
        return cls.of_usage(usage, duration, cost)

    @property
    def units(self) -> int:
        """The whole cost, in units."""
        return self.input_units + self.output_units

    @property
    def total_cost(self) -> float:
        """The whole cost, as it is shown."""
        return from_units(self.units)

    def __add__(self, other: "Metrics") -> "Metrics":
        return Metrics(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.duration + other.duration,
            self.input_units + other.input_units,
            self.output_units + other.output_units,
            self.currencies | other.currencies,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    def dump(self) -> dict[str, Any]:
        """Give what is not 0, as JSON has it; `load` takes it back."""
        # `asdict` copies deeply, which costs more than the rest of a store.
        found: dict[str, Any] = {
            name: value for name in _NAMES if (value := getattr(self, name))
        }
        if self.currencies:
            found["currencies"] = sorted(self.currencies)
        return found

    @classmethod
    def load(cls, fields: Mapping[str, Any]) -> Self:
        """Make the metrics of which `dump` gave the fields."""
        currencies = frozenset(fields.get("currencies", ()))
        counted = {**fields, "currencies": currencies}
        for name in ("input", "output"):
            # Version 0.1 kept amounts.
            if (amount := counted.pop(f"{name}_cost", None)) is not None:
                counted[f"{name}_units"] = to_units(amount)
        return cls(**counted)

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
                "inputCost": from_units(self.input_units),
                "outputCost": from_units(self.output_units),
                "totalCost": self.total_cost,
                "currency": next(iter(self.currencies)),
            }
        return document


_NAMES = tuple(each.name for each in fields(Metrics))


@dataclass(frozen=True, slots=True)
class _Counted:
    input_tokens: int
    output_tokens: int


def add_money(*amounts: float) -> float:
    """Add amounts as the decimal numbers they are shown as."""
    return from_units(sum(map(to_units, amounts)))


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
