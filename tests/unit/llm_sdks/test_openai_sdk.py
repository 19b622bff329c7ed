import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import openai
import pytest
from aiohttp import web
from pydantic import SecretStr

from llm_sdks import errors
from llm_sdks.base_sdk import (
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
    Usage,
)
from llm_sdks.openai_sdk import OpenAISDK
from llm_sdks.wires import openai_client
from llm_sdks.wires.stainless import StainlessWire
from tests.support.fake_provider import FakeProvider, completion, failure
from tests.support.live_server import free_port
from tests.support.samples import becomes

KEY = "sk-abcdefgh-ijklmnop"
FOR_EVER = 60.0

Ask = Callable[[CompletionRequest], Awaitable[Any]]


@pytest.fixture
async def sdk(provider_server: FakeProvider) -> AsyncIterator[OpenAISDK]:
    sdk = OpenAISDK()
    yield sdk
    await sdk.aclose()
    # Nothing of ours is left at the provider for the next test.
    await becomes(lambda: provider_server.running == 0)


@pytest.fixture(params=["asynchronous", "blocking"])
def complete(request: pytest.FixtureRequest, sdk: OpenAISDK) -> Ask:
    """Ask for a whole answer, in either way."""
    if request.param == "asynchronous":
        return sdk.acomplete
    return lambda asked: asyncio.to_thread(sdk.complete, asked)


@pytest.fixture(params=["asynchronous", "blocking"])
def stream(request: pytest.FixtureRequest, sdk: OpenAISDK) -> Ask:
    """Ask for a stream and read it to its end, in either way."""
    if request.param == "asynchronous":
        return lambda asked: read(sdk, asked)
    return lambda asked: asyncio.to_thread(lambda: list(sdk.stream(asked)))


async def read(sdk: OpenAISDK, asked: CompletionRequest) -> list[StreamItem]:
    return [item async for item in sdk.astream(asked)]


def question(
    provider: FakeProvider,
    *,
    system: str = "Answer as JSON.",
    temperature: float = 0.5,
    timeout: float = 20.0,
    **config: Any,
) -> CompletionRequest:
    fields = {
        "name": "gpt",
        "endpoint": provider.url,
        "api_key": SecretStr(KEY),
        "max_token": 100,
        **config,
    }
    return CompletionRequest(
        LLMConfig(**fields), system, '{"a":1}', temperature, timeout
    )


def answer_with(provider: FakeProvider, make: Callable[[], Any]) -> None:
    async def handler(_body: dict[str, Any]) -> Any:
        return make()

    provider.handler = handler


def answer_raw(provider: FakeProvider, text: str, kind: str) -> None:
    answer_with(provider, lambda: web.Response(text=text, content_type=kind))


async def test_an_answer_has_text_usage_and_reason(
    provider: FakeProvider, complete: Ask
) -> None:
    answer_with(
        provider,
        lambda: completion("yes", finish_reason="stop", tokens=(11, 5)),
    )
    answer = await complete(question(provider))
    assert answer == Completion("yes", Usage(11, 5), "stop")


async def test_what_is_asked_arrives_as_a_chat_completion(
    provider: FakeProvider, complete: Ask
) -> None:
    await complete(question(provider, deployment="gpt-theirs"))
    assert provider.requests == [
        {
            "model": "gpt-theirs",
            "messages": [
                {"role": "system", "content": "Answer as JSON."},
                {"role": "user", "content": '{"a":1}'},
            ],
            "temperature": 0.5,
            "max_tokens": 100,
        }
    ]


async def test_without_a_deployment_the_models_name_is_asked_for(
    provider: FakeProvider, complete: Ask
) -> None:
    await complete(question(provider))
    assert provider.requests[0]["model"] == "gpt"


async def test_without_a_system_prompt_there_is_no_system_message(
    provider: FakeProvider, complete: Ask
) -> None:
    await complete(question(provider, system=""))
    (message,) = provider.requests[0]["messages"]
    assert message["role"] == "user"


