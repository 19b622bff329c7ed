"""The table of checks."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from llm_sdks import errors
from llm_sdks.base_sdk import Usage
from llm_sdks.conformance.bench import (
    Bench,
    ConformanceError,
    expect,
    failure,
    leave,
    plain,
    until,
    until_closed,
)
from llm_sdks.conformance.stand_in import (
    TEXT,
    USAGE,
    Answers,
    BreaksOff,
    Fails,
    FailsMidway,
    Filters,
    Hangs,
    RefusesTemperature,
    TalksNonsense,
    Truncates,
)
from llm_sdks.conformance.typed_cases import (
    answers_typed,
    calls_tools,
    embeds,
)
from llm_sdks.conversation import Conversation, Message, Sampling

# A call that is meant to fail in time.
_SHORT_SECONDS = 0.5
_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
_TALK = Conversation(
    (
        Message.of("system", "Be brief."),
        Message.of("user", "Is it so?"),
        Message.of("assistant", "It is."),
        Message.of("user", "Is it really?"),
    ),
    sampling=Sampling(temperature=0.5),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One check."""

    name: str
    check: Callable[[Bench], Awaitable[None]]

    def __str__(self) -> str:
        return self.name


async def _takes_good_settings(bench: Bench) -> None:
    bench.sdk.validate_config(bench.stand_in.config())


async def _refuses_a_password_in_the_endpoint(bench: Bench) -> None:
    config = bench.stand_in.config()
    endpoint = config.endpoint.replace("://", "://me:pass-word@")
    try:
        bench.sdk.validate_config(replace(config, endpoint=endpoint))
    except errors.ConfigurationError as error:
        expect("pass-word" in str(error), False, "the password is quoted")
    else:
        raise ConformanceError("credentials in the endpoint are taken")


async def _answers(bench: Bench) -> None:
    bench.stand_in.behave(Answers())
    for way in bench.ways:
        expect(await way(bench.request()), TEXT, f"text of {way.__name__}")
    answer = await bench.sdk.acomplete(bench.request())
    expect(plain(answer.usage), USAGE, "usage")
    expect(bool(answer.finish_reason), True, "there is a finish reason")


async def _streams_end_with_usage(bench: Bench) -> None:
    bench.stand_in.behave(Answers())
    items = [item async for item in bench.sdk.astream(bench.request())]
    expect(isinstance(items[-1], Usage), True, "the last item is a Usage")
    expect(plain(items[-1]), USAGE, "usage")
    others = all(item and isinstance(item, str | Usage) for item in items)
    expect(others, True, "every item is a piece of text or a Usage")


async def _counts_cached_and_reasoning(bench: Bench) -> None:
    usage = Usage(20, 9, 5, 3)
    bench.stand_in.behave(Answers(usage=usage))
    answer = await bench.sdk.acomplete(bench.request())
    expect(answer.usage, usage, "usage")
    items = [item async for item in bench.sdk.astream(bench.request())]
    expect(items[-1], usage, "usage of a stream")


async def _keeps_what_was_cut(bench: Bench) -> None:
    bench.stand_in.behave(Truncates())
    for way in bench.ways:
        error = await failure(way(bench.request()), errors.TruncatedError)
        expect(error.partial_text, TEXT, f"partial text of {way.__name__}")
        expect(plain(error.usage), USAGE, f"usage of {way.__name__}")


async def _tells_what_was_filtered(bench: Bench) -> None:
    bench.stand_in.behave(Filters())
    for way in bench.ways:
        await failure(way(bench.request()), errors.ContentFilteredError)


_STATUSES: tuple[tuple[int, type[errors.LLMError]], ...] = (
    (400, errors.BadRequestError),
    (401, errors.NotAuthorizedError),
    (403, errors.NotAuthorizedError),
    (404, errors.BadRequestError),
    (408, errors.CallTimeoutError),
    (409, errors.ProviderError),
    (413, errors.BadRequestError),
    (422, errors.BadRequestError),
    (429, errors.RateLimitedError),
    (500, errors.ProviderError),
    (502, errors.ProviderError),
    (503, errors.OverloadedError),
    (504, errors.ProviderError),
)


def _maps(status: int, kind: type[errors.LLMError]) -> Case:
    async def checked(bench: Bench) -> None:
        key = bench.stand_in.config().api_key.get_secret_value()
        for way in bench.ways:
            bench.stand_in.behave(Fails(status, f"so it is, {key}"))
            error = await failure(way(bench.request()), kind)
            expect(error.http_status, status, f"status of {way.__name__}")
            expect(key in str(error), False, "the key is quoted")
            expect(bench.stand_in.calls(), 1, "calls: it must not try again")

    return Case(f"status-{status}", checked)


async def _says_how_long_to_wait(bench: Bench) -> None:
    bench.stand_in.behave(Fails(429, retry_after=7.0))
    for way in bench.ways:
        error = await failure(way(bench.request()), errors.RateLimitedError)
        expect(error.retry_after, 7.0, f"retry_after of {way.__name__}")


