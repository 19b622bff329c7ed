from typing import Any

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, unique
from tests.support.live_server import ADMIN_KEY

METADATA = {
    "isDeleted",
    "createdAt",
    "updatedAt",
    "deletedAt",
    "archivedAt",
    "createdBy",
    "updatedBy",
    "deletedBy",
}


def test_a_client_is_made_with_a_key_that_is_shown_once(
    http: httpx2.Client,
) -> None:
    made = http.post("/clients", headers=ADMIN, json={"name": "Acme"})
    assert made.status_code == 201
    body = made.json()
    assert set(body) == {
        "clientId",
        "name",
        "enabled",
        "_metadata",
        "api_key",
        "token",
    }
    assert set(body["_metadata"]) == METADATA
    assert len(bytes.fromhex(body["api_key"])) == 32
    assert body["token"] == f"{body['clientId']}:{body['api_key']}"
    path = f"/clients/{body['clientId']}"
    assert "api_key" not in http.get(path, headers=ADMIN).json()
    listed = http.get("/clients?limit=1000", headers=ADMIN).json()
    assert body["api_key"] not in str(listed)


@pytest.mark.parametrize("path", ["/toggle", ""])
def test_a_disabled_client_is_refused_like_a_wrong_key(
    user: ApiUser, path: str
) -> None:
    if path:
        user.request(
            "POST", f"/clients/{user.client_id}/toggle", 200, headers=ADMIN
        )
    else:
        user.request(
            "PATCH",
            f"/clients/{user.client_id}",
            200,
            headers=ADMIN,
            json={"enabled": False},
        )
    answer = user.get("/jobs", 401)
    assert answer == {"detail": "Invalid client credentials"}
    acting = {**ADMIN, "client_id": user.client_id}
    answer = user.request("GET", "/jobs", 401, headers=acting)
    assert answer == {"detail": "Invalid client credentials"}


def test_toggling_a_client_twice_leaves_its_workers_as_they_were(
    user: ApiUser,
) -> None:
    model, prompt = user.model(), user.prompt()
    running, toggle = user.worker(), f"/clients/{user.client_id}/toggle"
    config = {"pollInterval": 1, "maxItemsPerBatch": 1}
    made = user.post("/workers", {"workerId": "w", "config": config})
    stopped = made["workerId"]
    user.request("POST", toggle, 200, headers=ADMIN)

    def status(worker: str) -> str:
        path = f"/workers/{worker}"
        seen = user.request("GET", path, 200, headers=ADMIN)
        return str(seen["status"])

    assert (status(running), status(stopped)) == ("stopped", "stopped")
    summary = user.request("GET", "/workers/summary", 200, headers=ADMIN)
    assert running in summary["stopped_ids"]
    overview = user.request("GET", "/workers/overview", 200, headers=ADMIN)
    (counts,) = [
        each
        for each in overview["clients"]
        if each["clientId"] == user.client_id
    ]
    assert (counts["running"], counts["stopped"]) == (0, 2)
    user.request("POST", toggle, 200, headers=ADMIN)
    assert (status(running), status(stopped)) == ("running", "stopped")
    assert user.ended(user.job(model, prompt)["jobId"])


@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_no_worker_is_started_for_a_client_that_is_shut_out(
    user: ApiUser, how: str
) -> None:
    config = {"pollInterval": 1, "maxItemsPerBatch": 1}
    made = user.post("/workers", {"workerId": "w", "config": config})
    path = f"/clients/{user.client_id}"
    if how == "disabled":
        user.request("POST", f"{path}/toggle", 200, headers=ADMIN)
    else:
        user.request("DELETE", path, 204, headers=ADMIN)
    start = f"/workers/{made['workerId']}/start"
    answer = user.request("POST", start, 400, headers=ADMIN)
    assert "disabled or deleted" in answer["detail"]
    body = {"action": "start", "workerIds": [made["workerId"]]}
    batch = user.request(
        "PATCH", "/workers/batch", 200, headers=ADMIN, json=body
    )
    assert "disabled or deleted" in batch["failed"][0]["error"]


def test_the_worker_of_a_disabled_client_can_be_stopped_for_good(
    user: ApiUser,
) -> None:
    worker, toggle = user.worker(), f"/clients/{user.client_id}/toggle"
    user.request("POST", toggle, 200, headers=ADMIN)
    user.request("POST", f"/workers/{worker}/stop", 200, headers=ADMIN)
    user.request("POST", toggle, 200, headers=ADMIN)
    assert user.get(f"/workers/{worker}")["status"] == "stopped"


def test_the_worker_of_a_disabled_client_can_be_deleted(
    user: ApiUser,
) -> None:
    worker, path = user.worker(), f"/clients/{user.client_id}/toggle"
    user.request("POST", path, 200, headers=ADMIN)
    user.request("DELETE", f"/workers/{worker}", 204, headers=ADMIN)
    user.request("POST", path, 200, headers=ADMIN)
    user.get(f"/workers/{worker}", 404)


@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_the_workers_of_a_client_that_is_shut_out_stop(
    user: ApiUser, how: str
) -> None:
    worker, path = user.worker(), f"/clients/{user.client_id}"
    if how == "disabled":
        user.request("POST", f"{path}/toggle", 200, headers=ADMIN)
    else:
        user.request("DELETE", path, 204, headers=ADMIN)
    seen = user.request("GET", f"/workers/{worker}", 200, headers=ADMIN)
    assert seen["status"] == "stopped"


