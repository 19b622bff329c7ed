"""Routes: made, listed and changed; jobs that name them."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, Json, unique
from tests.support.fake_provider import FakeProvider
from tests.support.route_world import RouteWorld, fails, says, tried


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
    assert says is not None