async def _tells_an_error_in_a_stream(bench: Bench) -> None:
    bench.stand_in.behave(FailsMidway())
    await failure(bench.streamed(bench.request()), errors.LLMError)


async def _does_without_temperature(bench: Bench) -> None:
    for way in (bench.whole, bench.streamed):
        bench.sdk = bench.stand_in.sdk()
        bench.stand_in.behave(RefusesTemperature())
        expect(await way(bench.request()), TEXT, f"text of {way.__name__}")
        expect(bench.stand_in.calls(), 2, "calls")
        await bench.sdk.aclose()


async def _ends_in_time(bench: Bench) -> None:
    bench.stand_in.behave(Hangs())
    for way in bench.ways:
        request = bench.request(timeout=_SHORT_SECONDS)
        await failure(way(request), errors.CallTimeoutError)
    await until_closed(bench.stand_in)


async def _ends_when_cancelled(bench: Bench) -> None:
    bench.stand_in.behave(Hangs())
    for way in (bench.whole, bench.streamed):
        call = asyncio.create_task(way(bench.request()))
        await until(lambda: bench.stand_in.open_calls() == 1, "the call")
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        expect(call.cancelled(), True, "the call ended as cancelled")
        await until_closed(bench.stand_in)


async def _ends_when_nobody_reads(bench: Bench) -> None:
    bench.stand_in.behave(Answers(text=TEXT * 100))
    items = bench.sdk.astream(bench.request())
    expect(bool(await anext(items)), True, "there is a first piece")
    await leave(items)
    await until_closed(bench.stand_in)


async def _tells_a_broken_connection(bench: Bench) -> None:
    bench.stand_in.behave(BreaksOff())
    for way in bench.ways:
        error = await failure(way(bench.request()), errors.LLMError)
        expect(error.retryable, True, f"{type(error).__name__} is retryable")


async def _tells_a_refused_connection(bench: Bench) -> None:
    config = bench.stand_in.config()
    # No server listens on the port of a service that has ended.
    scheme, _, rest = config.endpoint.partition("://")
    path = rest.partition("/")[2]
    endpoint = f"{scheme}://127.0.0.1:9/{path}"
    request = bench.request(config=replace(config, endpoint=endpoint))
    for way in bench.ways:
        await failure(way(request), errors.CannotConnectError)


async def _tells_nonsense(bench: Bench) -> None:
    bench.stand_in.behave(TalksNonsense())
    for way in bench.ways:
        await failure(way(bench.request()), errors.ProviderError)


async def _takes_a_schema(bench: Bench) -> None:
    bench.stand_in.behave(Answers('{"answer":"yes"}'))
    for way in bench.ways:
        request = bench.request(response_schema=_SCHEMA)
        expect(await way(request), '{"answer":"yes"}', way.__name__)


async def _sends_a_whole_conversation_or_says_no(bench: Bench) -> None:
    bench.stand_in.behave(Answers())
    for way in bench.ways:
        request = bench.request(conversation=_TALK)
        try:
            text = await way(request)
        except errors.ConfigurationError:
            expect(bench.stand_in.calls(), 0, "calls with a part of it")
        else:
            expect(text, TEXT, f"text of {way.__name__}")


async def _takes_an_idempotency_key(bench: Bench) -> None:
    bench.stand_in.behave(Answers())
    request = bench.request(idempotency_key="job-1/working")
    expect(await bench.whole(request), TEXT, "text")


async def _makes_many_calls_at_once(bench: Bench) -> None:
    bench.stand_in.behave(Answers())
    calls = [bench.whole(bench.request()) for _ in range(150)]
    expect(set(await asyncio.gather(*calls)), {TEXT}, "texts")


CASES: tuple[Case, ...] = (
    Case("good-settings", _takes_good_settings),
    Case("password-in-endpoint", _refuses_a_password_in_the_endpoint),
    Case("answers", _answers),
    Case("streams-end-with-usage", _streams_end_with_usage),
    Case("cached-and-reasoning-tokens", _counts_cached_and_reasoning),
    Case("truncated", _keeps_what_was_cut),
    Case("filtered", _tells_what_was_filtered),
    *(_maps(status, kind) for status, kind in _STATUSES),
    Case("retry-after", _says_how_long_to_wait),
    Case("error-in-a-stream", _tells_an_error_in_a_stream),
    Case("temperature-refused", _does_without_temperature),
    Case("timeout", _ends_in_time),
    Case("cancelled", _ends_when_cancelled),
    Case("reader-leaves", _ends_when_nobody_reads),
    Case("connection-breaks", _tells_a_broken_connection),
    Case("connection-refused", _tells_a_refused_connection),
    Case("nonsense", _tells_nonsense),
    Case("schema", _takes_a_schema),
    Case("conversation", _sends_a_whole_conversation_or_says_no),
    Case("idempotency-key", _takes_an_idempotency_key),
    Case("many-at-once", _makes_many_calls_at_once),
    Case("typed", answers_typed),
    Case("tools", calls_tools),
    Case("embeddings", embeds),
)
