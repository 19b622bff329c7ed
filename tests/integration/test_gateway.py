"""The vendors' libraries against a running service."""

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2
import openai
import pytest
from aiohttp import web
from pydantic import BaseModel

from provider_simulator.running import Simulator
from tests.conftest import PROVIDER_KEY
from tests.support.api_user import ADMIN, ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.gateway_user import GatewayUser
from tests.support.waiting import eventually

HELLO: Any = [{"role": "user", "content": "Hello"}]
# The fake provider answers JSON with JSON.
JSON: Any = [{"role": "user", "content": '"hi"'}]


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    return shared_simulator


@pytest.fixture
def user(http: httpx2.Client) -> GatewayUser:
    return GatewayUser(http)


@pytest.fixture
def gpt(user: GatewayUser, simulator: Simulator) -> str:
    return model_at(user, "OpenAI", simulator.base_urls["OpenAI"], "gpt-x")


@pytest.fixture
def claude(user: GatewayUser, simulator: Simulator) -> str:
    url = simulator.base_urls["Anthropic"]
    return model_at(user, "Anthropic", url, "claude-x")


@pytest.fixture
def faked(user: GatewayUser, provider: FakeProvider) -> str:
    return model_at(user, "OpenAI", provider.url, "fake-x")


def model_at(user: ApiUser, sdk: str, url: str, deployment: str) -> str:
    return user.model(
        sdk=sdk, endpoint=url, key="PROVIDER-KEY", deployment=deployment
    )


def test_a_chat_completion_is_typed_and_recorded(
    user: GatewayUser, gpt: str
) -> None:
    with user.openai() as client:
        answer = client.chat.completions.create(model=gpt, messages=HELLO)
    assert answer.choices[0].message.content is not None
    assert "Hello" in answer.choices[0].message.content
    assert answer.model == "gpt-x"
    assert answer.usage is not None
    assert answer._request_id
    (record,) = user.records()
    assert record["interface"] == "/v1/chat/completions"
    assert record["status"] == "completed"
    assert record["requestData"]["body"]["messages"] == HELLO
    text = answer.choices[0].message.content
    assert record["responseData"] == {"text": text}
    metrics = record["processingMetrics"]
    assert metrics["inputTokens"] == answer.usage.prompt_tokens
    assert metrics["totalCost"] > 0
    usage = eventually(
        lambda: user.get("/usage", groupBy="operation")["groups"]
    )
    assert [each["operation"] for each in usage] == ["gateway"]


def test_unknown_fields_pass_and_only_key_and_name_change(
    user: GatewayUser, faked: str, provider: FakeProvider
) -> None:
    with user.openai() as client:
        client.chat.completions.create(
            model=faked,
            messages=JSON,
            extra_body={"not_yet_invented": {"deep": [1, 2.5, None]}},
        )
    assert provider.requests == [
        {
            "model": "fake-x",
            "messages": JSON,
            "not_yet_invented": {"deep": [1, 2.5, None]},
        }
    ]
    assert provider.authorizations == [f"Bearer {PROVIDER_KEY}"]


async def test_the_asynchronous_clients_stream(
    user: GatewayUser, gpt: str, claude: str
) -> None:
    async with user.async_openai() as client:
        stream = await client.chat.completions.create(
            model=gpt, messages=HELLO, stream=True
        )
        chunks = [chunk async for chunk in stream]
    # Its usage was not asked for by the client, but it is recorded.
    assert all(chunk.choices and not chunk.usage for chunk in chunks)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    async with (
        user.async_anthropic() as other,
        other.messages.stream(
            model=claude, max_tokens=100, messages=HELLO
        ) as events,
    ):
        texts = [text async for text in events.text_stream]
        final = await events.get_final_message()
    assert "Hello" in "".join(texts)
    assert final.usage.output_tokens > 1
    records = await asyncio.to_thread(user.records, 2)
    assert records[0]["responseData"]["text"] == said
    for record in records:
        assert record["processingMetrics"]["outputTokens"] > 1
        assert record["processingMetrics"]["timeToFirstToken"] > 0