async def test_letters_arrive_as_they_are(
    provider: FakeProvider, complete: Ask
) -> None:
    text = 'é 😀 "quoted" \u2028 \x00'
    answer_with(provider, lambda: completion(text))
    answer = await complete(question(provider, system=text))
    assert provider.requests[0]["messages"][0]["content"] == text
    assert answer.text == text


@pytest.mark.parametrize(
    ("asked", "sent"), [(0.0, 0.2), (0.2, 0.2), (0.7, 0.7), (2.0, 1.0)]
)
async def test_the_temperature_is_brought_into_the_models_range(
    provider: FakeProvider, complete: Ask, asked: float, sent: float
) -> None:
    limits: dict[str, Any] = {
        "min_temperature": 0.2,
        "max_temperature": 1.0,
    }
    await complete(question(provider, temperature=asked, **limits))
    assert provider.requests[0]["temperature"] == sent


@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        ({"max_token": 7}, {"max_tokens": 7}),
        (
            {"max_token": None, "max_completion_token": 8},
            {"max_completion_tokens": 8},
        ),
        (
            {"max_token": 7, "max_completion_token": 8},
            {"max_completion_tokens": 8},
        ),
        ({"max_token": None}, {}),
    ],
)
async def test_the_limit_is_sent_by_the_name_that_the_model_knows(
    provider: FakeProvider,
    complete: Ask,
    limits: dict[str, Any],
    sent: dict[str, int],
) -> None:
    await complete(question(provider, **limits))
    (body,) = provider.requests
    assert {k: v for k, v in body.items() if k.startswith("max_")} == sent


async def test_the_key_is_sent_as_a_bearer_token(
    provider: FakeProvider, complete: Ask, stream: Ask
) -> None:
    await complete(question(provider))
    await stream(question(provider))
    assert provider.authorizations == [f"Bearer {KEY}"] * 2
    assert KEY not in json.dumps(provider.requests)


async def test_a_stream_gives_the_text_in_pieces_and_the_usage_last(
    provider: FakeProvider, stream: Ask
) -> None:
    items = await stream(question(provider, deployment="gpt-theirs"))
    assert items == ["Hel", "lo ", "you", Usage(4, 3)]
    (body,) = provider.requests
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["model"] == "gpt-theirs"
    assert body["max_tokens"] == 100


