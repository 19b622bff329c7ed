from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, unique

MODEL = {
    "name": "gpt-4",
    "sdk": "OpenAI",
    "endpoint": "https://api.openai.com/v1",
    "apiType": "openai",
    "apiVersion": "v1",
    "deployment": "gpt-4",
    "maxToken": 4096,
    "minTemperature": 0,
    "maxTemperature": 1,
    "cost": {"tokens": 1000, "currency": "USD", "input": 3, "output": 6},
}
SECRET = "sk-proj-a1b2c3d4e5f6g7h8i9j0"


def test_a_model_shows_its_key_reference_at_creation_only(
    http: httpx2.Client, user: ApiUser
) -> None:
    name = unique("gpt-4")
    made = http.post("/models", headers=ADMIN, json={**MODEL, "name": name})
    assert made.status_code == 201
    body = made.json()
    assert body["key"] == name.upper().replace("-", "_") + "_KEY"
    assert body["service"] is None
    path = f"/models/{body['model_id']}"
    assert "key" not in http.get(path, headers=ADMIN).json()
    changed = http.patch(path, headers=ADMIN, json={"key": "KEY-X"})
    assert changed.status_code == 200
    assert "key" not in changed.json()
    listed = user.get("/models", limit=1000)
    assert name in [model["name"] for model in listed]
    assert not any("key" in model for model in listed)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sdk": "NoSuchSdk"}, "sdk"),
        ({"maxToken": None}, "body"),
        ({"minTemperature": 1, "maxTemperature": 0.5}, "body"),
        ({"maxTemperature": 2.1}, "maxTemperature"),
        ({"minTemperature": -1}, "minTemperature"),
        ({"cost": {**MODEL["cost"], "tokens": 0}}, "tokens"),  # type: ignore[dict-item]
        ({"cost": {**MODEL["cost"], "input": -1}}, "input"),  # type: ignore[dict-item]
        ({"name": ""}, "name"),
        ({"key": "sk-a secret/with+other=characters"}, "key"),
        ({"key": SECRET}, "key"),
        ({"endpoint": "http://a b/v1"}, "endpoint"),
        ({"endpoint": "https://me:pass@host/v1"}, "endpoint"),
        ({"endpoint": "https://host/v1?x=1"}, "endpoint"),
        ({"endpoint": "host/v1"}, "body"),
        ({"endpoint": "ftp://host/v1"}, "body"),
        ({"profile": {"tokenLimitField": "limit"}}, "profile"),
        ({"cost": {**MODEL["cost"], "cachedInput": -1}}, "cachedInput"),  # type: ignore[dict-item]
    ],
)
def test_a_model_that_makes_no_sense_is_refused(
    http: httpx2.Client, change: dict[str, object], field: str
) -> None:
    body = {**MODEL, "name": unique("bad"), **change}
    answer = http.post("/models", headers=ADMIN, json=body)
    assert answer.status_code == 422
    problems = answer.json()["detail"]
    assert any(field in problem["loc"] for problem in problems)
    assert SECRET not in answer.text
    assert "me:pass" not in answer.text
    if field == "sdk":
        assert any("SDK" in problem["msg"] for problem in problems)


AZURE = {
    **MODEL,
    "sdk": "AzureOpenAI",
    "endpoint": "https://name.openai.azure.com",
    "apiVersion": "2024-10-21",
    "deployment": "my-gpt",
}


@pytest.mark.parametrize("field", ["endpoint", "apiVersion", "deployment"])
def test_a_plugin_judges_a_models_settings_when_it_is_made_and_changed(
    http: httpx2.Client, field: str
) -> None:
    wrong = {**AZURE, "name": unique("azure"), field: ""}
    refused = http.post("/models", headers=ADMIN, json=wrong)
    assert refused.status_code == 422
    assert field in refused.json()["detail"][0]["msg"]
    whole = {**AZURE, "name": unique("azure")}
    made = http.post("/models", headers=ADMIN, json=whole)
    assert made.status_code == 201
    path = f"/models/{made.json()['model_id']}"
    changed = http.patch(path, headers=ADMIN, json={field: ""})
    assert changed.status_code == 422
    kept = http.get(path, headers=ADMIN).json()
    assert kept[field] == AZURE[field]