def test_the_usage_of_a_stream_comes_if_it_is_asked_for(
    user: GatewayUser, gpt: str
) -> None:
    with user.openai() as client:
        *_, last = client.chat.completions.create(
            model=gpt,
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
    assert not last.choices
    assert last.usage is not None
    assert last.usage.completion_tokens > 1


class Review(BaseModel):
    happy: bool
    score: int


def test_the_helpers_of_the_libraries_work(
    user: GatewayUser, gpt: str
) -> None:
    with user.openai() as client:
        parsed = client.chat.completions.parse(
            model=gpt, messages=HELLO, response_format=Review
        )
        assert isinstance(parsed.choices[0].message.parsed, Review)
        with client.chat.completions.stream(
            model=gpt, messages=HELLO, response_format=Review
        ) as stream:
            final = stream.get_final_completion()
        assert isinstance(final.choices[0].message.parsed, Review)
        with client.responses.stream(
            model=gpt, input="Hello", text_format=Review
        ) as events:
            kinds = [event.type for event in events]
            response = events.get_final_response()
        assert kinds[0] == "response.created"
        assert isinstance(response.output_parsed, Review)
        assert response.usage is not None
        raw = client.chat.completions.with_raw_response.create(
            model=gpt, messages=HELLO
        )
        assert raw.headers["x-stream-id"]


def test_responses_and_embeddings(user: GatewayUser, gpt: str) -> None:
    with user.openai() as client:
        response = client.responses.create(model=gpt, input="Hello")
        assert "Hello" in response.output_text
        found = client.embeddings.create(
            model=gpt, input=["one", "two"], dimensions=4
        )
    assert [each.index for each in found.data] == [0, 1]
    assert all(len(each.embedding) == 4 for each in found.data)
    records = {each["interface"]: each for each in user.records(2)}
    assert records["/v1/embeddings"]["processingMetrics"]["inputTokens"] == 2
    text = records["/v1/responses"]["responseData"]["text"]
    assert text == response.output_text


def test_messages_and_their_count(user: GatewayUser, claude: str) -> None:
    with user.anthropic() as client:
        message = client.messages.create(
            model=claude, max_tokens=100, messages=HELLO
        )
        count = client.messages.count_tokens(model=claude, messages=HELLO)
    assert message.content[0].type == "text"
    assert message.usage.input_tokens == count.input_tokens == 2
    assert message._request_id
    # A count costs nothing and leaves no record.
    (record,) = user.records()
    assert record["interface"] == "/v1/messages"


def test_both_libraries_list_the_models(
    user: GatewayUser, gpt: str, claude: str
) -> None:
    with user.openai() as client:
        names = [model.id for model in client.models.list()]
        assert {gpt, claude} <= set(names)
        assert client.models.retrieve(gpt).owned_by == "OpenAI"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nope")
    with user.anthropic() as other:
        # Its iterator fetches page after page.
        paged = [model.id for model in other.models.list(limit=1)]
        assert paged == names
        assert other.models.retrieve(claude).display_name == claude
        with pytest.raises(anthropic.BadRequestError):
            other.models.list(limit=0)


@pytest.mark.parametrize("name", ["gpt", "claude"])
def test_each_format_is_translated_into_the_other(
    user: GatewayUser, name: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    with user.openai() as client, user.anthropic() as other:
        chat = client.chat.completions.create(model=model, messages=HELLO)
        message = other.messages.create(
            model=model, max_tokens=50, messages=HELLO
        )
        response = client.responses.create(model=model, input="Hello")
        with other.messages.stream(
            model=model, max_tokens=50, messages=HELLO
        ) as stream:
            streamed = "".join(stream.text_stream)
        chunks = client.chat.completions.create(
            model=model, messages=HELLO, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert message.content[0].type == "text"
    said = message.content[0].text
    assert "Hello" in said
    assert chat.choices[0].message.content == said
    assert response.output_text == streamed == "".join(pieces) == said


WEATHER: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


def test_calls_of_tools_are_translated_in_streams_too(
    user: GatewayUser, gpt: str, claude: str
) -> None:
    function: Any = {"name": "weather", "parameters": WEATHER}
    with (
        user.openai() as client,
        client.chat.completions.stream(
            model=claude,
            messages=HELLO,
            tools=[{"type": "function", "function": function}],
            tool_choice="required",
        ) as stream,
    ):
        completion = stream.get_final_completion()
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    called = choice.message.tool_calls[0].function
    assert called.name == "weather"
    assert "city" in json.loads(called.arguments)
    with (
        user.anthropic() as other,
        other.messages.stream(
            model=gpt,
            max_tokens=100,
            messages=HELLO,
            tools=[{"name": "weather", "input_schema": WEATHER}],
            tool_choice={"type": "any"},
        ) as events,
    ):
        message = events.get_final_message()
    assert message.stop_reason == "tool_use"
    block = message.content[-1]
    assert block.type == "tool_use"
    assert isinstance(block.input, dict)
    assert "city" in block.input


def test_a_server_without_responses_is_asked_for_chat_completions(
    user: GatewayUser, gpt: str, simulator: Simulator
) -> None:
    # The simulator has chat completions there, and nothing else.
    url = f"{simulator.url}/openai/v1"
    model = model_at(user, "OpenAI", url, "local")
    with user.openai() as client:
        for _ in range(2):
            response = client.responses.create(model=model, input="Hello")
            assert "Hello" in response.output_text
        with pytest.raises(openai.BadRequestError, match="previous"):
            client.responses.create(
                model=model, input="Hello", previous_response_id="resp_1"
            )
        # A model that is not there is told as it is.
        simulator.script({"status": 404, "message": "No such model: m"})
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model=gpt, input="Hello")


def test_what_cannot_be_translated_is_refused_by_name(
    user: GatewayUser, claude: str, simulator: Simulator
) -> None:
    with user.openai() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model=claude, messages=HELLO, seed=1, logit_bias={"1": 2}
            )
        assert caught.value.param == "logit_bias"
        assert caught.value.type == "invalid_request_error"
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model=claude, input="one")
    assert simulator.stats()["requests"] == 0


