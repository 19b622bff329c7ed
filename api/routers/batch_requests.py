"""What the vendors' files and batches take beside their bodies."""

from collections.abc import AsyncIterator

from fastapi import Request

from api.core.errors import ParameterError, TooLargeError

_MOST_DIGITS, _LONGEST_KEY = 6, 256


def limit_of(text: str | None, default: int, most: int) -> int:
    """Read how many items a page has.

    Raises:
        ParameterError: it is no number, or too large a one.
    """
    if text is None:
        return default
    is_number = (
        text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    )
    if not is_number or not 1 <= int(text) <= most:
        raise ParameterError(f"must be 1 to {most}", "limit")
    return int(text)


def is_newest_first(order: str | None) -> bool:
    """Read the order of a list.

    Raises:
        ParameterError: it is none.
    """
    if order not in (None, "asc", "desc"):
        raise ParameterError("must be 'asc' or 'desc'", "order")
    return order != "asc"


def key_of(request: Request) -> str | None:
    """Return the key of a request that may be sent twice, if it has one.

    Raises:
        ParameterError: it is too long.
    """
    key = request.headers.get("idempotency-key") or None
    if key is not None and len(key) > _LONGEST_KEY:
        raise ParameterError(
            f"has at most {_LONGEST_KEY} characters", "Idempotency-Key"
        )
    return key


async def bounded(
    chunks: AsyncIterator[bytes], most: int
) -> AsyncIterator[bytes]:
    """Yield a body as it comes, whatever it is made of.

    Raises:
        TooLargeError: it has more bytes than it may.
    """
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise TooLargeError(f"The limit is {most} bytes a request")
        yield chunk
