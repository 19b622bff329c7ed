# Made from `_async` by `make client`; not to be edited.
"""Prompts, models, workers, usage, webhooks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metasync._sync.transport import Transport
from metasync.errors import StatusError
from metasync.models import (
    Budget,
    Delivery,
    Model,
    NewClient,
    Prompt,
    PromptFlow,
    Route,
    UsageReport,
    Webhook,
    Worker,
)
from metasync.requests import Request, camel

_MOST_IN_A_BATCH = 1000


class Resource:
    """What all of them have."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class Prompts(Resource):
    """`client.prompts`."""

    def create(
        self,
        name: str,
        prompt: str,
        *,
        type: str = "WORKING",  # noqa: A002 - the field's name
        **fields: Any,
    ) -> Prompt:
        """Make a prompt; without a `version`, it is the next one.

        Raises:
            BadRequestError: there is such a version.
        """
        body = camel({"name": name, "prompt": prompt, "type": type, **fields})
        body.setdefault("status", "PUBLISHED")
        request = Request("POST", "/prompts", json=body)
        return self._transport.ask(Prompt, request)

    def list(
        self, *, name: str | None = None, limit: int | None = None, **more: Any
    ) -> Iterator[Prompt]:
        """Go through the client's own prompts and the public ones."""
        query = camel({"name": name, **more})
        return self._transport.pages(Prompt, "/prompts", most=limit, **query)

    def get(self, prompt_id: str) -> Prompt:
        """Return a prompt."""
        return self._transport.get(Prompt, f"/prompts/{prompt_id}")

    def update(self, prompt_id: str, **fields: Any) -> Prompt:
        """Change a prompt."""
        body = camel(fields, keep_none=True)
        request = Request("PATCH", f"/prompts/{prompt_id}", json=body)
        return self._transport.ask(Prompt, request)

    def delete(self, prompt_id: str) -> None:
        """Delete a prompt."""
        self._transport.send(Request("DELETE", f"/prompts/{prompt_id}"))

    def ensure(self, name: str, prompt: str) -> Prompt:
        """Return the client's prompt of this name with this text.

        It is made if it is not there; programs that start at once get the
        same one.
        """
        found = self._find(name, prompt)
        if found is not None:
            return found
        try:
            return self.create(name, prompt, version="1")
        except StatusError:
            # Another one has just made it, or somebody has changed its text.
            found = self._find(name, prompt)
        return found or self.create(name, prompt)

    def _find(self, name: str, text: str) -> Prompt | None:
        for prompt in self.list(name=name):
            if prompt.prompt == text and not prompt.is_public:
                return prompt
        return None


class PromptFlows(Resource):
    """`client.prompt_flows`."""

    def create(self, name: str, prompt_ids: Sequence[str]) -> PromptFlow:
        """Give prompts, in this order, a name."""
        body = {"name": name, "promptIds": list(prompt_ids)}
        request = Request("POST", "/prompt-flows", json=body)
        return self._transport.ask(PromptFlow, request)

    def list(self) -> Iterator[PromptFlow]:
        """Go through the client's own flows and the public ones."""
        return self._transport.pages(PromptFlow, "/prompt-flows")

    def get(self, flow_id: str) -> PromptFlow:
        """Return a flow."""
        path = f"/prompt-flows/{flow_id}"
        return self._transport.get(PromptFlow, path)

    def update(self, flow_id: str, **fields: Any) -> PromptFlow:
        """Change a flow."""
        body = camel(fields, keep_none=True)
        request = Request("PATCH", f"/prompt-flows/{flow_id}", json=body)
        return self._transport.ask(PromptFlow, request)

    def delete(self, flow_id: str) -> None:
        """Delete a flow; its prompts stay."""
        path = f"/prompt-flows/{flow_id}"
        self._transport.send(Request("DELETE", path))


class Models(Resource):
    """`client.models`; changes are the administrator's."""

    def list(self) -> Iterator[Model]:
        """Go through the models that jobs can name."""
        return self._transport.pages(Model, "/models")

    def routes(self) -> Iterator[Route]:
        """Go through the names that stand for several models."""
        return self._transport.pages(Route, "/routes")

    def create(self, name: str, *, sdk: str, **fields: Any) -> Model:
        """Add a model, as `POST /models` describes it."""
        body = camel({"name": name, "sdk": sdk, **fields})
        request = Request("POST", "/models", json=body, as_admin=True)
        return self._transport.ask(Model, request)

    def update(self, model_id: str, **fields: Any) -> Model:
        """Change a model."""
        body = camel(fields, keep_none=True)
        path = f"/models/{model_id}"
        request = Request("PATCH", path, json=body, as_admin=True)
        return self._transport.ask(Model, request)

    def delete(self, model_id: str) -> None:
        """Remove a model."""
        request = Request("DELETE", f"/models/{model_id}", as_admin=True)
        self._transport.send(request)


