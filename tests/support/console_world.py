"""A service with enough going on in it for each page of the console.

`python -m tests.support.console_world` serves it until it is stopped.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from aiohttp import web

from tests.support.api_user import ADMIN, ApiUser, unique
from tests.support.fake_provider import (
    Body,
    FakeProvider,
    completion,
    failure,
    fake_provider,
)
from tests.support.live_server import ADMIN_KEY, live_server, make_settings
from tests.support.receiver import running_receiver
from tests.support.waiting import eventually
from utilities.embedded.database import EmbeddedDatabase

LABELS = ("question", "order", "complaint", "other")
TEXTS = {
    "question": "Does the large one fit under a desk?",
    "order": "Please send two more of the blue ones.",
    "complaint": "The lid was broken when it came.",
    "other": "Greetings from the coast!",
}
INSTRUCTION = "You sort messages of customers. Name the kind."
NO_CREDIT = "You exceeded your current quota, please check your plan"


def taught(label: str) -> str:
    """Give a sentence of a prompt without which a label is not known."""
    return f'Answer "{label}" for messages like: {TEXTS[label]}'


async def answer(body: Body) -> web.StreamResponse:
    """Answer by the model's name, and by what is asked."""
    if body["model"] == "gpt-5":
        return _no_credit()
    asked = _read(str(body["messages"][-1]["content"]))
    if "currentPrompt" in asked or "failures" in asked:
        return _better()
    if "label" in asked:
        system = str(body["messages"][0]["content"])
        return _sorted(system, str(asked["label"]))
    text = str(asked)
    if "unreadable" in text:
        return completion("I am sorry, I cannot put this into JSON.")
    if "forbidden" in text:
        return failure(400, "The request was rejected by our safety system")
    return completion(
        json.dumps({"sentiment": "positive", "confidence": 0.97}),
        tokens=(412, 38),
    )


def _no_credit() -> web.StreamResponse:
    code = "insufficient_quota"
    error = {"message": NO_CREDIT, "type": code, "code": code}
    return web.json_response({"error": error}, status=429)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"text": text}


def _sorted(system: str, label: str) -> web.StreamResponse:
    known = label == "question" or taught(label) in system
    said = {"label": label if known else "other"}
    return completion(json.dumps(said), tokens=(120, 9))


def _better() -> web.StreamResponse:
    rules = "\n".join(map(taught, LABELS[1:]))
    return completion(
        f"<prompt>\n{INSTRUCTION} Think of what the writer wants.\n"
        f"{rules}\n</prompt>",
        tokens=(900, 140),
    )


