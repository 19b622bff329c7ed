from typing import Any

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, unique


@pytest.fixture
def other(http: httpx2.Client) -> ApiUser:
    return ApiUser(http)


def test_a_flow_is_made_changed_and_deleted(
    user: ApiUser, other: ApiUser
) -> None:
    body = {"name": "f", "promptIds": ["not-checked"]}
    made = user.post("/prompt-flows", body)
    assert set(made) == {
        "flowId",
        "name",
        "promptIds",
        "clientId",
        "isPublic",
        "_metadata",
    }
    assert (made["clientId"], made["isPublic"]) == (user.client_id, False)
    path = f"/prompt-flows/{made['flowId']}"
    assert user.get(path) == made
    changed = user.patch(path, {"promptIds": ["a", "b"]})
    assert (changed["name"], changed["promptIds"]) == ("f", ["a", "b"])
    for answer in (
        other.get(path, 404),
        other.patch(path, {"name": "x"}, 404),
        other.delete(path, status=404),
    ):
        assert answer == {"detail": "Prompt flow not found"}
    user.delete(path)
    user.get(path, 404)
    user.post("/prompt-flows", {"name": "f", "promptIds": []}, 422)
    user.post("/prompt-flows", {"promptIds": ["a"]}, 422)


def test_public_flows_need_the_admin_key(
    user: ApiUser, http: httpx2.Client
) -> None:
    body = {"name": unique("f"), "promptIds": ["a"], "isPublic": True}
    assert "Admin API key" in user.post("/prompt-flows", body, 403)["detail"]
    made = http.post("/prompt-flows", headers=ADMIN, json=body).json()
    assert made["clientId"] is None
    path = f"/prompt-flows/{made['flowId']}"
    listed = user.get("/prompt-flows")
    assert made["flowId"] in [flow["flowId"] for flow in listed]
    for answer in (
        user.patch(path, {"name": "x"}, 403),
        user.delete(path, status=403),
    ):
        assert "Admin API key" in answer["detail"]
    renamed = http.patch(path, headers=ADMIN, json={"name": "new"})
    assert renamed.json()["name"] == "new"
    assert http.delete(path, headers=ADMIN).status_code == 204


def test_a_job_may_name_a_flow_instead_of_prompts(user: ApiUser) -> None:
    model, prompts = user.model(), [user.prompt("a"), user.prompt("b")]
    body = {"name": "f", "promptIds": prompts}
    flow = user.post("/prompt-flows", body)["flowId"]
    job = user.job(model, "", workingPrompts=None, promptFlow=flow)
    assert job["promptFlow"] == flow
    assert job["workingPrompts"] == prompts
    # What is queued keeps its prompts, whatever becomes of the flow.
    user.delete(f"/prompt-flows/{flow}")
    assert user.get(f"/jobs/{job['jobId']}")["workingPrompts"] == prompts
    user.worker()
    assert user.ended(job["jobId"])["status"] == "PROCESSED"


def test_a_flow_that_cannot_be_used_is_refused(
    user: ApiUser, other: ApiUser
) -> None:
    model = user.model()
    theirs = other.post(
        "/prompt-flows", {"name": "f", "promptIds": [other.prompt()]}
    )["flowId"]
    broken = user.post(
        "/prompt-flows", {"name": "f", "promptIds": ["0" * 24]}
    )["flowId"]
    body = user.job_body(model, "", workingPrompts=None)
    for flow in ("0" * 24, "nonsense", theirs, broken):
        answer = user.post("/jobs", {**body, "promptFlow": flow}, 400)
        assert "prompt" in answer["detail"]
    good = user.job_body(model, user.prompt())
    batch = {"jobs": [good, {**body, "promptFlow": theirs}]}
    answer = user.post("/jobs/batch", batch, 400)
    assert "batch item 1" in answer["detail"]
    assert user.get("/jobs/summary")["total"] == 0


@pytest.mark.parametrize("field", ["workingPrompts", "promptFlow"])
def test_the_administrator_cannot_lend_one_clients_things_to_another(
    user: ApiUser, other: ApiUser, field: str
) -> None:
    theirs = other.prompt()
    named: Any = [theirs]
    if field == "promptFlow":
        flow = {"name": "f", "promptIds": [theirs]}
        named = other.post("/prompt-flows", flow)["flowId"]
    body = user.job_body(user.model(), theirs, workingPrompts=None)
    acting = {**ADMIN, "client_id": user.client_id}
    answer = user.request(
        "POST", "/jobs", 400, json={**body, field: named}, headers=acting
    )
    assert "prompt" in answer["detail"]