class Clients(Resource):
    """`client.clients`: the administrator's."""

    def create(self, name: str) -> NewClient:
        """Make a client; its `token` is shown this once."""
        body = {"name": name}
        request = Request("POST", "/clients", json=body, as_admin=True)
        return self._transport.ask(NewClient, request)


class Workers(Resource):
    """`client.workers`."""

    def list(self) -> Iterator[Worker]:
        """Go through the client's workers."""
        return self._transport.pages(Worker, "/workers")

    def create(
        self, name: str, *, group: str | None = None, **config: Any
    ) -> Worker:
        """Make a worker; it must be started."""
        body = {"workerId": name, "config": camel(config)}
        if group is not None:
            body["group"] = group
        request = Request("POST", "/workers", json=body)
        return self._transport.ask(Worker, request)

    def start(self, worker_id: str) -> Worker:
        """Have a worker run."""
        return self._set(worker_id, "start", "running")

    def stop(self, worker_id: str) -> Worker:
        """Have a worker end its jobs and take no more."""
        return self._set(worker_id, "stop", "stopped")

    def delete(self, worker_id: str) -> None:
        """Delete a worker that is stopped."""
        self._transport.send(Request("DELETE", f"/workers/{worker_id}"))

    def ensure(
        self, concurrency: int, name: str = "metasync-client"
    ) -> Worker:
        """Have a worker of this name run, with so many calls at once."""
        config = {
            "max_concurrency": concurrency,
            "max_items_per_batch": min(concurrency, _MOST_IN_A_BATCH),
        }
        worker = self._find(name)
        if worker is None:
            worker = self._made(name, config)
        elif worker.config.get("maxConcurrency") != concurrency:
            body = {"config": camel(config)}
            path = f"/workers/{worker.worker_id}"
            request = Request("PATCH", path, json=body)
            worker = self._transport.ask(Worker, request)
        if worker.status == "running":
            return worker
        return self.start(worker.worker_id)

    def _made(self, name: str, config: Mapping[str, Any]) -> Worker:
        try:
            return self.create(name, **config)
        except StatusError:
            # Another program was faster.
            found = self._find(name)
            if found is None:
                raise
            return found

    def _find(self, name: str) -> Worker | None:
        for worker in self.list():
            if worker.name == name:
                return worker
        return None

    def _set(self, worker_id: str, what: str, status: str) -> Worker:
        path = f"/workers/{worker_id}"
        try:
            request = Request("POST", f"{path}/{what}", repeatable=True)
            return self._transport.ask(Worker, request)
        except StatusError:
            # It may be so already: that is no error.
            worker = self._transport.get(Worker, path)
            if worker.status != status:
                raise
            return worker


class Usage(Resource):
    """`client.usage`."""

    def report(
        self,
        *,
        group_by: str | Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
    ) -> UsageReport:
        """Sum what was used; times are ISO 8601."""
        if group_by is not None and not isinstance(group_by, str):
            group_by = ",".join(group_by)
        query = {"groupBy": group_by, "from": start, "to": end}
        return self._transport.get(UsageReport, "/usage", **query)

    def budgets(self) -> Sequence[Budget]:
        """Return the budgets that bind this client."""
        return self._transport.get(list[Budget], "/budgets")


class Webhooks(Resource):
    """`client.webhooks`; `metasync.webhooks` checks what they send."""

    def create(
        self, url: str, events: Sequence[str], **fields: Any
    ) -> Webhook:
        """Add an address; the `secret` is shown this once."""
        body = camel({"url": url, "events": list(events), **fields})
        request = Request("POST", "/webhooks", json=body)
        return self._transport.ask(Webhook, request)

    def list(self) -> Iterator[Webhook]:
        """Go through the client's webhooks."""
        return self._transport.pages(Webhook, "/webhooks")

    def update(self, webhook_id: str, **fields: Any) -> Webhook:
        """Change a webhook."""
        body = camel(fields, keep_none=True)
        request = Request("PATCH", f"/webhooks/{webhook_id}", json=body)
        return self._transport.ask(Webhook, request)

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook."""
        path = f"/webhooks/{webhook_id}"
        self._transport.send(Request("DELETE", path))

    def test(self, webhook_id: str) -> Delivery:
        """Have a message sent, to try it."""
        request = Request("POST", f"/webhooks/{webhook_id}/test")
        return self._transport.ask(Delivery, request)

    def deliveries(
        self,
        webhook_id: str,
        *,
        status: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Delivery]:
        """Go through its messages, the newest first."""
        return self._transport.pages(
            Delivery,
            f"/webhooks/{webhook_id}/deliveries",
            most=limit,
            status=status,
        )

    def replay(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a message once more."""
        path = f"/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"
        request = Request("POST", path, repeatable=True)
        return self._transport.ask(Delivery, request)
