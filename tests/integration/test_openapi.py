from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from tests.support import openapi_file
from tests.support.api_user import ADMIN, ApiUser, Json, unique
from tests.support.live_server import DOCS_SECRET

DOCUMENT = openapi_file.description()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
GUARDED = {
    name: operation
    for name, operation in OPERATIONS.items()
    if not name.startswith("GET /health")
}
SCHEMAS = DOCUMENT["components"]["schemas"]
HEADERS = DOCUMENT["components"]["headers"]

of_every_operation = pytest.mark.parametrize("name", OPERATIONS)
of_every_guarded_operation = pytest.mark.parametrize("name", GUARDED)


def validate(value: Any, schema: Json) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    checker = Draft202012Validator.FORMAT_CHECKER
    Draft202012Validator(whole, format_checker=checker).validate(value)


def contents(operation: Json) -> Iterator[tuple[str, Json]]:
    body = operation.get("requestBody", {}).get("content", {})
    yield from (("request", each) for each in body.values())
    for status, response in operation["responses"].items():
        for each in response.get("content", {}).values():
            yield status, each


def test_the_file_is_current() -> None:
    assert openapi_file.PATH.read_text(encoding="utf-8") == (
        openapi_file.text()
    ), "run `make openapi`"


def test_the_server_shows_the_same(http: httpx2.Client) -> None:
    shown = http.get("/openapi.json", auth=("user", DOCS_SECRET)).json()
    assert shown == DOCUMENT


@of_every_operation
def test_an_operation_says_what_it_is(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    described = {tag["name"] for tag in DOCUMENT["tags"]}
    assert set(operation["tags"]) <= described
    for parameter in operation.get("parameters", ()):
        assert parameter["in"] != "path" or parameter["description"]


def test_the_names_for_generated_clients_are_short_and_unique() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert "get_job" in names


@of_every_guarded_operation
def test_an_operation_names_its_errors(name: str) -> None:
    responses = GUARDED[name]["responses"]
    expected = {"401"}
    if name != "GET /metrics":  # which is shown without the database
        expected |= {"503"}
    if "{" in name:
        expected |= {"404"}
    if "requestBody" in GUARDED[name]:
        expected |= {"400", "413", "422"}
    assert expected <= responses.keys()
    for status in responses.keys() - {"200", "201", "202", "204"}:
        content = responses[status]["content"]["application/json"]
        kind = "InvalidRequest" if status == "422" else "Problem"
        assert content["schema"]["$ref"].endswith(f"/{kind}")
        assert content["examples"]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("POST /jobs", "400", ["model", "prompt"]),
        ("PATCH /jobs/{job_id}", "400", ["transition"]),
        ("POST /jobs/batch", "400", ["batch item"]),
        ("PATCH /jobs/batch", "400", ["Job not found"]),
        ("POST /stream", "400", ["Model gpt-5 not found", "Prompt "]),
        ("POST /prompts", "403", ["Admin API key"]),
        ("PATCH /prompt-flows/{flow_id}", "403", ["Admin API key"]),
        ("DELETE /workers/{worker_id}", "400", ["stop"]),
        ("GET /clients/{client_id}", "404", ["not found"]),
        ("GET /jobs", "401", ["Client authentication (Client ID and API"]),
        ("POST /jobs", "401", ["Client ID is required"]),
        ("GET /clients", "401", ["Admin API key is required"]),
    ],
)
def test_examples_of_errors_speak_as_the_contract(
    name: str, status: str, words: list[str]
) -> None:
    content = OPERATIONS[name]["responses"][status]["content"]
    examples = content["application/json"]["examples"].values()
    details = " ".join(example["value"]["detail"] for example in examples)
    for word in words:
        assert word in details


