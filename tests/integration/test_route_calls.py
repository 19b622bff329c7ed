"""Streams and the vendors' libraries, with a route in place of a model."""

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from aiohttp import web

from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser, Json, unique
from tests.support.fake_provider import Body, FakeProvider
from tests.support.gateway_user import GatewayUser
from tests.support.route_world import (
    Behaviour,
    RouteWorld,
    fails,
    says,
)
from tests.support.waiting import eventually

HELLO: Any = [{"role": "user", "content": "Hello"}]
MODEL = "x-metasync-model"
LIMITED = fails(429, "slow down", **{"retry-after": "1"})


@pytest.fixture
def user(http: httpx2.Client) -> GatewayUser:
    return GatewayUser(http)


@pytest.fixture
def world(user: GatewayUser, provider: FakeProvider) -> RouteWorld:
    return RouteWorld(user, provider)


def streams(
    *pieces: str, breaks: bool = False, ending: str = "stop"
) -> Behaviour:
    """Answer as a stream; the connection may break after the pieces."""

    base = {"id": "c", "object": "chat.completion.chunk", "created": 1}

    def event(delta: Json, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return json.dumps({**base, "model": "fake", "choices": [choice]})

    async def behave(_body: Body) -> web.StreamResponse:
        lines = [event({"content": each}) for each in pieces]
        if not breaks:
            lines += [event({}, ending), "[DONE]"]
        text = "".join(f"data: {each}\n\n" for each in lines)
        return web.Response(
            text=text, headers={"content-type": "text/event-stream"}
        )

    return behave


def of_stream(user: ApiUser, answer: httpx2.Response) -> Json:
    def look() -> Json | None:
        path = f"/stream/{answer.headers['X-Stream-Id']}"
        found: Json = user.get(path)
        return found if found["status"] != "streaming" else None

    return eventually(look, what="end of the stream")


def stream(world: RouteWorld, route: str, **fields: Any) -> httpx2.Response:
    return world.user.http.post(
        "/stream",
        headers=world.user.headers,
        json={"userPrompt": "hi", "model": route, **fields},
    )


def kinds(record: Json) -> list[tuple[str, str]]:
    return [
        (each["model"], each["fallback"]) for each in record["tried"] or ()
    ]


class TestStreams:
    def test_it_falls_over_before_the_first_piece(
        self, world: RouteWorld
    ) -> None:
        down, limited = world.model(fails(500)), world.model(LIMITED)
        good = world.model(streams("Hel", "lo"))
        route = world.route(down, limited, good)
        answer = stream(world, route)
        assert (answer.status_code, answer.text) == (200, "Hello")
        assert answer.headers[MODEL] == good
        record = of_stream(world.user, answer)
        assert record["status"] == "completed"
        assert record["model"] == route
        assert record["answeredBy"] == good
        assert kinds(record) == [(down, "outage"), (limited, "rateLimit")]

    def test_a_filtered_answer_is_another_ones(
        self, world: RouteWorld
    ) -> None:
        first = world.model(streams(ending="content_filter"))
        good = world.model(streams("Hello"))
        kinds_ = ["contentFilter"]
        answer = stream(world, world.route(first, good, fallbackOn=kinds_))
        assert (answer.text, answer.headers[MODEL]) == ("Hello", good)
        assert kinds(of_stream(world.user, answer)) == [
            (first, "contentFilter")
        ]

    def test_after_the_first_piece_it_does_not(
        self, world: RouteWorld
    ) -> None:
        breaking = world.model(streams("Hel", breaks=True))
        good = world.model(streams("Hello"))
        answer = stream(world, world.route(breaking, good))
        assert answer.text.startswith("Hel[Error: ")
        record = of_stream(world.user, answer)
        assert record["status"] == "error"
        assert record["answeredBy"] == breaking
        assert world.asked() == [breaking]

    def test_if_all_fail_the_record_has_all(self, world: RouteWorld) -> None:
        models = [world.model(fails(500)) for _ in range(2)]
        answer = stream(world, world.route(*models))
        assert answer.status_code == 502
        record = of_stream(world.user, answer)
        assert record["responseData"]["errorType"] == "PROVIDER_ERROR"
        assert kinds(record) == [(each, "outage") for each in models]
        assert "answeredBy" not in record

    def test_a_plain_model_is_recorded_as_before(
        self, world: RouteWorld
    ) -> None:
        model = world.model(streams("hi"))
        answer = stream(world, model)
        assert answer.headers[MODEL] == model
        record = of_stream(world.user, answer)
        assert "tried" not in record
        assert "answeredBy" not in record

    def test_an_unknown_name_is_refused(self, world: RouteWorld) -> None:
        answer = stream(world, "nothing-like-it")
        assert answer.status_code == 400
        assert answer.json()["detail"] == "Model nothing-like-it not found"


def create(client: openai.OpenAI, model: str, **fields: Any) -> Any:
    return client.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, **fields
    )