@dataclass
class ConsoleWorld:
    """What is in it, by name."""

    url: str
    provider: FakeProvider
    http: httpx2.Client
    acme: ApiUser
    night: ApiUser
    team: ApiUser
    models: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """What the client Acme signs in with."""
        return f"{self.acme.client_id}:{self.acme.key}"

    def model(self, name: str, price: tuple[float, float], **more: Any) -> str:
        """Make a model of the provider, priced per million tokens."""
        self.models[name] = self.acme.model(
            name=name,
            sdk="OpenAI",
            endpoint=self.provider.url,
            key="PROVIDER-KEY",
            deployment=name,
            maxToken=1024,
            cost={
                "tokens": 1_000_000,
                "currency": "USD",
                "input": price[0],
                "output": price[1],
            },
            **more,
        )
        return self.models[name]

    def rename(self, user: ApiUser, name: str, **more: Any) -> None:
        """Give a client a name and what else it has."""
        self.http.patch(
            f"/clients/{user.client_id}",
            headers=ADMIN,
            json={"name": name, **more},
        ).raise_for_status()

    def submit(
        self,
        user: ApiUser,
        model: str,
        prompt: str,
        texts: list[str],
        **f: Any,
    ) -> None:
        """Queue jobs, each with a text."""
        jobs = [
            user.job_body(model, prompt, requestData={"text": text}, **f)
            for text in texts
        ]
        user.post("/jobs/batch", {"jobs": jobs})

    def fill(self) -> None:
        """Make everything that the pages show."""
        self._clients()
        self._models()
        prompt = self._prompts()
        self.ids["run"] = self._run()
        self._jobs(prompt)
        eventually(lambda: _is_done(self.acme), seconds=60, what="jobs")
        self.submit(
            self.acme,
            self.models["gpt-5"],
            prompt,
            ["A reader's letter"] * 41,
            operation="summary",
        )
        eventually(self._is_suspended, seconds=30, what="a suspended model")
        self.ids["failed"] = self._first("ERROR_PROCESSING")
        self.ids["waiting"] = self._first("PENDING")

    def _clients(self) -> None:
        month = {"currency": "USD", "period": "month", "onExhausted": "wait"}
        self.rename(
            self.acme, "Acme back office", budget={"amount": 25, **month}
        )
        self.rename(
            self.night,
            "Night translations",
            budget={"amount": 0.03, **month},
        )
        self.rename(self.team, "Research")
        self.acme.worker(maxItemsPerBatch=20, replicas=2)
        self.night.worker(maxItemsPerBatch=20)
        self.team.worker(start=False)

    def _models(self) -> None:
        self.model("gpt-5-mini", (0.25, 2.0))
        self.model("gpt-5", (1.25, 10.0))
        self.model(
            "claude-haiku-4-5",
            (1.0, 5.0),
            limits={"requestsPerMinute": 5000, "maxConcurrency": 40},
        )
        self.http.post(
            "/routes",
            headers=ADMIN,
            json={
                "name": unique("chat"),
                "strategy": "cheapest",
                "targets": [
                    {"model": self.models["gpt-5-mini"]},
                    {"model": self.models["claude-haiku-4-5"]},
                ],
            },
        ).raise_for_status()

    def _prompts(self) -> str:
        name = unique("sentiment")
        first = self.acme.prompt(
            "Is the writer happy? Answer as JSON.", name=name
        )
        self.acme.prompt(
            "Is the writer happy with the product? Answer as JSON with "
            "sentiment and confidence, a number from 0 to 1.",
            name=name,
            status="DRAFT",
        )
        self.ids["prompt"] = first
        return first

    def _run(self) -> str:
        items = [
            {
                "id": f"message {n}",
                "requestData": {
                    "label": LABELS[n % 4],
                    "text": f"{TEXTS[LABELS[n % 4]]} (number {n})",
                },
                "expected": LABELS[n % 4],
            }
            for n in range(160)
        ]
        user = self.acme
        made = user.post("/datasets", {"name": "messages", "items": items})
        body = {
            "datasetId": made["datasetId"],
            "metric": {"type": "exact"},
            "strategy": "reflective",
            "initialWorkingPromptIds": [user.prompt(INSTRUCTION)],
            "workingModels": [self.models["gpt-5-mini"]],
            "maxIterations": 4,
            "seed": 3,
        }
        run_id = str(user.post("/runs", body)["runId"])

        def is_over() -> bool:
            status = user.get(f"/runs/{run_id}")["status"]
            assert status != "FAILED", user.get(f"/runs/{run_id}")
            return bool(status == "COMPLETED")

        eventually(is_over, seconds=60, what="the end of the run")
        return run_id

    def _jobs(self, prompt: str) -> None:
        mini = self.models["gpt-5-mini"]
        haiku = self.models["claude-haiku-4-5"]
        self.submit(
            self.acme,
            mini,
            prompt,
            [f"I would buy number {n} again at once." for n in range(220)],
            operation="sentiment",
            batchKey="reviews of November",
        )
        self.submit(
            self.acme, mini, prompt, ["unreadable"] * 31, operation="sentiment"
        )
        self.submit(
            self.acme, mini, prompt, ["forbidden"] * 9, operation="moderation"
        )
        other = self.night.prompt("Translate into French. Answer as JSON.")
        self.submit(
            self.night, haiku, other, ["Hello"] * 60, operation="translate"
        )
        # Nobody takes these: the only worker is stopped.
        third = self.team.prompt("Answer as JSON.")
        self.submit(
            self.team, mini, third, ["A question"] * 25, operation="survey"
        )

    def _first(self, status: str) -> str:
        path = f"/jobs?status={status}&limit=1&fields=jobId"
        return str(self.http.get(path, headers=ADMIN).json()[0]["jobId"])

    def _is_suspended(self) -> bool:
        models = self.http.get("/models", headers=ADMIN).json()
        return any(each["suspended"] for each in models)


def _is_done(user: ApiUser) -> bool:
    summary = user.get("/jobs/summary")
    return not summary["PENDING"] and not summary["PROCESSING"]


@contextmanager
def console_world(**settings: Any) -> Iterator[ConsoleWorld]:
    """Serve it until the block ends."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(EmbeddedDatabase(directory / "db"))
        provider = stack.enter_context(fake_provider())
        provider.handler, provider.streams = answer, True
        receiver = stack.enter_context(running_receiver())
        made = make_settings(
            directory / "data", webhook_allow_private=True, **settings
        )
        keys = {"PROVIDER_KEY": "sk-provider"}
        server = stack.enter_context(
            live_server(made, database.connection_string, keys)
        )
        http = stack.enter_context(
            httpx2.Client(base_url=server.url, timeout=60)
        )
        acme, night, team = (ApiUser(http) for _ in range(3))
        world = ConsoleWorld(server.url, provider, http, acme, night, team)
        hook = world.acme.post(
            "/webhooks",
            {
                "url": receiver.url,
                "events": ["run.completed", "job.failed"],
                "description": "The back office's own service",
            },
        )
        world.ids["webhook"] = hook["webhookId"]
        world.ids["hook_url"] = receiver.url
        world.fill()
        yield world


if __name__ == "__main__":
    with console_world() as running:
        sys.stdout.write(
            f"{running.url}/console/\nadmin: {ADMIN_KEY}\n"
            f"client: {running.token}\n"
        )
        sys.stdout.flush()
        sys.stdin.read()