def test_a_change_of_the_sdk_is_judged_as_well(http: httpx2.Client) -> None:
    body = {**MODEL, "name": unique("sdk"), "deployment": ""}
    made = http.post("/models", headers=ADMIN, json=body).json()
    path = f"/models/{made['model_id']}"
    change = {"sdk": "AzureOpenAI"}
    assert http.patch(path, headers=ADMIN, json=change).status_code == 422
    change = {"sdk": "Anthropic"}
    assert http.patch(path, headers=ADMIN, json=change).status_code == 200


def test_a_key_that_is_a_secret_is_not_stored_by_a_change(
    http: httpx2.Client,
) -> None:
    body = {**MODEL, "name": unique("secret")}
    made = http.post("/models", headers=ADMIN, json=body).json()
    path = f"/models/{made['model_id']}"
    answer = http.patch(path, headers=ADMIN, json={"key": SECRET})
    assert answer.status_code == 422
    assert SECRET not in answer.text


def test_an_endpoint_is_trimmed(http: httpx2.Client) -> None:
    body = {**MODEL, "name": unique("trim"), "endpoint": " https://h/v1\n"}
    made = http.post("/models", headers=ADMIN, json=body)
    assert made.status_code == 201
    assert made.json()["endpoint"] == "https://h/v1"


def test_a_profile_is_kept_and_changed_field_by_field(
    http: httpx2.Client,
) -> None:
    said = {"supportsTemperature": False, "schemaKeywordsRefused": ["oneOf"]}
    body = {**MODEL, "name": unique("profile"), "profile": said}
    made = http.post("/models", headers=ADMIN, json=body).json()
    assert made["profile"]["supportsTemperature"] is False
    assert made["profile"]["supportsTopP"] is None
    path = f"/models/{made['model_id']}"
    change = {"profile": {"tokenLimitField": "max_completion_tokens"}}
    changed = http.patch(path, headers=ADMIN, json=change).json()["profile"]
    assert changed["supportsTemperature"] is False
    assert changed["tokenLimitField"] == "max_completion_tokens"
    assert changed["schemaKeywordsRefused"] == ["oneOf"]
    gone = http.patch(path, headers=ADMIN, json={"profile": None}).json()
    assert gone["profile"] is None
    health = http.get(f"{path}/health", headers=ADMIN).json()
    assert health["learnt"] is None
    assert health["refusedOptions"] == []


def test_changes_of_one_model_at_once_are_all_kept(
    http: httpx2.Client,
) -> None:
    body = {**MODEL, "name": unique("at-once")}
    made = http.post("/models", headers=ADMIN, json=body).json()
    path = f"/models/{made['model_id']}"
    changes = [
        {"resilience": {"timeout": {"total": 60}}},
        {"resilience": {"retry": {"maxWait": 30}}},
        {"cost": {"input": 1, "output": 2, "cachedInput": 0.5}},
    ]
    with ThreadPoolExecutor(3) as threads:
        answers = threads.map(
            lambda change: http.patch(path, headers=ADMIN, json=change),
            changes,
        )
        assert {answer.status_code for answer in answers} == {200}
    model = http.get(path, headers=ADMIN).json()
    assert model["resilience"]["timeout"]["total"] == 60
    assert model["resilience"]["retry"]["maxWait"] == 30
    assert model["cost"]["cachedInput"] == 0.5
    assert "cacheWrite" not in model["cost"]


def test_a_models_name_is_unique_until_it_is_deleted(
    http: httpx2.Client,
) -> None:
    body = {**MODEL, "name": unique("twice")}
    first = http.post("/models", headers=ADMIN, json=body).json()
    again = http.post("/models", headers=ADMIN, json=body)
    assert again.status_code == 400
    assert "already exists" in again.json()["detail"]
    path = f"/models/{first['model_id']}"
    assert http.delete(path, headers=ADMIN).status_code == 204
    assert http.get(path, headers=ADMIN).status_code == 404
    assert http.post("/models", headers=ADMIN, json=body).status_code == 201


def test_renaming_a_model_keeps_names_unique(http: httpx2.Client) -> None:
    names = unique("one"), unique("two")
    first, _ = (
        http.post(
            "/models", headers=ADMIN, json={**MODEL, "name": name}
        ).json()
        for name in names
    )
    path = f"/models/{first['model_id']}"
    taken = http.patch(path, headers=ADMIN, json={"name": names[1]})
    assert taken.status_code == 400
    free = http.patch(path, headers=ADMIN, json={"name": unique("three")})
    assert free.status_code == 200