@of_every_operation
def test_an_operation_says_who_may_call(name: str) -> None:
    operation = OPERATIONS[name]
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert bool(operation.get("security")) == (name in GUARDED)
    for alternative in operation.get("security", ()):
        assert alternative.keys() <= schemes.keys()
    headers = {scheme.get("name") for scheme in schemes.values()}
    for parameter in operation.get("parameters", ()):
        assert parameter["in"] != "header" or parameter["name"] not in headers


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("POST /clients", [{"adminApiKey"}, {"signedIn"}]),
        ("GET /workers/overview", [{"adminApiKey"}, {"signedIn"}]),
        ("GET /metrics", [{"metricsToken"}, {"adminApiKey"}]),
        (
            "POST /jobs",
            [
                {"clientId", "clientApiKey"},
                {"adminApiKey", "clientId"},
                {"signedIn"},
                {"signedIn", "clientId"},
            ],
        ),
        (
            "GET /models",
            [
                {"clientId", "clientApiKey"},
                {"adminApiKey"},
                {"adminApiKey", "clientId"},
                {"signedIn"},
                {"signedIn", "clientId"},
            ],
        ),
    ],
)
def test_the_guards_are_told_apart(
    name: str, expected: list[set[str]]
) -> None:
    security = OPERATIONS[name]["security"]
    assert [set(alternative) for alternative in security] == expected


@of_every_operation
def test_headers_of_answers_are_described(name: str) -> None:
    operation = OPERATIONS[name]
    for response in operation["responses"].values():
        assert "X-Correlation-ID" in response["headers"]
        for header in response["headers"].values():
            known = header.get("$ref", "").rpartition("/")[2] in HEADERS
            assert known or "schema" in header
    names = {each["name"] for each in operation.get("parameters", ())}
    success = operation["responses"].get("200", {}).get("headers", {})
    assert ("X-Next-Cursor" in success) == ("cursor" in names)
    assert ("X-Stream-Id" in success) == (name == "POST /stream")


@of_every_operation
def test_a_body_has_an_example_and_examples_fit(name: str) -> None:
    for kind, content in contents(OPERATIONS[name]):
        schema = content["schema"]
        shown = [
            *(each["value"] for each in content.get("examples", {}).values()),
            *([content["example"]] if "example" in content else ()),
        ]
        if "$ref" in schema:
            named = SCHEMAS[schema["$ref"].rpartition("/")[2]]
            shown += named.get("examples", ())
        assert shown or kind != "request"
        for example in shown:
            validate(example, schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_examples_of_schemas_fit(name: str) -> None:
    schema = SCHEMAS[name]
    reference = {"$ref": f"#/components/schemas/{name}"}
    for example in schema.get("examples", ()):
        validate(example, reference)
    for field in schema.get("properties", {}).values():
        for example in field.get("examples", ()):
            validate(example, field)


def test_what_is_kept_inside_is_not_shown() -> None:
    assert not {"attempt", "revision"} & SCHEMAS["Run"]["properties"].keys()
    assert "key" not in SCHEMAS["Model"]["properties"]
    assert "HTTPValidationError" not in SCHEMAS


def test_a_refusal_is_as_described(http: httpx2.Client) -> None:
    answer = http.post("/clients", headers=ADMIN, json={"name": 7})
    assert answer.status_code == 422
    validate(answer.json(), {"$ref": "#/components/schemas/InvalidRequest"})
    answer = http.get("/jobs")
    assert answer.status_code == 401
    validate(answer.json(), {"$ref": "#/components/schemas/Problem"})


def test_the_examples_work_together(user: ApiUser) -> None:
    def body(schema: str, /, **changes: Any) -> Json:
        return {**SCHEMAS[schema]["examples"][0], **changes}

    model = body("ModelCreate", name=unique("model"), sdk="test")
    user.request("POST", "/models", 201, json=model, headers=ADMIN)
    prompt = user.post("/prompts", body("PromptCreate"))["promptId"]
    job = body("JobCreate", model=model["name"], workingPrompts=[prompt])
    made = user.post("/jobs", job)
    user.patch(f"/jobs/{made['jobId']}/full", body("JobUpdate"))
    user.post("/prompt-flows", body("PromptFlowCreate", promptIds=[prompt]))
    worker = user.post("/workers", body("WorkerCreate"))["workerId"]
    user.patch(f"/workers/{worker}", body("WorkerUpdate"))
    user.post("/workers/batch", body("WorkerBatchCreate", group=None))
    assert user.get("/jobs", **{"clientReference.orderId": "4712"})
