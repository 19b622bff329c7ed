"""`test`: answers at once, without a network or a key."""

from collections.abc import AsyncIterator, Iterator

from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
    Usage,
)
from utilities import payload

_LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do "
    "eiusmod tempor incididunt ut labore et dolore magna aliqua. Ut enim "
    "ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut "
    "aliquip ex ea commodo consequat. Duis aute irure dolor in "
    "reprehenderit in voluptate velit esse cillum dolore eu fugiat nulla "
    "pariatur. Excepteur sint occaecat cupidatat non proident, sunt in "
    "culpa qui officia deserunt mollit anim id est laborum. "
) * 5


class TestSDK(BaseLLMSDK):
    """Echoes the request as JSON; its stream is a long lorem ipsum.

    Tokens are counted as words.
    """

    # Not one of pytest's, in spite of its name.
    __test__ = False
    needs_key = False

    @classmethod
    def get_name(cls) -> str:
        """Return `test`."""
        return "test"

    def validate_config(self, config: LLMConfig) -> None:
        """Take any settings."""

    def complete(self, request: CompletionRequest) -> Completion:
        """Answer `{"result": "ok", "model": ..., "echo": <the request>}`."""
        text = _answer(request)
        return Completion(text, _usage(request, text), "stop")

    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        """Yield lorem ipsum, a few letters at a time."""
        for start in range(0, len(_LOREM), 7):
            yield _LOREM[start : start + 7]
        yield _usage(request, _LOREM)

    async def acomplete(self, request: CompletionRequest) -> Completion:
        """Answer at once: there is nothing to wait for."""
        return self.complete(request)

    async def astream(
        self, request: CompletionRequest
    ) -> AsyncIterator[StreamItem]:
        """Yield at once: there is nothing to wait for."""
        for item in self.stream(request):
            yield item


def _asked(request: CompletionRequest) -> str:
    turns = request.conversation.turns
    return "\n\n".join(turn.text for turn in turns if turn.text)


def _answer(request: CompletionRequest) -> str:
    answer = {"result": "ok", "model": request.config.name}
    asked = _asked(request)
    try:
        return payload.dump({**answer, "echo": _read(asked)})
    except payload.PayloadError:
        # The echo is one level deeper than the request, which may be as
        # deep as anything that is stored can be: then it is text.
        return payload.dump({**answer, "echo": payload.printable(asked)})


def _read(text: str) -> object:
    try:
        return payload.load(text)
    except (ValueError, TypeError):  # the latter for half a surrogate pair
        return payload.printable(text)


def _usage(request: CompletionRequest, answer: str) -> Usage:
    asked = f"{request.system} {_asked(request)}"
    return Usage(len(asked.split()), len(answer.split()))