def test_a_change_may_not_leave_a_model_without_limits(
    http: httpx2.Client,
) -> None:
    body = {**MODEL, "name": unique("limits")}
    made = http.post("/models", headers=ADMIN, json=body).json()
    path = f"/models/{made['model_id']}"
    for change in (
        {"maxToken": None},
        {"minTemperature": 2},
        {"name": None},
    ):
        answer = http.patch(path, headers=ADMIN, json=change)
        assert answer.status_code == 400, change


def test_clients_cannot_make_models(user: ApiUser) -> None:
    answer = user.post("/models", MODEL, 401)
    assert answer["detail"] == "Admin API key is required"


@pytest.mark.parametrize(
    "model_id", ["nonsense", "0" * 24, "z" * 24, "0" * 23, "%00"]
)
def test_a_malformed_id_is_answered_like_an_unknown_one(
    http: httpx2.Client, model_id: str
) -> None:
    answer = http.get(f"/models/{model_id}", headers=ADMIN)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Model not found"}


def prompt_body(**fields: object) -> dict[str, object]:
    return {
        "name": unique("prompt"),
        "type": "WORKING",
        "status": "PUBLISHED",
        "prompt": "Answer as JSON.",
        **fields,
    }


def test_versions_count_up_past_the_highest_whole_number(
    user: ApiUser,
) -> None:
    body = prompt_body()
    assert user.post("/prompts", body)["version"] == 1
    assert user.post("/prompts", body)["version"] == 2
    user.post("/prompts", {**body, "version": "7-beta"})
    user.post("/prompts", {**body, "version": 9})
    assert user.post("/prompts", body)["version"] == 10
    other_type = user.post("/prompts", {**body, "type": "EVAL"})
    assert other_type["version"] == 1


def test_versions_made_at_once_are_all_different(user: ApiUser) -> None:
    body = prompt_body()
    with ThreadPoolExecutor(8) as threads:
        made = list(
            threads.map(lambda _: user.post("/prompts", body), range(8))
        )
    versions = sorted(int(prompt["version"]) for prompt in made)
    assert versions == list(range(1, 9))


def test_a_prompt_is_published_if_nothing_else_is_said(user: ApiUser) -> None:
    body = {"name": "plain", "type": "WORKING", "prompt": "Answer."}
    assert user.post("/prompts", body)["status"] == "PUBLISHED"


def test_the_same_version_twice_is_refused_until_it_is_deleted(
    user: ApiUser,
) -> None:
    body = prompt_body(version="3")
    prompt_id = user.post("/prompts", body)["promptId"]
    user.post("/prompts", body, 400)
    user.delete(f"/prompts/{prompt_id}")
    user.get(f"/prompts/{prompt_id}", 404)
    user.post("/prompts", body)


def test_public_prompts_need_the_admin_key_and_are_seen_by_all(
    user: ApiUser, http: httpx2.Client
) -> None:
    body = prompt_body(isPublic=True)
    answer = user.post("/prompts", body, 403)
    assert "Admin API key" in answer["detail"]
    public = http.post("/prompts", headers=ADMIN, json=body).json()
    assert public["clientId"] is None
    path = f"/prompts/{public['promptId']}"
    assert user.get(path)["isPublic"] is True
    for answer in (
        user.patch(path, {"prompt": "x"}, 403),
        user.delete(path, status=403),
    ):
        assert "Admin API key" in answer["detail"]
    listed = user.get("/prompts", name=body["name"])
    assert [prompt["promptId"] for prompt in listed] == [public["promptId"]]


def test_a_prompt_of_another_client_does_not_exist(
    user: ApiUser, http: httpx2.Client
) -> None:
    mine = user.prompt()
    other = ApiUser(http)
    unknown = other.get(f"/prompts/{'0' * 24}", 404)
    assert other.get(f"/prompts/{mine}", 404) == unknown
    assert other.patch(f"/prompts/{mine}", {"prompt": "x"}, 404) == unknown
    assert other.delete(f"/prompts/{mine}", status=404) == unknown
    assert all(prompt["isPublic"] for prompt in other.get("/prompts"))


def test_an_admin_makes_a_prompt_public_and_gives_it_back(
    user: ApiUser, http: httpx2.Client
) -> None:
    path = f"/prompts/{user.prompt()}"
    public = http.patch(
        path, headers=ADMIN, json={"isPublic": True, "clientId": None}
    ).json()
    assert (public["isPublic"], public["clientId"]) == (True, None)
    nobodys = http.patch(path, headers=ADMIN, json={"isPublic": False})
    assert nobodys.status_code == 400
    back = http.patch(
        path,
        headers=ADMIN,
        json={"isPublic": False, "clientId": user.client_id},
    ).json()
    assert (back["isPublic"], back["clientId"]) == (False, user.client_id)


