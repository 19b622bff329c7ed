"""Decides how a request gets to its provider, and its answer back."""

from collections.abc import Callable, Collection
from functools import partial

from api.core.errors import ParameterError
from api.models.model_models import ModelWithKey
from api.services.calls.model_access import ModelAccess, TokenNeededError
from api.services.gateway.asked import Asked
from api.services.gateway.filters import filtered
from api.services.gateway.forwarding import Forwarding, can_forward
from api.services.gateway.live_answer import AnswerSink
from api.services.gateway.translating import (
    FORMATS,
    Embedding,
    Translating,
    conversation_of,
    texts_of,
)
from config import MissingModelKeyError
from llm_sdks.errors import LLMError, ModelNotFoundError
from llm_sdks.forwarding import Interface

Exchange = Forwarding | Translating | Embedding
NewExchange = Callable[[AnswerSink], Exchange]
# Servers of OpenAI's format that have no `/responses`: the models' ids and
# endpoints.
Lacking = Collection[tuple[str, str]]

_NO_SUCH_PATH = frozenset({404, 405, 501})


def new_exchange(
    access: ModelAccess,
    asked: Asked,
    model: ModelWithKey,
    created: int,
    *,
    lacking: Lacking = (),
    leaves_filtered: bool = False,
) -> NewExchange:
    """Decide how a request is carried to a model.

    `created` is the answer's time (Unix, s). With `leaves_filtered`, an
    answer that was withheld is a failure.

    Raises:
        ParameterError: its provider has nothing like that interface.
    """
    sent = filtered(asked, model.filters)
    try:
        sdk = access.open(model).sdk
    except TokenNeededError as needed:
        sdk = needed.sdk
    except (LLMError, MissingModelKeyError):
        # The call reports it.
        return partial(Forwarding, sent, leaves_filtered=leaves_filtered)
    lacks = (model.model_id, model.endpoint) in lacking
    is_lacking = lacks and asked.interface is Interface.RESPONSES
    if can_forward(sdk, asked.interface) and not is_lacking:
        return partial(Forwarding, sent, leaves_filtered=leaves_filtered)
    if asked.interface is Interface.EMBEDDINGS:
        texts = texts_of(asked)
        return lambda live: Embedding(asked, live, texts)
    if asked.interface not in FORMATS:
        raise ParameterError(
            f"The model {asked.model!r} cannot be used through "
            f"/v1{asked.interface}: its provider ({model.sdk}) has no "
            "such interface",
            "model",
        )
    conversation = conversation_of(asked)
    return lambda live: Translating(
        asked, live, conversation, created, leaves_filtered
    )


def older_exchange(
    asked: Asked,
    model: ModelWithKey,
    error: LLMError,
    live: AnswerSink,
    created: int,
) -> Translating | None:
    """Take the older interface of a server that has no `/responses`.

    `error` is what it has said; None: there is nothing to be tried.
    """
    is_lacking = (
        asked.interface is Interface.RESPONSES
        and bool(model.endpoint)
        and error.http_status in _NO_SUCH_PATH
        and not isinstance(error, ModelNotFoundError)
    )
    if not is_lacking:
        return None
    try:
        conversation = conversation_of(asked)
    except ParameterError:
        return None
    return Translating(asked, live, conversation, created)
