"""Ways to carry a call of a job that is more than two texts."""

from collections.abc import Sequence

from api.services.calls.failures import failures_of
from api.services.calls.model_call import CallProgress
from llm_sdks import errors
from llm_sdks.answers import Answer, Finish
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
)

# How an answer that is not whole fails.
_CUT: dict[Finish, type[errors.PartialAnswerError]] = {
    "length": errors.TruncatedError,
    "content_filter": errors.ContentFilteredError,
    "refusal": errors.ContentFilteredError,
}
_SAID = {
    "length": "The answer was cut: it reached the limit of tokens",
    "content_filter": "The provider's filter withheld the answer",
    "refusal": "The model refused to answer",
}


async def converse(
    sdk: BaseLLMSDK, request: CompletionRequest, progress: CallProgress
) -> Completion:
    """Ask a conversation: the answer may call tools.

    Raises:
        LLMError: there is no answer, or it is not whole.
    """
    async with failures_of(sdk, request, progress):
        answer = await sdk.converse(request)
        progress.usage = answer.usage
        progress.texts.append(answer.text)
        _check_whole(answer)
    return Completion(
        answer.text,
        answer.usage,
        answer.finish,
        answer.request_id,
        answer.tool_calls,
        answer.logprobs,
    )


class TextEmbedding:
    """Asks for the vectors of texts, and keeps them."""

    def __init__(
        self, texts: Sequence[str], dimensions: int | None = None
    ) -> None:
        self._texts = tuple(texts)
        self._dimensions = dimensions
        self.answer = Embeddings(())

    async def __call__(
        self,
        sdk: BaseLLMSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> Completion:
        """Make the call; see `ModelCaller.run`."""
        asked = EmbeddingRequest(
            request.config,
            self._texts,
            self._dimensions,
            request.timeout,
            request.connect_timeout,
            request.read_timeout,
            request.idempotency_key,
        )
        async with failures_of(sdk, request, progress):
            self.answer = await sdk.embed(asked)
        progress.usage = self.answer.usage
        return Completion(
            "", self.answer.usage, request_id=self.answer.request_id
        )


def _check_whole(answer: Answer) -> None:
    kind = _CUT.get(answer.finish)
    if kind is None:
        return
    error = kind(_SAID[answer.finish])
    error.partial_text = answer.refusal or answer.text
    error.usage, error.request_id = answer.usage, answer.request_id
    raise error