def test_errors_are_the_vendors(user: GatewayUser, gpt: str) -> None:
    with user.openai() as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="nope", messages=HELLO)
        assert missing.value.code == "model_not_found"
        assert missing.value.param == "model"
        assert missing.value.request_id
        with pytest.raises(openai.BadRequestError, match="messages"):
            client.chat.completions.create(model=gpt, messages=[])
        with pytest.raises(openai.BadRequestError) as wrong:
            client.post("/responses", body={"input": "hi"}, cast_to=object)
        assert wrong.value.param == "model"
        with pytest.raises(openai.NotFoundError, match="Unknown request URL"):
            client.post("/nothing", body={}, cast_to=object)
    with user.anthropic() as other:
        with pytest.raises(anthropic.NotFoundError) as unknown:
            other.messages.create(model="nope", max_tokens=1, messages=HELLO)
        body: Any = unknown.value.body
        assert body["error"]["type"] == "not_found_error"
        assert body["request_id"] == unknown.value.request_id


def test_only_the_right_token_is_let_in(user: GatewayUser, gpt: str) -> None:
    for wrong in ("x", user.client_id, f"{user.client_id}:{'0' * 64}"):
        with (
            user.openai(api_key=wrong) as client,
            pytest.raises(openai.AuthenticationError) as refused,
        ):
            client.models.list()
        assert refused.value.code == "invalid_api_key"
        with (
            user.anthropic(api_key=wrong) as other,
            pytest.raises(anthropic.AuthenticationError),
        ):
            other.messages.create(model=gpt, max_tokens=1, messages=HELLO)
    # Two tokens that differ: nobody can tell which was meant.
    both = {"x-api-key": "x:y", "Authorization": f"Bearer {user.token}"}
    assert user.http.get("/v1/models", headers=both).status_code == 401
    assert user.http.get("/v1/models").status_code == 401
    assert user.http.get("/v1/models", headers=user.headers).is_success
    rotated = user.http.post(
        f"/clients/{user.client_id}/rotate-key", headers=ADMIN
    ).json()
    with user.openai(api_key=rotated["token"]) as client:
        assert client.models.list().data
    with (
        user.openai() as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_a_body_has_a_limit(user: GatewayUser) -> None:
    connection = HTTPConnection(urlsplit(user.url).netloc, timeout=20)
    connection.putrequest("POST", "/v1/messages")
    connection.putheader("x-api-key", user.token)
    connection.putheader("content-length", str(64 * 1024 * 1024 + 1))
    connection.endheaders()
    refused = connection.getresponse()
    assert refused.status == 413
    assert json.load(refused)["error"]["type"] == "request_too_large"
    connection.close()
    for wrong in (b"[]", b"{", b'{"model": 3}', b'{"stream": "x"}', b"\xff"):
        answer = user.http.post(
            "/v1/chat/completions",
            headers={"Authorization": f"Bearer {user.token}"},
            content=wrong,
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_providers_own_refusal_goes_back_as_it_is(
    user: GatewayUser, faked: str, provider: FakeProvider
) -> None:
    refusal = {
        "error": {
            "message": f"No: {PROVIDER_KEY}",
            "type": "invalid_request_error",
            "param": "messages[0].content",
            "code": "very_special",
            "extra": 1,
        }
    }

    async def refuse(_: Any) -> web.Response:
        return web.json_response(refusal, status=422)

    provider.handler = refuse
    with (
        user.openai() as client,
        pytest.raises(openai.UnprocessableEntityError) as caught,
    ):
        client.chat.completions.create(model=faked, messages=HELLO)
    assert caught.value.code == "very_special"
    assert caught.value.param == "messages[0].content"
    # But for the model's key.
    assert PROVIDER_KEY not in str(caught.value.body)
    (record,) = user.records()
    assert record["status"] == "error"
    assert PROVIDER_KEY not in str(record)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "No such file: the model was not found"),
        (400, "No such file: credit balance is too low"),
        (403, "No such file: billing is off, no credits left"),
    ],
)
def test_what_a_client_has_sent_suspends_no_model(
    user: GatewayUser,
    gpt: str,
    simulator: Simulator,
    status: int,
    message: str,
) -> None:
    # As providers quote the names that a request has.
    error = {"message": message, "type": "invalid_request_error", "code": "x"}
    simulator.script({"status": status, "body": {"error": error}, "times": 1})
    with user.openai() as client:
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model=gpt, messages=HELLO)
        answer = client.chat.completions.create(model=gpt, messages=HELLO)
        assert answer.choices