def test_a_client_changes_its_prompt_but_not_its_owner(user: ApiUser) -> None:
    body = prompt_body()
    first = user.post("/prompts", body)
    second = user.post("/prompts", body)
    path = f"/prompts/{second['promptId']}"
    changed = user.patch(path, {"prompt": "new", "status": "ARCHIVE"})
    assert (changed["prompt"], changed["status"]) == ("new", "ARCHIVE")
    taken = user.patch(path, {"version": first["version"]}, 400)
    assert "already exists" in taken["detail"]
    user.patch(path, {"clientId": "somebody"}, 403)
    user.patch(path, {"isPublic": True}, 403)
    user.patch(path, {"status": None}, 400)


def test_prompts_are_listed_by_what_they_are(user: ApiUser) -> None:
    body = prompt_body(status="DRAFT")
    user.post("/prompts", body)
    user.post("/prompts", {**body, "status": "PUBLISHED"})
    assert len(user.get("/prompts", name=body["name"])) == 2
    assert len(user.request("GET", "/prompts?status=DRAFT", 200)) == 1
    user.request("GET", "/prompts?status=NOPE", 422)
    assert len(user.get("/prompts", version="2", type="WORKING")) == 1
    assert user.get("/prompts", type="EVAL") == []


def test_a_change_of_price_keeps_what_it_leaves_out(user: ApiUser) -> None:
    name = user.model()
    models = user.request("GET", "/models", 200, headers=ADMIN)
    (model,) = (each for each in models if each["name"] == name)
    path = f"/models/{model['model_id']}"
    change = {"cost": {"input": 5, "output": 6}}
    changed = user.request("PATCH", path, 200, headers=ADMIN, json=change)
    assert changed["cost"] == {
        "tokens": 1000,
        "currency": "USD",
        "input": 5.0,
        "output": 6.0,
    }
    user.request("GET", path, 200, headers=ADMIN)


@pytest.mark.parametrize(
    "change",
    [
        {"minTemperature": None},
        {"minTemperature": None, "maxTemperature": 1.5},
        {"maxTemperature": None, "minTemperature": 0.5},
        {"name": None},
    ],
)
def test_what_a_model_must_have_cannot_be_taken_away(
    http: httpx2.Client, change: dict[str, object]
) -> None:
    body = {**MODEL, "name": unique("model")}
    made = http.post("/models", headers=ADMIN, json=body).json()
    path = f"/models/{made['model_id']}"
    answer = http.patch(path, headers=ADMIN, json=change)
    assert answer.status_code == 400
    assert "must not be null" in answer.json()["detail"]


RESILIENCE = {
    "timeout": {"connect": 5, "read": 600, "total": 900},
    "retry": {
        "maxAttempts": 3,
        "minWait": 1,
        "maxWait": 60,
        "exponentialBase": 2,
        "jitter": True,
    },
    "circuitBreaker": {"failureThreshold": 5, "recoveryTimeout": 30},
    "bulkhead": {"maxConcurrency": None, "acquisitionTimeout": 30},
}


def test_a_model_is_protected_by_sensible_defaults(
    http: httpx2.Client,
) -> None:
    body = {**MODEL, "name": unique("model")}
    made = http.post("/models", headers=ADMIN, json=body).json()
    assert made["resilience"] == RESILIENCE
    path = f"/models/{made['model_id']}"
    change = {"resilience": {"timeout": {"total": 60}}}
    changed = http.patch(path, headers=ADMIN, json=change).json()
    timeout = {"connect": 5, "read": 600, "total": 60}
    assert changed["resilience"] == {**RESILIENCE, "timeout": timeout}
    answer = http.patch(path, headers=ADMIN, json={"resilience": None})
    assert answer.json()["resilience"] == RESILIENCE