def test_a_rotated_key_ends_the_old_one(user: ApiUser) -> None:
    rotated = user.request(
        "POST", f"/clients/{user.client_id}/rotate-key", 200, headers=ADMIN
    )
    assert set(rotated) == {"clientId", "api_key", "token"}
    user.get("/jobs", 401)
    user.headers["client_api_key"] = rotated["api_key"]
    user.get("/jobs")


def test_a_deleted_client_is_gone(user: ApiUser) -> None:
    path = f"/clients/{user.client_id}"
    user.request("DELETE", path, 204, headers=ADMIN)
    user.get("/jobs", 401)
    for method in ("GET", "DELETE"):
        answer = user.request(method, path, 404, headers=ADMIN)
        assert "not found" in answer["detail"]
    user.request("PATCH", path, 404, headers=ADMIN, json={"name": "x"})


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "Client authentication (Client ID and API key) or admin API"),
        ({"client_id": "x"}, "Client API key is required"),
        ({"client_api_key": "x"}, "Client ID is required"),
        (
            {"client_id": "x", "client_api_key": "y"},
            "Invalid client credentials",
        ),
        ({"admin_api_key": "x"}, "Invalid admin API key"),
        # A wrong credential is never treated as none where one was sent.
        (
            {**ADMIN, "client_id": "x", "client_api_key": "y"},
            "Invalid client credentials",
        ),
        ({**ADMIN, "client_api_key": "y"}, "Client ID is required"),
    ],
)
def test_bad_credentials_are_refused_in_the_contracts_words(
    http: httpx2.Client, headers: dict[str, str], detail: str
) -> None:
    answer = http.get("/jobs", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith(detail)


def test_the_key_of_another_client_is_refused(
    http: httpx2.Client, user: ApiUser
) -> None:
    other = ApiUser(http)
    mixed = {"client_id": user.client_id, "client_api_key": other.key}
    assert http.get("/jobs", headers=mixed).status_code == 401


def test_only_the_administrator_sees_clients(user: ApiUser) -> None:
    answer = user.get("/clients", 401)
    assert answer == {"detail": "Admin API key is required"}


def test_header_names_may_be_spelt_with_hyphens(
    http: httpx2.Client, user: ApiUser
) -> None:
    hyphenated = {"client-id": user.client_id, "client-api-key": user.key}
    assert http.get("/jobs", headers=hyphenated).status_code == 200
    admin = {"admin-api-key": ADMIN_KEY}
    assert http.get("/clients", headers=admin).status_code == 200


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("client_id", 401),
        ("client-id", 401),
        ("client_api_key", 401),
        ("Client-Api-Key", 401),
        ("Idempotency-Key", 422),
    ],
)
@pytest.mark.parametrize("comes_first", [True, False])
def test_two_values_of_one_header_are_refused(
    user: ApiUser,
    http: httpx2.Client,
    name: str,
    status: int,
    *,
    comes_first: bool,
) -> None:
    right = [*user.headers.items(), ("Idempotency-Key", "right")]
    second = [(name, "wrong")]
    headers = second + right if comes_first else right + second
    body = user.job_body(user.model(), user.prompt())
    answer = http.post("/jobs", headers=headers, json=body)
    assert answer.status_code == status, answer.text
    twice = [*right, *right]
    assert http.post("/jobs", headers=twice, json=body).status_code == 201


def test_two_admin_keys_are_refused(http: httpx2.Client) -> None:
    for name in ("admin_api_key", "admin-api-key"):
        headers = [("admin_api_key", ADMIN_KEY), (name, "wrong")]
        answer = http.get("/clients", headers=headers)
        assert answer.status_code == 401
        assert answer.json() == {"detail": "Invalid admin API key"}


def test_a_credential_may_hold_any_bytes(http: httpx2.Client) -> None:
    headers = [(b"client_id", b"\xff\xfe"), (b"client_api_key", b"\x80")]
    assert http.get("/jobs", headers=headers).status_code == 401
    headers = [(b"admin_api_key", b"\xff")]
    assert http.get("/clients", headers=headers).status_code == 401


def test_lists_come_in_pages_with_a_cursor(http: httpx2.Client) -> None:
    names = [unique("page") for _ in range(5)]
    for name in names:
        http.post("/clients", headers=ADMIN, json={"name": name})
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = http.get("/clients", headers=ADMIN, params=query)
        seen += [client["name"] for client in page.json()]
        cursor = page.headers.get("X-Next-Cursor")
    assert [name for name in seen if name in names] == names
    assert len(seen) == len(set(seen))
    bad = http.get("/clients?cursor=nonsense", headers=ADMIN)
    assert bad.status_code == 400
    assert "cursor" in bad.json()["detail"]


def test_a_client_has_its_own_retention(http: httpx2.Client) -> None:
    made = http.post("/clients", headers=ADMIN, json={"name": "r"}).json()
    path = f"/clients/{made['clientId']}"

    def changed(days: object, status: int = 200) -> Any:
        body = {"retentionDays": days}
        answer = http.patch(path, headers=ADMIN, json=body)
        assert answer.status_code == status, answer.text
        return answer.json().get("retentionDays", {})

    own = {"jobs": 90, "jobs.CONSUMED": 0.5, "runs": None}
    assert changed(own) == own
    assert http.get(path, headers=ADMIN).json()["retentionDays"] == own
    http.patch(path, headers=ADMIN, json={"name": "s"})
    assert http.get(path, headers=ADMIN).json()["retentionDays"] == own
    changed({"jobs.PENDING": 1}, 422)
    changed({"jobs": 0}, 422)
    assert changed({}) == {}
