"""Routes to models at one fake provider, each with its own behaviour."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.support.api_user import ADMIN, ApiUser, Json, unique
from tests.support.fake_provider import (
    Body,
    FakeProvider,
    completion,
    failure,
)

Behaviour = Callable[[Body], Awaitable[web.StreamResponse]]


def fails(status: int, message: str = "broken", **headers: str) -> Behaviour:
    """Answer with an error."""

    async def behave(_body: Body) -> web.StreamResponse:
        return failure(status, message, **headers)

    return behave


def says(text: str, **fields: Any) -> Behaviour:
    """Answer with a text."""

    async def behave(_body: Body) -> web.StreamResponse:
        return completion(text, **fields)

    return behave


class RouteWorld:
    """One client, with models that behave as they are told."""

    def __init__(self, user: ApiUser, provider: FakeProvider) -> None:
        self.user = user
        self.provider = provider
        self.behaviours: dict[str, Behaviour] = {}
        provider.handler = self._answer

    def model(self, behaviour: Behaviour | None = None, **fields: Any) -> str:
        """Make a model; it says its name unless told otherwise."""
        name = unique("target")
        made = self.user.model(
            name=name,
            sdk="ChatCompletionsClient",
            endpoint=self.provider.url,
            key="PROVIDER-KEY",
            **fields,
        )
        self.behaves(name, behaviour or says(json.dumps({"model": name})))
        return made

    def behaves(self, model: str, behaviour: Behaviour) -> None:
        """Change what a model answers."""
        self.behaviours[model] = behaviour

    def route(self, *targets: str | Json, **fields: Any) -> str:
        """Make a route; return its name."""
        return str(self.made(*targets, **fields)["name"])

    def made(self, *targets: str | Json, **fields: Any) -> Json:
        """Make a route; return it."""
        body = {
            "name": unique("route"),
            "targets": [
                {"model": each} if isinstance(each, str) else each
                for each in targets
            ],
            **fields,
        }
        made: Json = self.user.request(
            "POST", "/routes", 201, json=body, headers=ADMIN
        )
        return made

    def done(self, name: str, **fields: Any) -> Json:
        """Run a job; a worker must be there."""
        made = self.user.job(name, self.user.prompt(), **fields)
        return self.user.ended(made["jobId"])

    def asked(self) -> list[str]:
        """Return which models the provider was asked, in order."""
        return [each["model"] for each in self.provider.requests]

    async def _answer(self, body: Body) -> web.StreamResponse:
        return await self.behaviours[body["model"]](body)


def tried(record: Json) -> list[tuple[str, str]]:
    """Return what a job has tried: the models and their errors."""
    return [
        (each["model"], each["reason"].split(":")[0])
        for each in record["attemptHistory"] or ()
        if each["kind"] == "TARGET_FAILED"
    ]
