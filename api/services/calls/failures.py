"""What a plug-in raises, as errors of our family; its streams, closable."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TypeVar

from api.services.calls.model_access import plugin_error
from api.services.calls.model_call import CallProgress, SlowReaderError
from llm_sdks import errors
from llm_sdks.base_sdk import BaseLLMSDK, CompletionRequest, Usage

T = TypeVar("T")


@asynccontextmanager
async def failures_of(
    sdk: BaseLLMSDK, request: CompletionRequest, progress: CallProgress
) -> AsyncIterator[None]:
    """Turn whatever a plug-in raises into an error of our family."""
    try:
        limit = None if sdk.keeps_time else request.timeout
        async with asyncio.timeout(limit) if limit else nullcontext():
            yield
    except errors.LLMError as error:
        _keep_usage(error, progress)
        raise
    except SlowReaderError:
        raise
    except TimeoutError:
        raise errors.CallTimeoutError(
            f"No answer within {request.timeout:g} s"
        ) from None
    except asyncio.CancelledError as error:
        if _is_being_cancelled():
            raise
        raise plugin_error(sdk.get_name(), error) from error
    except (Exception, SystemExit) as error:
        # Somebody else's code: whatever it raises ends this call only.
        raise plugin_error(sdk.get_name(), error) from error


def _keep_usage(error: errors.LLMError, progress: CallProgress) -> None:
    usage = getattr(error, "usage", None)
    if usage is not None and usage != Usage():
        progress.usage = usage


def _is_being_cancelled() -> bool:
    # To distinguish it from a plug-in that cancels itself.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def closable(items: AsyncIterator[T]) -> AsyncGenerator[T]:
    """Give a plug-in's stream as one that can be closed.

    Closing it early ends the provider's call. A plug-in's streams are
    generator functions; the base class promises only iterators.
    """
    if isinstance(items, AsyncGenerator):
        return items

    async def wrapped() -> AsyncGenerator[T]:
        async for item in items:
            yield item

    return wrapped()
