"""One call with the credentials of its model, one after the other.

A credential that the provider refuses or limits is no failure of the call, as
long as there is another one, and nothing was answered yet.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from api.services.calls.model_call import CallProgress
from config import MissingModelKeyError
from llm_sdks.credentials.pool import CredentialPool, is_of_credential
from llm_sdks.errors import LLMError, NotAuthorizedError
from utilities.log_summary import LogSummary

T = TypeVar("T")

log = structlog.get_logger(__name__)
# For the whole process: a refused credential must not fill the log.
_OUT = LogSummary()


async def by_turns(
    pool: CredentialPool,
    model: str,
    attempt: Callable[[str], Awaitable[T]],
    progress: CallProgress,
) -> T:
    """Make attempts, each with another credential, until one is answered.

    Raises:
        LLMError: none was answered; the last one's error.
        MissingModelKeyError: the variable of the last one is not set.
    """
    name = pool.first()
    tried = [name]
    while True:
        progress.credential = name
        try:
            done = await attempt(name)
        except (LLMError, MissingModelKeyError) as error:
            _take_out(pool, model, name, error)
            following = None
            if _may_go_on(error) and not progress.has_begun:
                following = pool.following(tried)
            if following is None:
                raise
            name = following
            tried.append(name)
        else:
            pool.answered(name)
            return done


def _may_go_on(error: Exception) -> bool:
    return isinstance(error, MissingModelKeyError) or is_of_credential(error)


def _take_out(
    pool: CredentialPool, model: str, name: str, error: Exception
) -> None:
    kind = str(getattr(error, "kind", type(error).__name__))
    if isinstance(error, MissingModelKeyError):
        error = NotAuthorizedError(str(error))
    seconds = pool.failed(name, error)
    if not seconds:
        return
    # Which of them, not the name of its variable.
    place = pool.names.index(name) + 1
    _OUT.tell(
        (model, place, kind),
        lambda count: log.warning(
            "credential_out",
            model=model,
            credential=place,
            errorType=kind,
            seconds=round(seconds, 1),
            count=count,
        ),
    )