@pytest.mark.parametrize(
    ("status", "seen"),
    [(401, 502), (403, 502), (500, 500), (503, 503), (529, 529)],
)
def test_the_models_key_is_no_matter_of_the_clients(
    user: GatewayUser,
    claude: str,
    simulator: Simulator,
    status: int,
    seen: int,
) -> None:
    simulator.script({"status": status, "message": "Something is wrong"})
    with (
        user.anthropic() as client,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        client.messages.create(model=claude, max_tokens=9, messages=HELLO)
    assert caught.value.status_code == seen
    is_ours = status in (401, 403)
    told = caught.value.response.headers.get("x-should-retry")
    assert told == ("false" if is_ours else None)


def events_until_error(stream: Iterable[Any]) -> Iterator[str]:
    """Yield the types of events; OpenAI's library may raise the last."""
    try:
        for event in stream:
            yield event.type
    except openai.APIError:
        yield "error"


@pytest.mark.parametrize("failure", ["truncated", "stream_error"])
def test_a_broken_stream_ends_with_the_vendors_error(
    user: GatewayUser,
    gpt: str,
    claude: str,
    simulator: Simulator,
    failure: str,
) -> None:
    simulator.script({"text": "so " * 60, "failure": failure})
    texts: list[str] = []
    with user.openai() as client:
        with pytest.raises(openai.APIError):  # noqa: PT012 - in the middle
            for chunk in client.chat.completions.create(
                model=gpt, messages=HELLO, stream=True
            ):
                texts += [chunk.choices[0].delta.content or ""]
        *_, last = events_until_error(
            client.responses.create(model=gpt, input="Hello", stream=True)
        )
        assert last == "error"
        with pytest.raises(openai.APIError):
            list(
                client.chat.completions.create(
                    model=claude, messages=HELLO, stream=True
                )
            )
    assert "".join(texts).startswith("so so")
    with (
        user.anthropic() as other,
        pytest.raises(anthropic.APIStatusError),
        other.messages.stream(
            model=claude, max_tokens=99, messages=HELLO
        ) as stream,
    ):
        stream.until_done()
    for record in user.records(4):
        assert record["status"] == "error"


def test_a_client_that_hangs_up_ends_the_providers_call(
    user: GatewayUser,
    gpt: str,
    faked: str,
    provider: FakeProvider,
    simulator: Simulator,
) -> None:
    simulator.script({"text": "so " * 1000})
    simulator.configure(tokens_per_second=20)
    with user.openai() as client:
        stream = client.chat.completions.create(
            model=gpt, messages=HELLO, stream=True
        )
        next(iter(stream))
        stream.close()
        eventually(lambda: simulator.stats()["open"] == 0, what="hang up")
        # And one that does not wait for a whole answer.
        provider.holds = True
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.5).chat.completions.create(
                model=faked, messages=HELLO
            )
        eventually(lambda: provider.running == 0, what="hang up")
    kinds = [each["responseData"]["errorType"] for each in user.records(2)]
    assert kinds == ["CLIENT_HUNG_UP"] * 2


