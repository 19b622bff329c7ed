"""What a model's calls are priced by.

Amounts are whole numbers of units inside: ten thousand million units are
one unit of the currency. A price is turned into whole numbers once, so that
pricing a call is a few multiplications, and sums are exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import product
from math import lcm
from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, is_unset

# The units of one unit of a currency: below, digits are noise.
UNITS = 10**10
_MINUTES_A_DAY = 24 * 60


# Asked for each call that has a budget.
@lru_cache(maxsize=1000)
def to_units(amount: float) -> int:
    """Turn an amount, as the decimal number it is shown as, into units."""
    return round(_exact(amount) * UNITS)


def from_units(units: int) -> float:
    """Turn units into the amount that is shown."""
    return units / UNITS


def _exact(amount: float) -> Fraction:
    return Fraction(Decimal(repr(float(amount))))


_CACHED = Field(
    description="Input read from the provider's cache; without it, the "
    "price of input.",
    exclude_if=is_unset,
)
_WRITTEN = Field(
    description="Input written to the provider's cache; without it, the "
    "price of input.",
    exclude_if=is_unset,
)
_REASONING = Field(
    description="Output tokens used for reasoning; without it, the price of "
    "output.",
    exclude_if=is_unset,
)
_TIME = Field(
    pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["16:30", "00:30"]
)


class TokenPrices(ApiModel):
    """Prices of a number of tokens, by what the tokens are."""

    input: float
    output: float
    cached_input: Annotated[float | None, _CACHED] = None
    cache_write: Annotated[float | None, _WRITTEN] = None
    reasoning: Annotated[float | None, _REASONING] = None


class LongContext(TokenPrices):
    """Prices of a call whose input has more tokens than `above`.

    They are the prices of all of the call's tokens.
    """

    above: int


class PriceBand(ApiModel):
    """Prices of calls that end in a part of the day, in UTC.

    `from` is within the band, `to` is not; a band may pass midnight. Either
    a `factor` of all other prices, or other prices of tokens.
    """

    from_: Annotated[str, _TIME, Field(alias="from")]
    to: Annotated[str, _TIME]
    factor: Annotated[float | None, Field(exclude_if=is_unset)] = None
    prices: Annotated[TokenPrices | None, Field(exclude_if=is_unset)] = None

    def holds(self, minute: int) -> bool:
        """Tell whether a minute of the day lies in the band."""
        start, end = _minute(self.from_), _minute(self.to)
        return (minute - start) % _MINUTES_A_DAY < (
            (end - start) % _MINUTES_A_DAY
        )


class Cost(TokenPrices):
    """A model's price: `input` and `output` per `tokens` tokens.

    Prices of more than these are shown only where they are set.
    """

    tokens: Annotated[
        int,
        Field(description="The number of tokens that the prices are for."),
    ]
    currency: str
    per_request: Annotated[
        float | None,
        Field(
            description="The price of a call beside its tokens; a part of "
            "`inputCost`.",
            exclude_if=is_unset,
        ),
    ] = None
    batch_discount: Annotated[
        float | None,
        Field(
            description="The part that calls of a provider's batch cost "
            "less, for example 0.5.",
            exclude_if=is_unset,
        ),
    ] = None
    long_context: Annotated[LongContext | None, Field(exclude_if=is_unset)] = (
        None
    )
    bands: Annotated[
        Sequence[PriceBand] | None,
        Field(
            description="The first that holds a call's end counts.",
            exclude_if=is_unset,
        ),
    ] = None

    @cached_property
    def table(self) -> "PriceTable":
        """The same in whole numbers; made when first needed."""
        return PriceTable.of(self)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What a call is priced by; each token counts once."""

    full_input: int
    cached_input: int
    cache_write: int
    plain_output: int
    reasoning: int

    @property
    def input(self) -> int:
        """All that was read."""
        return self.full_input + self.cached_input + self.cache_write