async def test_a_piece_is_given_before_the_next_one_comes(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    provider.piece_delay = FOR_EVER
    items = sdk.astream(question(provider))
    assert await anext(items) == "Hel"
    assert provider.running == 1
    await items.aclose()


STATUSES = [
    (400, errors.BadRequestError, False),
    (401, errors.NotAuthorizedError, False),
    (403, errors.NotAuthorizedError, False),
    (404, errors.BadRequestError, False),
    (408, errors.CallTimeoutError, True),
    (409, errors.ProviderError, True),
    (413, errors.ContextTooLongError, False),
    (422, errors.BadRequestError, False),
    (429, errors.RateLimitedError, True),
    (500, errors.ProviderError, True),
    (502, errors.ProviderError, True),
    (503, errors.OverloadedError, True),
    (504, errors.ProviderError, True),
]


@pytest.mark.parametrize(("status", "kind", "retryable"), STATUSES)
async def test_every_status_has_its_error(
    provider: FakeProvider,
    complete: Ask,
    status: int,
    kind: type[errors.LLMError],
    retryable: bool,  # noqa: FBT001 - a column of the table
) -> None:
    answer_with(
        provider,
        lambda: failure(status, "so it is", **{"x-request-id": "req-1"}),
    )
    with pytest.raises(errors.LLMError) as failed:
        await complete(question(provider))
    error = failed.value
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.http_status == status
    assert error.request_id == "req-1"
    if status == 404:
        path = "/v1/chat/completions"
        assert str(error) == f"HTTP 404: so it is (POST {path})"
    elif status != 401:
        assert str(error) == f"HTTP {status}: so it is"
    assert len(provider.requests) == 1, "our retries are durable"


@pytest.mark.parametrize(("status", "kind", "_retryable"), STATUSES)
async def test_a_stream_that_does_not_start_has_the_same_errors(
    provider: FakeProvider,
    stream: Ask,
    status: int,
    kind: type[errors.LLMError],
    _retryable: bool,  # noqa: FBT001 - a column of the table
) -> None:
    answer_with(provider, lambda: failure(status, "so it is"))
    with pytest.raises(errors.LLMError) as failed:
        await stream(question(provider))
    assert type(failed.value) is kind
    assert failed.value.http_status == status


async def test_a_refused_key_is_told_without_any_part_of_it(
    provider: FakeProvider, complete: Ask
) -> None:
    quoted = f"Incorrect API key provided: {KEY[:8]}****{KEY[-4:]}."
    answer_with(provider, lambda: failure(401, quoted))
    with pytest.raises(errors.NotAuthorizedError) as refused:
        await complete(question(provider))
    message = str(refused.value)
    assert message == "The provider does not accept the model's key"
    parts = [KEY[i : i + 4] for i in range(len(KEY) - 3)]
    assert not any(part in repr(refused.value) for part in parts)


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
async def test_no_error_quotes_the_key(
    provider: FakeProvider, sdk: OpenAISDK, status: int
) -> None:
    answer_with(provider, lambda: failure(status, f"key {KEY} is not allowed"))
    with pytest.raises(errors.LLMError) as failed:
        await sdk.acomplete(question(provider))
    assert KEY not in str(failed.value)


async def test_an_error_text_can_be_stored(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    answer_with(provider, lambda: failure(400, "no \ud83d"))
    with pytest.raises(errors.BadRequestError) as failed:
        await sdk.acomplete(question(provider))
    assert str(failed.value).encode()


@pytest.mark.parametrize("body", ["", "<html></html>", "[]", '{"error": 5}'])
async def test_an_error_without_a_message_is_told_by_its_status(
    provider: FakeProvider, sdk: OpenAISDK, body: str
) -> None:
    answer_with(
        provider,
        lambda: web.Response(
            text=body, status=500, content_type="application/json"
        ),
    )
    with pytest.raises(errors.ProviderError) as failed:
        await sdk.acomplete(question(provider))
    assert str(failed.value) == "HTTP 500"


async def test_a_long_message_is_cut(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    answer_with(provider, lambda: failure(400, "x" * 100_000))
    with pytest.raises(errors.BadRequestError) as failed:
        await sdk.acomplete(question(provider))
    assert str(failed.value) == "HTTP 400: " + "x" * 1000


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-7"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "Retry-After": "3"}, 0.25),
        ({"retry-after-ms": "soon", "Retry-After": "3"}, 3.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
async def test_a_rate_limit_says_how_long_to_wait(
    provider: FakeProvider,
    sdk: OpenAISDK,
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    answer_with(provider, lambda: failure(429, "slow down", **headers))
    with pytest.raises(errors.RateLimitedError) as limited:
        await sdk.acomplete(question(provider))
    assert limited.value.retry_after == seconds


async def test_a_rate_limit_may_name_a_date(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=10)
    date = format_datetime(moment, usegmt=True)
    answer_with(provider, lambda: failure(429, "x", **{"Retry-After": date}))
    with pytest.raises(errors.RateLimitedError) as limited:
        await sdk.acomplete(question(provider))
    assert limited.value.retry_after is not None
    assert 540 < limited.value.retry_after <= 600


@pytest.mark.parametrize(
    "wait",
    [
        "inf",
        "1e300",
        "nan",
    ],
)
async def test_a_wait_without_end_is_not_believed(
    provider: FakeProvider, sdk: OpenAISDK, wait: str
) -> None:
    answer_with(provider, lambda: failure(429, "x", **{"Retry-After": wait}))
    with pytest.raises(errors.RateLimitedError) as limited:
        await sdk.acomplete(question(provider))
    seconds = limited.value.retry_after or 0.0
    assert math.isfinite(seconds)
    assert time.time() * 1000 + seconds * 1000 < 2**63


@pytest.mark.parametrize(
    "body",
    [
        "",
        "yes",
        "<html>",
        '{"choices":',
        "null",
        "[]",
        "{}",
        '{"choices": null}',
        '{"choices": []}',
        '{"choices": ["yes"]}',
        '{"choices": [{}]}',
        '{"choices": [{"message": null}]}',
    ],
)
async def test_what_is_no_completion_is_the_providers_failure(
    provider: FakeProvider, sdk: OpenAISDK, body: str
) -> None:
    answer_raw(provider, body, "application/json")
    with pytest.raises(errors.ProviderError) as failed:
        await sdk.acomplete(question(provider))
    assert str(failed.value) == "The provider's answer is no chat completion"
    assert failed.value.http_status == 200


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, Usage()),
        ({}, Usage()),
        ([1, 2], Usage()),
        (7, Usage()),
        ({"prompt_tokens": None}, Usage()),
        ({"prompt_tokens": "7", "completion_tokens": 3.0}, Usage(7, 3)),
        ({"prompt_tokens": "many", "completion_tokens": 3}, Usage(0, 3)),
        ({"prompt_tokens": 2**53, "completion_tokens": 2**64}, Usage()),
        ({"prompt_tokens": 7, "completion_tokens": [3]}, Usage(7, 0)),
        ({"prompt_tokens": True, "completion_tokens": -3}, Usage()),
        ({"prompt_tokens": 7, "prompt_tokens_details": None}, Usage(7)),
        ({"prompt_tokens": 7, "prompt_tokens_details": [5]}, Usage(7)),
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 6,
                "prompt_tokens_details": {"cached_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(7, 6, 5, 4),
        ),
    ],
)
async def test_a_paid_answer_is_kept_whatever_its_usage_looks_like(
    provider: FakeProvider, sdk: OpenAISDK, usage: object, counted: Usage
) -> None:
    body = {"choices": [{"message": {"content": "yes"}}], "usage": usage}
    answer_with(provider, lambda: web.json_response(body))
    answer = await sdk.acomplete(question(provider))
    assert answer == Completion("yes", counted, None)


@pytest.mark.parametrize("message", [{}, {"content": None}])
async def test_an_answer_without_text_is_an_empty_one(
    provider: FakeProvider, sdk: OpenAISDK, message: dict[str, Any]
) -> None:
    body = {"choices": [{"message": message}]}
    answer_with(provider, lambda: web.json_response(body))
    assert (await sdk.acomplete(question(provider))).text == ""


@pytest.mark.parametrize("content", [5, True])
async def test_an_answer_of_something_else_is_the_providers_failure(
    provider: FakeProvider, sdk: OpenAISDK, content: object
) -> None:
    body = {"choices": [{"message": {"content": content}}]}
    answer_with(provider, lambda: web.json_response(body))
    with pytest.raises(errors.ProviderError):
        await sdk.acomplete(question(provider))


async def test_a_refused_connection_is_told(
    provider: FakeProvider, complete: Ask
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(errors.LLMError) as failed:
        await complete(question(provider, endpoint=endpoint))
    assert type(failed.value) is errors.CannotConnectError
    assert str(failed.value).startswith("Cannot connect to the provider: ")


async def test_an_answer_that_does_not_come_is_a_timeout(
    provider: FakeProvider, complete: Ask
) -> None:
    provider.delay = FOR_EVER
    with pytest.raises(errors.CallTimeoutError):
        await complete(question(provider, timeout=0.1))
    await becomes(lambda: provider.disconnected == 1)


async def test_a_stream_that_does_not_go_on_is_a_timeout(
    provider: FakeProvider, stream: Ask
) -> None:
    provider.piece_delay = FOR_EVER
    with pytest.raises(errors.CallTimeoutError):
        await stream(question(provider, timeout=0.1))


async def test_a_stream_that_breaks_off_is_an_error(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    provider.breaks = True
    provider.piece_delay = 0.01
    items: list[StreamItem] = []

    async def collect() -> None:
        async for item in sdk.astream(question(provider)):
            items.append(item)  # noqa: PERF401 - what came before the error

    with pytest.raises(errors.CannotConnectError):
        await collect()
    assert items == ["Hel", "lo ", "you"][: len(items)]


async def test_an_error_inside_a_stream_is_the_providers_failure(
    provider: FakeProvider, stream: Ask
) -> None:
    body = 'data: {"error": {"message": "no capacity"}}\n\n'
    answer_raw(provider, body, "text/event-stream")
    with pytest.raises(errors.ProviderError, match="no capacity"):
        await stream(question(provider))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("data: {broken\n\n", "text/event-stream"),
        ('data: {"choices": null}\n\n', "text/event-stream"),
        (
            'data: {"choices": [{"index": 0, "delta": null}]}\n\n',
            "text/event-stream",
        ),
        ("<html>Welcome</html>", "text/html"),
        ("", "text/event-stream"),
    ],
)
async def test_what_is_no_stream_is_the_providers_failure(
    provider: FakeProvider, stream: Ask, body: str, kind: str
) -> None:
    answer_raw(provider, body, kind)
    with pytest.raises(errors.LLMError):
        await stream(question(provider))


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": None, "completion_tokens": None}, Usage()),
        ({"prompt_tokens": "7", "completion_tokens": 3.0}, Usage(7, 3)),
        ({"prompt_tokens": "many", "completion_tokens": 3}, Usage(0, 3)),
        ({"prompt_tokens": 2**53, "completion_tokens": 2**64}, Usage()),
        ({"prompt_tokens": 7, "completion_tokens": [3]}, Usage(7, 0)),
    ],
)
async def test_a_stream_is_kept_whatever_its_usage_looks_like(
    provider: FakeProvider, sdk: OpenAISDK, usage: object, counted: Usage
) -> None:
    delta = {"content": "yes"}
    choice = {"index": 0, "delta": delta, "finish_reason": "stop"}
    chunk = {"choices": [choice], "usage": usage}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    answer_raw(provider, body, "text/event-stream")
    assert await read(sdk, question(provider)) == ["yes", counted]