def test_a_call_beyond_its_limit_gets_429_or_waits(
    user: GatewayUser, provider: FakeProvider
) -> None:
    model = user.model(
        sdk="OpenAI",
        endpoint=provider.url,
        key="PROVIDER-KEY",
        limits={"maxConcurrency": 1},
    )
    provider.holds = True
    first: dict[str, Any] = {}

    def call(**options: Any) -> Any:
        with user.openai(timeout=30) as client:
            return client.chat.completions.create(
                model=model, messages=JSON, **options
            )

    thread = threading.Thread(target=lambda: first.update(answer=call()))
    thread.start()
    eventually(lambda: provider.running == 1)
    with pytest.raises(openai.RateLimitError) as limited:
        call()
    assert limited.value.code == "rate_limit_exceeded"
    assert int(limited.value.response.headers["retry-after"]) >= 1
    with pytest.raises(openai.BadRequestError, match="0 to 600"):
        call(extra_headers={"x-metasync-max-wait": "never"})
    waits: dict[str, Any] = {}
    second = threading.Thread(
        target=lambda: waits.update(
            answer=call(extra_headers={"x-metasync-max-wait": "30"})
        )
    )
    second.start()
    # Beyond the time that any call waits.
    threading.Event().wait(0.7)
    assert provider.running == 1
    provider.holds = False
    thread.join()
    second.join()
    assert first["answer"].choices
    assert waits["answer"].choices


def test_the_libraries_retry_what_is_limited(
    user: GatewayUser, gpt: str, simulator: Simulator
) -> None:
    simulator.script({"status": 429, "retry_after": 0, "times": 1})
    with user.openai(max_retries=3) as client:
        answer = client.chat.completions.create(model=gpt, messages=HELLO)
    assert answer.choices
    # And what waits by itself needs no retry.
    simulator.script({"status": 429, "retry_after": 0, "times": 1})
    with user.openai() as client:
        answer = client.chat.completions.create(
            model=gpt,
            messages=HELLO,
            extra_headers={"x-metasync-max-wait": "30"},
        )
    assert answer.choices


def test_budgets_hold(user: GatewayUser, gpt: str) -> None:
    user.settings(
        budget={
            "amount": 0.001,
            "currency": "USD",
            "period": "day",
            "onExhausted": "fail",
        }
    )

    def refused() -> openai.RateLimitError | None:
        with user.openai(max_retries=2) as client:
            try:
                client.chat.completions.create(
                    model=gpt, messages=HELLO, max_tokens=1000
                )
            except openai.RateLimitError as error:
                return error
        return None

    # Known everywhere after a moment.
    error = eventually(refused, what="the budget")
    assert error.code == "insufficient_quota"
    assert error.response.headers["x-should-retry"] == "false"


def test_a_client_decides_whether_texts_are_kept(
    user: GatewayUser, gpt: str
) -> None:
    user.settings(gateway={"keepTexts": False})

    def kept_nothing() -> bool:
        with user.openai() as client:
            raw = client.chat.completions.with_raw_response.create(
                model=gpt, messages=HELLO
            )
        path = f"/stream/{raw.headers['x-stream-id']}"
        record = eventually(
            lambda: (
                answer.json()
                if (
                    answer := user.http.get(path, headers=user.headers)
                ).is_success
                else None
            )
        )
        assert record["processingMetrics"]["outputTokens"] > 0
        return "Hello" not in str(record)

    eventually(kept_nothing, what="a record without texts")


def test_a_large_picture_passes(user: GatewayUser, gpt: str) -> None:
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 400_000
    # A picture is no text: the budget is not asked for its bytes.
    budget = {"amount": 10.0, "currency": "USD", "period": "day"}
    user.settings(budget=budget)
    content: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": picture}},
    ]
    with user.openai() as client:
        answer = client.chat.completions.create(
            model=gpt,
            messages=[{"role": "user", "content": content}],
            max_tokens=50,
        )
    assert answer.choices
    (record,) = user.records()
    assert record["requestData"]["bodyBytes"] > 4_000_000
