"""The published price of a known model, where its owner has given none.

The prices come with the package `genai-prices`; nothing is fetched.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from api.models.cost import Cost, LongContext, PriceBand, TokenPrices

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice

# Whose prices hold for a plug-in that is used without an `endpoint`.
_PROVIDERS: Mapping[str, str] = {
    "OpenAI": "openai",
    "Anthropic": "anthropic",
    "Gemini": "google",
}
# Its endpoints are its customers' own.
_BY_SDK_ALONE: Mapping[str, str] = {"AzureOpenAI": "azure"}
_TOKENS = 1_000_000
_REQUESTS = 1000
# Our names of the prices that the package has.
_NAMES: Mapping[str, str] = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
}


def known_cost(
    sdk: str, endpoint: str, provider_model: str, now: float
) -> Cost | None:
    """Return what a provider charges for a model; None if not known.

    By the endpoint, or for the provider's own by the plug-in. `now` is in
    Unix seconds: prices change with the day. The first call reads the
    package, which takes about a second: make it outside of an event loop.
    """
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    return _known_cost(sdk, endpoint.strip(), provider_model, day)


@lru_cache(maxsize=1000)
def known_window(sdk: str, endpoint: str, provider_model: str) -> int | None:
    """Return the longest request that a model takes, in tokens, if known.

    As for `known_cost`, make the first call outside of an event loop.
    """
    info = _info(sdk, endpoint.strip(), provider_model)
    window = getattr(info, "context_window", None)
    return window if isinstance(window, int) and window > 0 else None


@lru_cache(maxsize=1000)
def _known_cost(sdk: str, endpoint: str, name: str, day: str) -> Cost | None:
    info = _info(sdk, endpoint, name)
    if info is None:
        return None
    return _cost(info, datetime.fromisoformat(day).replace(tzinfo=UTC))


def _info(sdk: str, endpoint: str, name: str) -> "ModelInfo | None":
    provider = _BY_SDK_ALONE.get(sdk)
    if provider is None and not endpoint:
        provider = _PROVIDERS.get(sdk)
    if provider is None and not endpoint:
        return None
    return _find(name, provider, None if provider else endpoint)


def _find(
    name: str, provider: str | None, endpoint: str | None
) -> "ModelInfo | None":
    # Its table of all models takes long to read.
    from genai_prices import data_snapshot  # noqa: PLC0415

    snapshot = data_snapshot.get_snapshot()
    try:
        _, info = snapshot.find_provider_model(name, None, provider, endpoint)
    except LookupError:
        return None
    return info


def _cost(info: "ModelInfo", day: datetime) -> Cost | None:
    conditions = _conditions(info)
    place = _place_of_base(conditions, day)
    base = conditions[place].prices
    if (prices := _prices(base)) is None:
        return None
    requests = getattr(base, "requests_kcount", None)
    return Cost(
        tokens=_TOKENS,
        currency="USD",
        **prices.__dict__,
        per_request=_plain(requests, _REQUESTS),
        long_context=_long_context(base),
        bands=list(_bands(conditions[place + 1 :])) or None,
    )


def _conditions(info: "ModelInfo") -> "list[ConditionalPrice]":
    from genai_prices.types import ConditionalPrice, ModelPrice  # noqa: PLC0415 - as above

    if isinstance(info.prices, ModelPrice):
        return [ConditionalPrice(prices=info.prices)]
    return info.prices


def _place_of_base(conditions: "list[ConditionalPrice]", day: datetime) -> int:
    """Find what holds on a day, outside of parts of the day.

    The last that is active counts; without one, the first.
    """
    return max(
        (
            place
            for place, each in enumerate(conditions)
            if each.constraint is None
            or (
                hasattr(each.constraint, "start_date")
                and each.constraint.active(day)
            )
        ),
        default=0,
    )


def _bands(conditions: "Iterable[ConditionalPrice]") -> Iterable[PriceBand]:
    # The last that is active counts there; here, the first.
    for each in reversed(list(conditions)):
        start = getattr(each.constraint, "start_time", None)
        end = getattr(each.constraint, "end_time", None)
        prices = _prices(each.prices)
        if start is not None and end is not None and prices is not None:
            yield PriceBand(
                from_=f"{start:%H:%M}", to=f"{end:%H:%M}", prices=prices
            )


def _prices(
    prices: "ModelPrice", above: int | None = None
) -> TokenPrices | None:
    found = {
        ours: _tier(getattr(prices, theirs, None), above)
        for ours, theirs in _NAMES.items()
    }
    if found["input"] is None or found["output"] is None:
        return None
    return TokenPrices.model_validate(found)


def _tier(price: Any, above: int | None) -> float | None:  # noqa: ANN401 - the package's several kinds
    if price is None or isinstance(price, Decimal):
        return _plain(price, 1)
    reached = price.base
    for tier in price.tiers:
        if above is not None and tier.start <= above:
            reached = tier.price
    return float(reached)


def _long_context(base: "ModelPrice") -> LongContext | None:
    """Return the prices above the first threshold, if there is one."""
    tiers = [
        tier.start
        for name in _NAMES.values()
        for tier in getattr(getattr(base, name, None), "tiers", ())
    ]
    if not tiers:
        return None
    prices = _prices(base, min(tiers))
    if prices is None:
        return None
    return LongContext(above=min(tiers), **prices.__dict__)


def _plain(price: object, per: int) -> float | None:
    return float(price / per) if isinstance(price, Decimal) else None