@dataclass(frozen=True, slots=True)
class _Rates:
    """Whole numbers: what one token, or one request, adds up to."""

    full_input: int
    cached_input: int
    cache_write: int
    plain_output: int
    reasoning: int
    request: int

    @property
    def dearest_input(self) -> int:
        return max(self.full_input, self.cached_input, self.cache_write)

    @property
    def dearest_output(self) -> int:
        return max(self.plain_output, self.reasoning)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices as whole numbers of units, over a common `scale`."""

    currency: str
    scale: int
    above: int | None
    bands: tuple[PriceBand, ...]
    # By band (the last is none), long context, batch.
    rates: Mapping[tuple[int, bool, bool], _Rates]
    # The highest of them all: of a token read, one written, and a request.
    highest: tuple[int, int, int]

    @classmethod
    def of(cls, cost: Cost) -> "PriceTable":
        """Work out every combination of a cost's prices."""
        bands = tuple(cost.bands or ())
        long = (False, True) if cost.long_context else (False,)
        exact = {
            key: _exact_rates(cost, (*bands, None)[key[0]], *key[1:])
            for key in product(range(len(bands) + 1), long, (False, True))
        }
        every = [rate for rates in exact.values() for rate in rates]
        scale = lcm(*(rate.denominator for rate in every))
        rates = [_scaled(each, scale) for each in exact.values()]
        return cls(
            cost.currency,
            scale,
            cost.long_context.above if cost.long_context else None,
            bands,
            dict(zip(exact, rates, strict=True)),
            (
                max(each.dearest_input for each in rates),
                max(each.dearest_output for each in rates),
                max(each.request for each in rates),
            ),
        )

    def price(
        self,
        counts: TokenCounts,
        *,
        requests: int = 1,
        at: float | None = None,
        is_batch: bool = False,
    ) -> tuple[int, int]:
        """Price a call that ended `at` (Unix seconds); in units.

        Returns the cost of its input, with what each request costs, and of
        its output; each is rounded once, a half to the even neighbour.
        """
        is_long = self.above is not None and counts.input > self.above
        rates = self.rates[self._band(at), is_long, is_batch]
        paid_in = (
            counts.full_input * rates.full_input
            + counts.cached_input * rates.cached_input
            + counts.cache_write * rates.cache_write
            + requests * rates.request
        )
        paid_out = (
            counts.plain_output * rates.plain_output
            + counts.reasoning * rates.reasoning
        )
        return _divided(paid_in, self.scale), _divided(paid_out, self.scale)

    def bound(self, input_tokens: int, output_tokens: int) -> int:
        """Return what a call of so many tokens costs at most, in units."""
        read, wrote, request = self.highest
        paid = input_tokens * read + output_tokens * wrote + request
        # Input and output may each be rounded up.
        return _divided(paid, self.scale) + 2

    def _band(self, at: float | None) -> int:
        if self.bands and at is not None:
            minute = int(at // 60) % _MINUTES_A_DAY
            for index, band in enumerate(self.bands):
                if band.holds(minute):
                    return index
        return len(self.bands)


def _scaled(rates: Iterable[Fraction], scale: int) -> _Rates:
    return _Rates(*(int(rate * scale) for rate in rates))


def _exact_rates(
    cost: Cost,
    band: PriceBand | None,
    is_long: bool,  # noqa: FBT001 - a key of the table
    is_batch: bool,  # noqa: FBT001 - as above
) -> tuple[Fraction, ...]:
    prices: TokenPrices = cost
    factor = Fraction(1)
    if band is not None:
        prices = band.prices or prices
        factor = _exact(1.0 if band.factor is None else band.factor)
    if is_long and cost.long_context is not None:
        prices = cost.long_context
    if is_batch and cost.batch_discount is not None:
        factor *= 1 - _exact(cost.batch_discount)
    read, wrote = prices.input, prices.output
    of_tokens = (
        _exact(price) * factor * UNITS / cost.tokens
        for price in (
            read,
            _or(prices.cached_input, read),
            _or(prices.cache_write, read),
            wrote,
            _or(prices.reasoning, wrote),
        )
    )
    of_request = _exact(_or(cost.per_request, 0.0)) * factor * UNITS
    return (*of_tokens, of_request)


def _or(price: float | None, otherwise: float) -> float:
    return otherwise if price is None else price


def _divided(paid: int, scale: int) -> int:
    whole, rest = divmod(paid, scale)
    twice = rest * 2
    if twice > scale or (twice == scale and whole & 1):
        return whole + 1
    return whole


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)