async def test_a_stream_that_just_stops_is_the_providers_failure(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "yes"}}]}
    answer_raw(provider, f"data: {json.dumps(chunk)}\n\n", "text/event-stream")
    with pytest.raises(errors.ProviderError, match="ended early"):
        await read(sdk, question(provider))


async def test_a_piece_that_is_no_text_is_the_providers_failure(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": 5}}]}
    answer_raw(provider, f"data: {json.dumps(chunk)}\n\n", "text/event-stream")
    with pytest.raises(errors.ProviderError):
        await read(sdk, question(provider))


async def test_a_cancelled_call_ends_the_providers_work(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    provider.delay = FOR_EVER
    call = asyncio.create_task(sdk.acomplete(question(provider)))
    await becomes(lambda: provider.running == 1)
    assert provider.disconnected == 0
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    assert call.cancelled()
    await becomes(lambda: provider.disconnected == 1)
    assert provider.running == 0


async def test_a_reader_that_stops_ends_the_providers_work(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    provider.piece_delay = FOR_EVER
    items = sdk.astream(question(provider))
    assert await anext(items) == "Hel"
    assert provider.running == 1
    await items.aclose()
    await becomes(lambda: provider.running == 0)
    assert provider.disconnected == 1


@pytest.fixture
def transports(
    monkeypatch: pytest.MonkeyPatch,
) -> list[openai.DefaultAioHttpClient]:
    """Every asynchronous transport that is made."""
    made: list[openai.DefaultAioHttpClient] = []
    original = openai.DefaultAioHttpClient

    def make(**options: Any) -> openai.DefaultAioHttpClient:
        made.append(original(**options))
        return made[-1]

    monkeypatch.setattr(openai, "DefaultAioHttpClient", make)
    return made


async def test_calls_with_one_credential_share_a_transport(
    provider: FakeProvider,
    sdk: OpenAISDK,
    transports: list[openai.DefaultAioHttpClient],
) -> None:
    for temperature in (0.1, 0.2):
        asked = question(
            provider, temperature=temperature, name=f"m-{temperature}"
        )
        await sdk.acomplete(asked)
        await read(sdk, asked)
    assert len(provider.requests) == 4
    assert len(transports) == 1


async def test_every_credential_and_endpoint_has_its_own_transport(
    provider: FakeProvider,
    sdk: OpenAISDK,
    transports: list[openai.DefaultAioHttpClient],
) -> None:
    other = provider.url.replace("127.0.0.1", "localhost")
    for config in (
        {"api_key": SecretStr("sk-one")},
        {"api_key": SecretStr("sk-two")},
        {"api_key": SecretStr("sk-two"), "endpoint": other},
        {"api_key": SecretStr("sk-one")},
    ):
        await sdk.acomplete(question(provider, **config))
    keys = [value.split("-")[-1] for value in provider.authorizations]
    assert keys == ["one", "two", "two", "one"]
    assert len(transports) == 3


async def test_closing_closes_every_transport_and_can_be_repeated(
    provider: FakeProvider,
    sdk: OpenAISDK,
    transports: list[openai.DefaultAioHttpClient],
) -> None:
    await sdk.acomplete(question(provider))
    await sdk.acomplete(question(provider, api_key=SecretStr("sk-two")))
    assert [transport.is_closed for transport in transports] == [False] * 2
    await sdk.aclose()
    await sdk.aclose()
    assert [transport.is_closed for transport in transports] == [True] * 2


async def test_blocking_clients_are_closed_after_each_call(
    provider: FakeProvider,
    sdk: OpenAISDK,
    transports: list[openai.DefaultAioHttpClient],
) -> None:
    await asyncio.to_thread(sdk.complete, question(provider))
    await asyncio.to_thread(lambda: list(sdk.stream(question(provider))))
    answer_with(provider, lambda: failure(500, "x"))
    with pytest.raises(errors.ProviderError):
        await asyncio.to_thread(sdk.complete, question(provider))
    assert [transport.is_closed for transport in transports] == [True] * 3


async def test_many_calls_run_at_once(
    provider: FakeProvider, sdk: OpenAISDK
) -> None:
    # None is answered before all are there.
    together = asyncio.Event()

    async def handler(_body: dict[str, Any]) -> web.StreamResponse:
        if provider.running >= 150:
            together.set()
        await together.wait()
        return completion("yes")

    provider.handler = handler
    calls = [sdk.acomplete(question(provider)) for _ in range(150)]
    answers = await asyncio.gather(*calls)
    assert [answer.text for answer in answers] == ["yes"] * 150


async def test_without_an_endpoint_it_is_openais_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    wire = openai_client.connect(LLMConfig("gpt", api_key=SecretStr(KEY)), 1.0)
    assert isinstance(wire, StainlessWire)
    assert str(wire._client.base_url) == "https://api.openai.com/v1/"
    await wire.close()


def test_its_name_is_the_contracts() -> None:
    assert OpenAISDK.get_name() == "OpenAI"
    assert OpenAISDK.needs_key is True


@pytest.mark.parametrize(
    "endpoint", ["", "https://api.openai.com/v1", "http://127.0.0.1:1/v1"]
)
def test_settings_that_can_work_are_taken(endpoint: str) -> None:
    config = LLMConfig("gpt", endpoint=endpoint, api_key=SecretStr(KEY))
    OpenAISDK().validate_config(config)


def test_a_model_without_a_key_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="no API key"):
        OpenAISDK().validate_config(LLMConfig("gpt"))


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:8000",
        "ftp://x",
        "/v1",
        "http://me:secret@host/v1",
        "https://me@host/v1",
        "http://",
        "http://host:port/v1",
        "http://[::1/v1",
    ],
)
def test_an_endpoint_that_is_no_base_url_is_refused(endpoint: str) -> None:
    config = LLMConfig("gpt", endpoint=endpoint, api_key=SecretStr(KEY))
    with pytest.raises(errors.ConfigurationError) as refused:
        OpenAISDK().validate_config(config)
    assert "endpoint" in str(refused.value)
    assert KEY not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}é", "sk\x00"])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    config = LLMConfig("gpt", api_key=SecretStr(key))
    with pytest.raises(errors.ConfigurationError):
        OpenAISDK().validate_config(config)