@pytest.mark.parametrize(
    ("resilience", "field"),
    [
        ({"timeout": {"total": 0}}, "total"),
        ({"timeout": {"read": 1e9}}, "read"),
        ({"retry": {"maxAttempts": 0}}, "maxAttempts"),
        ({"retry": {"exponentialBase": 0.5}}, "exponentialBase"),
        ({"retry": {"minWait": 9, "maxWait": 3}}, "retry"),
        ({"circuitBreaker": {"failureThreshold": 0}}, "failureThreshold"),
        ({"bulkhead": {"maxConcurrency": 0}}, "maxConcurrency"),
    ],
)
def test_a_protection_that_makes_no_sense_is_refused(
    http: httpx2.Client, resilience: dict[str, object], field: str
) -> None:
    body = {**MODEL, "name": unique("bad"), "resilience": resilience}
    answer = http.post("/models", headers=ADMIN, json=body)
    assert answer.status_code == 422
    assert field in str(answer.json()["detail"][0]["loc"])


def test_a_change_may_not_break_what_it_leaves_out(
    http: httpx2.Client,
) -> None:
    body = {**MODEL, "name": unique("model")}
    made = http.post("/models", headers=ADMIN, json=body).json()
    change = {"resilience": {"retry": {"maxWait": 0.5}}}
    answer = http.patch(
        f"/models/{made['model_id']}", headers=ADMIN, json=change
    )
    assert answer.status_code == 400
    assert "minWait" in answer.json()["detail"]


def test_the_health_of_a_model_that_nobody_called(
    http: httpx2.Client, user: ApiUser
) -> None:
    body = {**MODEL, "name": unique("model")}
    made = http.post("/models", headers=ADMIN, json=body).json()
    path = f"/models/{made['model_id']}/health"
    answer = http.get(path, headers=ADMIN)
    assert answer.json() == {
        "model_id": made["model_id"],
        "name": made["name"],
        "available": True,
        "suspended": None,
        "running": 0,
        "succeeded": 0,
        "failed": {},
        "learnt": None,
        "refusedOptions": [],
        "processes": [],
    }
    assert user.get(path, 401)["detail"] == "Admin API key is required"
    assert (
        http.get(f"/models/{'0' * 24}/health", headers=ADMIN).status_code
        == 404
    )


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("10", 10),
        (10, 10),
        ("0", 0),
        ("007", "007"),
        ("1.0", "1.0"),
        ("2-short", "2-short"),
        ("9" * 40, 10**40 - 1),
        ("\u0663", "\u0663"),
    ],
)
def test_a_version_that_is_a_whole_number_is_a_json_number(
    user: ApiUser, sent: object, shown: object
) -> None:
    name = unique("numbers")
    body = {"name": name, "type": "t", "status": "DRAFT", "prompt": "p"}
    made = user.post("/prompts", {**body, "version": sent})
    assert made["version"] == shown
    assert type(made["version"]) is type(shown)
    path = f"/prompts/{made['promptId']}"
    assert user.get(path) == made
    assert user.get("/prompts", name=name) == [made]
    assert user.get("/prompts", name=name, version=sent) == [made]
    assert user.patch(path, {"prompt": "q"})["version"] == shown
    again = {**body, "version": made["version"]}
    assert "already exists" in user.post("/prompts", again, 400)["detail"]


@pytest.mark.parametrize(
    "key", ["ADMIN-API-KEY", "db.connection.string", "AWS_SECRET_ACCESS_KEY"]
)
def test_a_key_that_is_no_models_is_refused_when_a_model_is_made_or_changed(
    http: httpx2.Client, key: str
) -> None:
    body = {**MODEL, "name": unique("lent"), "sdk": "OpenAI"}
    refused = http.post("/models", headers=ADMIN, json={**body, "key": key})
    assert refused.status_code == 422
    (problem,) = refused.json()["detail"]
    assert problem["loc"] == ["body", "key"]
    assert problem["type"] == "model_key"
    assert "KEY_" in problem["msg"]

    made = http.post("/models", headers=ADMIN, json=body)
    path = f"/models/{made.json()['model_id']}"
    refused = http.patch(path, headers=ADMIN, json={"key": key})
    assert refused.status_code == 422
    assert "KEY_" in refused.json()["detail"][0]["msg"]


def test_a_model_that_needs_no_key_may_name_any_until_it_needs_one(
    http: httpx2.Client,
) -> None:
    body = {**MODEL, "name": unique("lent"), "sdk": "test", "key": "DB-KEY"}
    made = http.post("/models", headers=ADMIN, json=body)
    assert made.status_code == 201, made.text
    path = f"/models/{made.json()['model_id']}"
    refused = http.patch(path, headers=ADMIN, json={"sdk": "OpenAI"})
    assert refused.status_code == 422
    assert "DB_KEY is never" in refused.json()["detail"][0]["msg"]
