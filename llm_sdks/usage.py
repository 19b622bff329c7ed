"""Tokens of one call."""

from dataclasses import dataclass

# A count of this size or more is an error of the provider.
COUNT_LIMIT = 2**53


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them.

    `input_tokens` includes `cached_tokens` (read from the provider's
    cache) and `cache_write_tokens` (written to it), `output_tokens`
    includes `reasoning_tokens`. A count that no call can have is zero.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0

    def __post_init__(self) -> None:
        """Set absurd counts to zero: they would not fit into the store."""
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, int) and not 0 <= value < COUNT_LIMIT:
                object.__setattr__(self, name, 0)
