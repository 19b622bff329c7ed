"""What a run needs on its server: a model, a prompt, a running worker."""

import hashlib
from dataclasses import dataclass

from api.models.cost import Cost
from cli.errors import CommandError
from cli.rest_client import Json, RestClient, ServerRefusedError

OPERATION = "run"
_PROMPT_TYPE = "WORKING"
_WORKER_NAME = "metasync-run"
_MOST_AT_ONCE = 1000
_PRICED_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How to reach the model, where it is not on the server yet.

    Prices are per million tokens; without any, the provider's published
    ones count. `old_limit_field` sends the longest
    answer as `max_tokens`, for servers that know no other field.
    """

    name: str
    sdk: str = "OpenAI"
    endpoint: str = ""
    deployment: str = ""
    api_version: str = ""
    key_variable: str = "OPENAI_API_KEY"
    max_tokens: int = 1024
    old_limit_field: bool = False
    input_price: float | None = None
    output_price: float | None = None
    currency: str = "USD"

    @property
    def cost(self) -> Cost | None:
        """The prices that are given; None: the published ones count."""
        if self.input_price is None and self.output_price is None:
            return None
        return Cost(
            tokens=_PRICED_TOKENS,
            currency=self.currency,
            input=self.input_price or 0.0,
            output=self.output_price or 0.0,
        )


def ensure_model(admin: RestClient, options: ModelOptions) -> None:
    """Make the model, or bring it to these options."""
    limit, other = "maxCompletionToken", "maxToken"
    if options.old_limit_field:
        limit, other = other, limit
    fields: Json = {
        "name": options.name,
        "sdk": options.sdk,
        "endpoint": options.endpoint,
        "deployment": options.deployment,
        "apiVersion": options.api_version,
        "key": options.key_variable,
        limit: options.max_tokens,
        other: None,
        "cost": options.cost
        and options.cost.model_dump(by_alias=True, exclude_none=True),
    }
    for model in admin.pages("/models"):
        if model["name"] == options.name:
            admin.patch(f"/models/{model['model_id']}", fields)
            return
    admin.post("/models", fields)


def resume_model(admin: RestClient, name: str) -> None:
    """Have a suspended model used again: what it lacked may be there now."""
    for model in admin.pages("/models"):
        if model["name"] == name and model.get("suspended"):
            admin.post(f"/models/{model['model_id']}/resume")


def check_model(client: RestClient, name: str) -> None:
    """Make sure that the server has the model.

    Raises:
        CommandError: it has not; says which it has.
    """
    names = sorted(model["name"] for model in client.pages("/models"))
    if name not in names:
        raise CommandError(
            f"The server has no model {name!r}; it has: "
            f"{', '.join(names) or 'none'}. An administrator can make it "
            "with POST /models"
        )


def ensure_prompt(client: RestClient, text: str) -> str:
    """Return the id of the client's prompt with this text.

    Runs that start at once get the same one: the jobs of a question that
    they share have one key only if they name one prompt.
    """
    name = f"run-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    found = _find_prompt(client, name, text)
    return found or _make_prompt(client, name, text)


def _find_prompt(client: RestClient, name: str, text: str) -> str | None:
    for prompt in client.pages("/prompts", name=name):
        if prompt["prompt"] == text and not prompt["isPublic"]:
            return str(prompt["promptId"])
    return None


def _make_prompt(client: RestClient, name: str, text: str) -> str:
    fields = {
        "name": name,
        "type": _PROMPT_TYPE,
        "status": "PUBLISHED",
        "prompt": text,
    }
    try:
        made = client.post("/prompts", {**fields, "version": "1"})
    except ServerRefusedError:
        # Another run has just made it, or somebody has changed its text.
        if found := _find_prompt(client, name, text):
            return found
        made = client.post("/prompts", fields)
    return str(made["promptId"])


def ensure_worker(client: RestClient, concurrency: int) -> None:
    """Have a worker of ours running with this concurrency."""
    config = {
        "maxConcurrency": concurrency,
        "maxItemsPerBatch": min(concurrency, _MOST_AT_ONCE),
    }
    for worker in client.pages("/workers"):
        if worker["name"] == _WORKER_NAME:
            path = f"/workers/{worker['workerId']}"
            client.patch(path, {"config": config})
            break
    else:
        request = {"workerId": _WORKER_NAME, "config": config}
        worker = client.post("/workers", request)
        path = f"/workers/{worker['workerId']}"
    if worker["status"] != "running":
        _start(client, path)


def check_worker(
    client: RestClient, model: str, operation: str = OPERATION
) -> None:
    """Make sure that some worker of the client will take the jobs.

    Raises:
        CommandError: none runs.
    """
    workers = client.pages("/workers")
    if any(_takes(worker, model, operation) for worker in workers):
        return
    raise CommandError(
        "No running worker of this client takes jobs for the model "
        f"{model!r}: they would wait without end. Start one with POST "
        "/workers/{id}/start, or let this command do it with --start-worker"
    )


def _takes(worker: Json, model: str, operation: str) -> bool:
    config = worker["config"]
    return bool(
        worker["status"] == "running"
        and config["modelFilter"] in (None, model)
        and config["operationFilter"] in (None, operation)
        and not config["clientReferenceFilters"]
    )


def _start(client: RestClient, path: str) -> None:
    try:
        client.post(f"{path}/start")
    except ServerRefusedError:
        # It may run by now: the request arrived twice, or another run was
        # faster.
        if client.get(path)["status"] != "running":
            raise