class TestOpenAI:
    def test_a_completion_comes_from_the_next_target(
        self, world: RouteWorld, user: GatewayUser
    ) -> None:
        down, good = world.model(fails(503)), world.model(says("Hello"))
        route = world.route(down, good)
        with user.openai() as client:
            raw = create(client, route)
        assert raw.headers[MODEL] == good
        assert raw.parse().choices[0].message.content == "Hello"
        (record,) = user.records()
        assert record["model"] == route
        assert record["answeredBy"] == good
        assert kinds(record) == [(down, "outage")]
        groups = user.get("/usage", groupBy="model")["groups"]
        assert [each["model"] for each in groups] == [good]

    def test_a_stream_comes_from_the_next_target(
        self, world: RouteWorld, user: GatewayUser
    ) -> None:
        down, good = world.model(fails(503)), world.model(streams("Hel", "lo"))
        with user.openai() as client:
            raw = create(client, world.route(down, good), stream=True)
            text = "".join(
                each.choices[0].delta.content or ""
                for each in raw.parse()
                if each.choices
            )
        assert (text, raw.headers[MODEL]) == ("Hello", good)

    def test_a_stream_that_breaks_is_not_begun_again(
        self, world: RouteWorld, user: GatewayUser
    ) -> None:
        breaking = world.model(streams("Hel", breaks=True))
        good = world.model(streams("Hello"))
        with user.openai() as client, pytest.raises(openai.APIError):
            list(
                create(
                    client, world.route(breaking, good), stream=True
                ).parse()
            )
        assert world.asked() == [breaking]

    @pytest.mark.parametrize(
        ("kind", "behaviour"),
        [
            ("rateLimit", LIMITED),
            ("outage", fails(500)),
            ("suspended", fails(401)),
            ("contextTooLong", fails(400, "maximum context length is 5")),
            ("contentFilter", says("", finish_reason="content_filter")),
        ],
    )
    def test_each_kind_leads_on(
        self,
        world: RouteWorld,
        user: GatewayUser,
        kind: str,
        behaviour: Behaviour,
    ) -> None:
        first, good = world.model(behaviour), world.model(says("Hello"))
        route = world.route(first, good, fallbackOn=[kind])
        with user.openai() as client:
            raw = create(client, route)
        assert raw.headers[MODEL] == good
        (record,) = user.records()
        assert kinds(record) == [(first, kind)]
        # What the first call has cost is counted, too.
        tokens = 20 if kind == "contentFilter" else 10
        assert record["processingMetrics"]["totalTokens"] == tokens

    def test_the_last_targets_answer_is_the_clients(
        self, world: RouteWorld, user: GatewayUser
    ) -> None:
        filtered = says("", finish_reason="content_filter")
        models = [world.model(filtered) for _ in range(2)]
        route = world.route(*models, fallbackOn=["contentFilter"])
        with user.openai() as client:
            raw = create(client, route)
        assert raw.parse().choices[0].finish_reason == "content_filter"
        assert world.asked() == models

    def test_an_error_of_its_own_is_the_vendors(
        self, world: RouteWorld, user: GatewayUser
    ) -> None:
        first = world.model(fails(400, "bad field"))
        route = world.route(first, world.model())
        with (
            user.openai() as client,
            pytest.raises(openai.BadRequestError, match="bad field") as caught,
        ):
            create(client, route)
        assert caught.value.response.headers[MODEL] == first
        assert world.asked() == [first]

    def test_a_call_may_wait_for_all_targets(
        self, world: RouteWorld, user: GatewayUser
    ) -> None:
        models = [world.model(LIMITED), world.model(LIMITED)]
        route = world.route(*models)

        async def later(_body: Body) -> web.StreamResponse:
            world.behaves(models[1], says("Hello"))
            return await LIMITED(_body)

        world.behaves(models[1], later)
        with user.openai() as client:
            with pytest.raises(openai.RateLimitError):
                create(client, route)
            raw = create(
                client, route, extra_headers={"X-Metasync-Max-Wait": "10"}
            )
        assert raw.headers[MODEL] == models[1]

    def test_routes_are_listed_as_models(
        self, world: RouteWorld, user: GatewayUser
    ) -> None:
        route = world.route(world.model())
        with user.openai() as client:
            listed = {each.id: each for each in client.models.list()}
            assert listed[route].owned_by == "metasync"
            assert client.models.retrieve(route).id == route
        with user.anthropic() as other:
            assert other.models.retrieve(route).id == route


