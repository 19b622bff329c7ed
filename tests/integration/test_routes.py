"""Routes: made, listed and changed; jobs that name them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.conftest import PROVIDER_KEY
from tests.integration.test_ledger import a_service
from tests.support.api_user import ADMIN, ApiUser, Json, unique
from tests.support.fake_provider import Body, FakeProvider
from tests.support.live_server import live_server, make_settings
from tests.support.route_world import (
    Behaviour,
    RouteWorld,
    fails,
    says,
    tried,
)
from tests.support.waiting import eventually


@pytest.fixture
def world(http: httpx2.Client, provider: FakeProvider) -> Iterator[RouteWorld]:
    user = ApiUser(http)
    user.worker(maxConcurrency=50)
    yield RouteWorld(user, provider)
    user.stop_workers()


def admin(
    user: ApiUser, method: str, path: str, status: int, body: Any = None
) -> Any:
    return user.request(method, path, status, headers=ADMIN, json=body)


class TestCrud:
    def test_a_route_lives(self, user: ApiUser) -> None:
        first, second = user.model(), user.model()
        name = unique("route")
        made = admin(
            user,
            "POST",
            "/routes",
            201,
            {
                "name": name,
                "strategy": "weighted",
                "targets": [{"model": first, "weight": 3}, {"model": second}],
                "fallbackOn": ["outage", "outage"],
            },
        )
        path = f"/routes/{made['routeId']}"
        assert made["strategy"] == "weighted"
        assert made["fallbackOn"] == ["outage"]
        assert [(t["model"], t["weight"]) for t in made["targets"]] == [
            (first, 3),
            (second, 1),
        ]
        assert made["_metadata"]["createdBy"] == "admin"
        assert admin(user, "GET", path, 200) == made
        # Clients see routes where they see models, and change nothing.
        assert made in user.get("/routes")
        user.request("GET", path, 401)
        user.request("POST", "/routes", 401, json={})
        changed = admin(
            user, "PATCH", path, 200, {"targets": [{"model": second}]}
        )
        assert [t["model"] for t in changed["targets"]] == [second]
        assert changed["strategy"] == "weighted"
        admin(user, "DELETE", path, 204)
        admin(user, "GET", path, 404)
        assert name not in [each["name"] for each in user.get("/routes")]
        # The name is free again.
        again = {"name": name, "targets": [{"model": first}]}
        assert admin(user, "POST", "/routes", 201, again)["strategy"] == (
            "priority"
        )

    def test_routes_are_listed_in_pages(self, user: ApiUser) -> None:
        model = user.model()
        names = [unique("route") for _ in range(3)]
        for name in names:
            body = {"name": name, "targets": [{"model": model}]}
            admin(user, "POST", "/routes", 201, body)
        seen: list[str] = []
        cursor: dict[str, str] = {}
        for _ in range(1000):
            page = user.http.get(
                "/routes", headers=user.headers, params={"limit": 2, **cursor}
            )
            seen += [each["name"] for each in page.json()]
            if "X-Next-Cursor" not in page.headers:
                break
            cursor = {"cursor": page.headers["X-Next-Cursor"]}
        assert [name for name in seen if name in names] == names
        assert len(seen) == len(set(seen))

    @pytest.mark.parametrize(
        ("changes", "status", "said"),
        [
            ({"strategy": "best"}, 422, "priority"),
            ({"fallbackOn": ["rain"]}, 422, "outage"),
            ({"targets": []}, 422, "at least 1"),
            ({"targets": [{"model": "nothing-like-it"}]}, 400, "not found"),
            ({"weight": 1}, 422, "weight"),
            ({"name": "6" * 24}, 422, "id"),
            ({"name": ""}, 422, "at least 1"),
        ],
    )
    def test_what_is_wrong_is_refused(
        self, user: ApiUser, changes: Json, status: int, said: str
    ) -> None:
        body = {"name": unique("r"), "targets": [{"model": user.model()}]}
        answer = admin(user, "POST", "/routes", status, body | changes)
        assert said in str(answer)

    def test_bad_weights_are_refused(self, user: ApiUser) -> None:
        for weight in (-1, 1001, 0.5, "x"):
            target = {"model": user.model(), "weight": weight}
            body = {"name": unique("r"), "targets": [target]}
            admin(user, "POST", "/routes", 422, body)

    def test_a_target_is_one_model_once(self, user: ApiUser) -> None:
        model = user.model()
        found = admin(user, "GET", "/models?limit=10000", 200)
        by_id = next(m["model_id"] for m in found if m["name"] == model)
        body = {
            "name": unique("r"),
            "targets": [{"model": model}, {"model": by_id}],
        }
        answer = admin(user, "POST", "/routes", 400, body)
        assert "twice" in answer["detail"]
        body["targets"] = [{"model": by_id}]
        route = admin(user, "POST", "/routes", 201, body)
        assert route["targets"][0]["model"] == model
        nested = {"name": unique("r"), "targets": [{"model": body["name"]}]}
        answer = admin(user, "POST", "/routes", 400, nested)
        assert "is a route" in answer["detail"]

    def test_models_and_routes_share_their_names(self, user: ApiUser) -> None:
        model, other = user.model(), user.model()
        body = {"name": model, "targets": [{"model": other}]}
        answer = admin(user, "POST", "/routes", 409, body)
        assert "belongs to a model" in answer["detail"]
        body["name"] = unique("route")
        route = admin(user, "POST", "/routes", 201, body)
        path = f"/routes/{route['routeId']}"
        admin(user, "PATCH", path, 409, {"name": model})
        admin(user, "POST", "/routes", 400, body)
        create = {
            "name": body["name"],
            "sdk": "test",
            "maxToken": 5,
        }
        answer = admin(user, "POST", "/models", 409, create)
        assert "belongs to a route" in answer["detail"]
        models = admin(user, "GET", "/models?limit=10000", 200)
        (found,) = (each for each in models if each["name"] == model)
        where = f"/models/{found['model_id']}"
        admin(user, "PATCH", where, 409, {"name": body["name"]})
        assert admin(user, "GET", where, 200)["name"] == model
        renamed = admin(user, "PATCH", path, 200, {"name": unique("new")})
        admin(user, "PATCH", where, 200, {"name": body["name"]})
        admin(user, "PATCH", path, 409, {"name": body["name"]})
        assert admin(user, "GET", path, 200)["name"] == renamed["name"]

    def test_a_model_in_use_is_not_deleted(self, user: ApiUser) -> None:
        model = user.model()
        body = {"name": unique("r"), "targets": [{"model": model}]}
        route = admin(user, "POST", "/routes", 201, body)
        where = f"/models/{route['targets'][0]['modelId']}"
        answer = admin(user, "DELETE", where, 409)
        assert body["name"] in answer["detail"]
        # A new name changes nothing: the route knows the model.
        admin(user, "PATCH", where, 200, {"name": unique("renamed")})
        path = f"/routes/{route['routeId']}"
        shown = admin(user, "GET", path, 200)["targets"][0]["model"]
        assert shown.startswith("renamed")
        admin(user, "DELETE", path, 204)
        admin(user, "DELETE", where, 204)


def test_a_job_goes_to_the_first_target(world: RouteWorld) -> None:
    first, second = world.model(), world.model()
    job = world.done(world.route(first, second))
    assert job["status"] == "PROCESSED"
    assert job["responseData"] == {"model": first}
    assert job["answeredBy"] == first
    assert job["attemptHistory"] is None
    assert world.asked() == [first]


def test_usage_by_route(world: RouteWorld) -> None:
    user, name = world.user, world.route(world.model(), world.model())
    jobs = [world.done(name) for _ in range(2)]
    assert {job["status"] for job in jobs} == {"PROCESSED"}

    def counted() -> bool:
        groups = user.get("/usage", groupBy="route")["groups"]
        return {g["route"]: g["requests"] for g in groups} == {name: 2}

    eventually(counted)


def test_an_outage_leads_to_the_next_target(world: RouteWorld) -> None:
    first, second = world.model(fails(500)), world.model()
    route = world.route(first, second)
    job = world.done(route)
    assert job["model"] == route
    assert job["responseData"] == {"model": second}
    assert job["answeredBy"] == second
    assert (job["attempts"], job["failures"]) == (1, 0)
    assert tried(job) == [(first, "PROVIDER_ERROR")]
    usage = world.user.get("/usage", groupBy="model")
    assert [each["model"] for each in usage["groups"]] == [second]


def test_without_a_fallback_the_first_target_decides(
    world: RouteWorld,
) -> None:
    first, second = world.model(fails(400, "no such thing")), world.model()
    job = world.done(world.route(first, second))
    assert job["status"] == "ERROR_PROCESSING"
    assert job["errorData"]["errorType"] == "BAD_REQUEST"
    assert world.asked() == [first]


FAILURES = [
    ("outage", fails(500), "PROVIDER_ERROR"),
    ("outage", fails(529), "OVERLOADED"),
    ("rateLimit", fails(429, "slow down"), "RATE_LIMITED"),
    (
        "contextTooLong",
        fails(400, "This model's maximum context length is 9 tokens"),
        "BAD_REQUEST",
    ),
    ("suspended", fails(401), "NOT_AUTHORIZED"),
    ("suspended", fails(402, "no credit"), "ACCOUNT_EXHAUSTED"),
]


@pytest.mark.parametrize(("kind", "behaviour", "error"), FAILURES)
def test_each_kind_leads_on_if_the_route_says_so(
    world: RouteWorld, kind: str, behaviour: Behaviour, error: str
) -> None:
    first, second = world.model(behaviour), world.model()
    job = world.done(world.route(first, second, fallbackOn=[kind]))
    assert job["status"] == "PROCESSED"
    assert job["answeredBy"] == second
    assert tried(job) == [(first, error)]
    assert job["attempts"] == 1
    assert world.asked() == [first, second]


@pytest.mark.parametrize(
    ("kind", "behaviour", "error"),
    [
        (
            "contentFilter",
            says("", finish_reason="content_filter"),
            "CONTENT_FILTERED",
        ),
        ("unusableAnswer", says("no JSON at all"), "JSON_PARSING_ERROR"),
        (
            "unusableAnswer",
            says('{"cut', finish_reason="length"),
            "TRUNCATED",
        ),
    ],
)
def test_an_answer_that_was_paid_for_is_kept_and_not_asked_for_again(
    world: RouteWorld, kind: str, behaviour: Behaviour, error: str
) -> None:
    first, second = world.model(behaviour), world.model()
    third = world.model()
    route = world.route(first, second, third, fallbackOn=[kind])
    job = world.done(route)
    assert job["status"] == "PROCESSED"
    assert job["answeredBy"] == second
    assert world.asked() == [first, second]
    (kept,) = job["unusableAnswers"]
    assert (kept["model"], kept["errorType"]) == (first, error)
    assert job["attempts"] == 1
    # 7 and 3 tokens, twice.
    assert job["processingMetrics"]["totalTokens"] == 20


def test_other_kinds_of_unusable_answers_end_the_job(
    world: RouteWorld,
) -> None:
    first, second = world.model(says("no JSON at all")), world.model()
    route = world.route(first, second, fallbackOn=["contentFilter"])
    job = world.done(route)
    assert job["errorData"]["errorType"] == "JSON_PARSING_ERROR"
    assert world.asked() == [first]


def test_at_the_end_of_a_route_all_answers_are_kept(
    world: RouteWorld,
) -> None:
    one, two = world.model(says("no")), world.model(says("neither"))
    route = world.route(one, two, fallbackOn=["unusableAnswer"])
    job = world.done(route)
    assert job["status"] == "ERROR_PROCESSING"
    assert [
        (each["model"], each["text"]) for each in job["unusableAnswers"]
    ] == [(one, "no"), (two, "neither")]


def test_a_target_is_told_before_the_next_one_is_asked(
    world: RouteWorld,
) -> None:
    one, two = world.model(says("no")), world.model(says("nor this"))
    last = world.model()
    route = world.route(one, two, fallbackOn=["unusableAnswer"])
    policy = {"maxReasks": 1, "ladder": [world.route(last)]}
    job = world.done(route, retryOnInvalid=policy)
    # Who repeats an answer is not asked a third time.
    assert world.asked() == [one, one, two, two, last]
    assert job["answeredBy"] == last
    lengths = [len(each["messages"]) for each in world.provider.requests]
    assert lengths == [2, 4, 2, 4, 2]


def test_the_evaluation_may_name_a_route(world: RouteWorld) -> None:
    model = world.model()
    broken, judge = world.model(fails(503)), world.model()
    route = world.route(broken, judge)
    job = world.done(
        model,
        evalPrompt=world.user.prompt("Judge."),
        evalModel=route,
        metaPrompt=world.user.prompt("Improve."),
        metaModel=route,
    )
    assert job["evalResult"] == {"model": judge}
    assert job["suggestedPromptId"] is not None
    assert {each[0] for each in tried(job)} == {broken}
    assert "answeredBy" not in job


def test_a_run_names_a_route(world: RouteWorld) -> None:
    broken, model = world.model(fails(503)), world.model()
    route = world.route(broken, model)
    user = world.user
    run = user.post(
        "/runs",
        {
            "initialWorkingPromptIds": [user.prompt()],
            "evalPromptId": user.prompt("Judge."),
            "evalModel": route,
            "metaPromptId": user.prompt("Improve."),
            "metaModel": route,
            "workingModels": [route],
            "maxIterations": 1,
            "requestData": {"text": "hello"},
        },
    )

    def ended() -> Json | None:
        found: Json = user.get(f"/runs/{run['runId']}")
        return found if found["status"] != "RUNNING" else None

    done = eventually(ended, what="end of the run")
    assert done["status"] == "COMPLETED", done["failureReason"]
    assert done["modelRuns"][0]["model"] == route
    (iteration,) = done["modelRuns"][0]["iterations"]
    assert user.get(f"/jobs/{iteration['jobId']}")["answeredBy"] == model


def all_done(world: RouteWorld, route: str, count: int) -> list[Json]:
    """Run a number of equal jobs; return them all."""
    user, prompt = world.user, world.user.prompt()
    before = user.get("/jobs/summary", model=route)["total"]
    user.post(
        "/jobs/batch",
        {"jobs": [user.job_body(route, prompt) for _ in range(count)]},
    )

    def look() -> bool:
        found = user.get("/jobs/summary", model=route)
        return not found["PENDING"] + found["PROCESSING"]

    eventually(look, seconds=60, what=f"{count} jobs")
    jobs: list[Json] = user.get("/jobs", model=route)
    return jobs[before:]


class TestStrategies:
    def shares(self, jobs: list[Json]) -> Counter[str]:
        assert all(each["status"] == "PROCESSED" for each in jobs)
        return Counter(each["answeredBy"] for each in jobs)

    def test_round_robin(self, world: RouteWorld) -> None:
        models = [world.model() for _ in range(3)]
        jobs = all_done(world, world.route(*models, strategy="roundRobin"), 60)
        assert self.shares(jobs) == dict.fromkeys(models, 20)

    def test_weighted(self, world: RouteWorld) -> None:
        often, seldom = world.model(), world.model()
        route = world.route(
            {"model": often, "weight": 4},
            {"model": seldom, "weight": 1},
            strategy="weighted",
        )
        found = self.shares(all_done(world, route, 400))
        # Five standard deviations.
        assert abs(found[often] - 320) < 5 * (400 * 0.8 * 0.2) ** 0.5

    def test_cheapest_by_this_request(self, world: RouteWorld) -> None:
        price = {"tokens": 1000, "currency": "USD"}
        dear_input = world.model(cost={**price, "input": 9, "output": 0})
        dear_output = world.model(cost={**price, "input": 1, "output": 9})
        route = world.route(dear_input, dear_output, strategy="cheapest")
        short = world.done(route, requestData={"text": "x"})
        assert short["answeredBy"] == dear_input
        long = world.done(route, requestData={"text": "x" * 20_000})
        assert long["answeredBy"] == dear_output

    def test_fastest_by_measured_time(self, world: RouteWorld) -> None:
        slow, quick = world.model(), world.model()
        plain = world.behaviours[slow]

        async def slowly(body: Body) -> web.StreamResponse:
            await asyncio.sleep(0.4)
            return await plain(body)

        world.behaves(slow, slowly)
        route = world.route(slow, quick, strategy="fastest")
        # Each is measured once.
        all_done(world, route, 2)
        assert self.shares(all_done(world, route, 10)) == {quick: 10}

    def test_auto_takes_what_the_request_needs(
        self, world: RouteWorld
    ) -> None:
        cost = {"tokens": 1000, "currency": "USD", "input": 1, "output": 1}
        blind = world.model(profile={"supportsImages": False}, cost=cost)
        seeing = world.model(cost={**cost, "input": 50, "output": 50})
        route = world.route(blind, seeing, strategy="auto")
        all_done(world, route, 2)
        assert world.done(route)["answeredBy"] == blind
        image = {"url": "data:image/png;base64,iVBORw0KGgo="}
        parts = [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": image},
        ]
        job = world.done(route, messages=[{"role": "user", "content": parts}])
        assert job["answeredBy"] == seeing
        assert tried(job) == []

    def test_a_target_that_lacks_an_option_is_passed_over(
        self, world: RouteWorld
    ) -> None:
        blind = world.model(profile={"supportsImages": False})
        seeing = world.model()
        image = {"url": "data:image/png;base64,iVBORw0KGgo="}
        parts = [{"type": "image_url", "image_url": image}]
        job = world.done(
            world.route(blind, seeing, fallbackOn=[]),
            messages=[{"role": "user", "content": parts}],
        )
        assert job["answeredBy"] == seeing
        assert tried(job) == [(blind, "CONFIGURATION_ERROR")]


class TestClosed:
    def waits_for(self, world: RouteWorld, job: Json, kind: str) -> Json:
        def look() -> Json | None:
            found: Json = world.user.get(f"/jobs/{job['jobId']}")
            why = found["waitingFor"]
            return why if why and why["kind"] == kind else None

        return eventually(look, what=f"{kind} of {job['jobId']}")

    def test_many_in_flight_at_an_outage_burn_no_attempts(
        self, world: RouteWorld
    ) -> None:
        user = world.user
        user.worker(maxConcurrency=400, maxItemsPerBatch=400)
        down, up = world.model(fails(503)), world.model()
        jobs = all_done(world, world.route(down, up), 400)
        assert {each["status"] for each in jobs} == {"PROCESSED"}
        assert {each["attempts"] for each in jobs} == {1}
        assert {each["failures"] for each in jobs} == {0}
        assert {each["answeredBy"] for each in jobs} == {up}
        assert {name for each in jobs for name, _ in tried(each)} == {down}
        # Once it is known to be down, it is asked no more.
        assert world.asked().count(down) < 400
        assert world.asked().count(up) == 400

    def test_jobs_wait_if_all_models_are_suspended(
        self, world: RouteWorld
    ) -> None:
        models = [world.model(fails(401)) for _ in range(2)]
        route, prompt = world.route(*models), world.user.prompt()
        first = world.user.job(route, prompt)
        self.waits_for(world, first, "SUSPENDED")
        calls = len(world.provider.requests)
        later = [world.user.job(route, prompt) for _ in range(5)]
        why = self.waits_for(world, later[-1], "SUSPENDED")
        assert why["until"] is not None
        # They are not claimed: nobody has tried.
        for each in later:
            job = world.user.get(f"/jobs/{each['jobId']}")
            assert job["attemptHistory"] is None
        assert len(world.provider.requests) == calls
        # One of them is enough.
        open_ = models[1]
        world.behaves(open_, says('{"ok":1}'))
        found = admin(world.user, "GET", "/models?limit=10000", 200)
        (model,) = (each for each in found if each["name"] == open_)
        where = f"/models/{model['model_id']}/resume"
        admin(world.user, "POST", where, 200)
        for each in later:
            done = world.user.ended(each["jobId"])
            assert done["answeredBy"] == open_

    def test_a_trial_call_opens_a_route_again(
        self, database: str, provider: FakeProvider, tmp_path: Path
    ) -> None:
        settings = make_settings(tmp_path, suspended_trial_seconds=1)
        keys = {"PROVIDER_KEY": PROVIDER_KEY}
        with (
            live_server(settings, database, keys) as server,
            httpx2.Client(base_url=server.url, timeout=30) as http,
        ):
            world = RouteWorld(ApiUser(http), provider)
            world.user.worker()
            models = [world.model(fails(401)) for _ in range(2)]
            route, prompt = world.route(*models), world.user.prompt()
            made = [world.user.job(route, prompt) for _ in range(20)]
            self.waits_for(world, made[-1], "SUSPENDED")
            world.behaves(models[0], says('{"ok":1}'))
            jobs = [world.user.ended(each["jobId"]) for each in made]
            world.user.stop_workers()
        assert {each["answeredBy"] for each in jobs} == {models[0]}
        assert {each["attempts"] for each in jobs} == {1}

    def test_jobs_wait_if_all_models_are_down(self, world: RouteWorld) -> None:
        quick = {"circuitBreaker": {"failureThreshold": 1}}
        models = [world.model(fails(503), resilience=quick) for _ in range(2)]
        route, prompt = world.route(*models), world.user.prompt()
        made = [world.user.job(route, prompt) for _ in range(3)]
        for each in made:
            assert world.user.get(f"/jobs/{each['jobId']}")
        self.waits_for(
            world, world.user.job(route, prompt), "MODEL_UNAVAILABLE"
        )
        for model in models:
            world.behaves(model, says('{"ok":1}'))
        for each in made:
            done = world.user.ended(each["jobId"], 30)
            assert done["status"] == "PROCESSED"
            assert done["attempts"] == 1

    def test_a_full_model_is_passed_over(self, world: RouteWorld) -> None:
        one = {"bulkhead": {"maxConcurrency": 1}}
        narrow, wide = world.model(resilience=one), world.model()
        world.provider.holds = True
        route, prompt = world.route(narrow, wide), world.user.prompt()
        made = [world.user.job(route, prompt) for _ in range(6)]
        eventually(lambda: world.provider.was_asked(6), what="six calls")
        world.provider.holds = False
        jobs = [world.user.ended(each["jobId"]) for each in made]
        found = Counter(each["answeredBy"] for each in jobs)
        assert found == {narrow: 1, wide: 5}
        assert {each["attempts"] for each in jobs} == {1}


def test_the_target_that_was_called_is_charged(world: RouteWorld) -> None:
    price = {"tokens": 1, "currency": "USD", "input": 0, "output": 0}
    budget = {"amount": 1, "currency": "USD", "period": "day"}
    poor = world.model(cost={**price, "output": 1}, budget=budget)
    rich = world.model(cost={**price, "output": 0.01})
    job = world.done(world.route(poor, rich))
    assert job["answeredBy"] == rich
    assert job["processingMetrics"]["totalCost"] == 0.03
    assert tried(job)[0][0] == poor

    def charged() -> bool:
        groups = world.user.get("/usage", groupBy="model")["groups"]
        found = [(g["model"], g["costByCurrency"]) for g in groups]
        return found == [(rich, {"USD": 0.03})]

    eventually(charged)


def test_a_job_may_name_a_route_by_its_id(world: RouteWorld) -> None:
    model = world.model()
    job = world.done(world.made(model)["routeId"])
    assert job["answeredBy"] == model


def test_a_change_holds_for_the_next_jobs(world: RouteWorld) -> None:
    first, second = world.model(), world.model()
    made = world.made(first)
    assert world.done(made["name"])["answeredBy"] == first
    path = f"/routes/{made['routeId']}"
    changes = {"targets": [{"model": second}]}
    admin(world.user, "PATCH", path, 200, changes)
    assert world.done(made["name"])["answeredBy"] == second
    admin(world.user, "DELETE", path, 204)
    body = world.user.job_body(made["name"], world.user.prompt())
    assert "model" in world.user.post("/jobs", body, 400)["detail"]


def test_an_evaluation_names_models_only(world: RouteWorld) -> None:
    route = world.route(world.model())
    items = [{"id": "i", "requestData": {"n": 1}, "expected": {"n": 1}}]
    made = world.user.post("/datasets", {"name": "d", "items": items})
    body = {
        "datasetId": made["datasetId"],
        "promptIds": [world.user.prompt()],
        "models": [route],
        "metric": {"type": "exact"},
    }
    refused = world.user.post("/evaluations", body, 400)
    assert "is a route" in refused["detail"]


@pytest.mark.long
@pytest.mark.slow
def test_a_kill_between_two_targets_pays_for_none_twice(
    provider: FakeProvider, data_dir: Path
) -> None:
    with a_service(data_dir) as (service, user):
        world = RouteWorld(user, provider)
        worker = user.worker()
        first, down = world.model(says("no JSON")), world.model(fails(503))
        last = world.model()
        answers, released = world.behaviours[last], False

        async def held(body: Body) -> web.StreamResponse:
            while not released:  # noqa: ASYNC110 - a thread changes it
                await asyncio.sleep(0.01)
            return await answers(body)

        world.behaves(last, held)
        kinds = ["outage", "unusableAnswer"]
        route = world.route(first, down, last, fallbackOn=kinds)
        made = user.job(route, user.prompt())
        eventually(lambda: last in world.asked(), what="the last target")
        service.kill()
        service.start()
        released = True
        job = user.ended(made["jobId"], 60)
        assert user.get(f"/workers/{worker}")["status"] == "running"
    assert job["status"] == "PROCESSED"
    assert job["answeredBy"] == last
    # The answer that could not be used was stored before the next call.
    assert world.asked().count(first) == 1
    assert [each["model"] for each in job["unusableAnswers"]] == [first]
    kinds = [each["kind"] for each in job["attemptHistory"]]
    assert "PROCESS_DIED" in kinds or "LEASE_EXPIRED" in kinds
    assert kinds[-1] == "TARGET_FAILED"
    assert job["processingMetrics"]["totalTokens"] == 20