class TestAnthropic:
    def models(
        self, user: GatewayUser, simulator: Simulator
    ) -> tuple[str, str]:
        def model(sdk: str) -> str:
            url = simulator.base_urls[sdk]
            return user.model(sdk=sdk, endpoint=url, key="PROVIDER-KEY")

        return model("Anthropic"), model("OpenAI")

    def test_a_message_comes_from_another_vendor(
        self,
        world: RouteWorld,
        user: GatewayUser,
        shared_simulator: Simulator,
    ) -> None:
        claude, gpt = self.models(user, shared_simulator)
        down = world.model(fails(503))
        for good in (claude, gpt):
            route = world.route(down, good)
            with user.anthropic() as client:
                raw = client.messages.with_raw_response.create(
                    model=route, messages=HELLO, max_tokens=20
                )
            assert raw.headers[MODEL] == good
            (block,) = raw.parse().content
            assert isinstance(block, anthropic.types.TextBlock)
            assert "Hello" in block.text
            with (
                user.anthropic() as client,
                client.messages.stream(
                    model=route, messages=HELLO, max_tokens=20
                ) as events,
            ):
                assert "Hello" in events.get_final_text()

    def test_a_target_that_cannot_take_it_is_passed_over(
        self,
        world: RouteWorld,
        user: GatewayUser,
        shared_simulator: Simulator,
    ) -> None:
        claude, gpt = self.models(user, shared_simulator)
        route = world.route(claude, gpt, fallbackOn=[])
        with user.openai() as client:
            raw = client.chat.completions.with_raw_response.create(
                model=route,
                messages=HELLO,
                extra_body={"metadata": {"only": "openai"}, "store": True},
            )
        assert raw.headers[MODEL] in (claude, gpt)

    def test_an_unknown_name_is_a_404(self, user: GatewayUser) -> None:
        with (
            user.anthropic() as client,
            pytest.raises(anthropic.NotFoundError),
        ):
            client.messages.create(
                model=unique("none"), messages=HELLO, max_tokens=20
            )


def test_the_proxy_takes_models_only(
    world: RouteWorld, user: GatewayUser
) -> None:
    route = world.route(world.model())
    answer = user.http.get(
        f"/proxy/{route}/models",
        headers={"authorization": f"Bearer {user.token}"},
    )
    assert answer.status_code == 404
