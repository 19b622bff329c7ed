# Made from `_async` by `make client`; not to be edited.
"""What `map` needs on the server before its first job."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metasync._sync import _io
from metasync._sync.resources import (
    Models,
    Prompts,
    Workers,
)
from metasync.embedded import Embedded
from metasync.errors import ConfigurationError, NoWorkerError
from metasync.questions import Question

_OWN_CONCURRENCY = 50
_NAMES_SHOWN = 20
_DIGITS = 16


@dataclass
class Preparation:
    """Sees to model, worker and prompt."""

    prompts: Prompts
    models: Models
    workers: Workers
    embedded: Embedded | None

    def prepare(self, question: Question[Any]) -> str:
        """Return the id of the prompt with the question's stored text.

        Raises:
            ConfigurationError: there is no such model.
            NoWorkerError: nobody would run the jobs.
        """
        self._see_to_model(question.model)
        self._see_to_worker(question)
        text = question.stored_text
        digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
        prompt = self.prompts.ensure(f"map-{digest}", text)
        return prompt.prompt_id

    def _see_to_model(self, name: str) -> None:
        names = []
        for model in self.models.list():
            if name in {model.name, model.model_id}:
                return
            names.append(model.name)
        if self.embedded is not None:
            _io.in_thread(self.embedded.add_model, name)
            return
        for route in self.models.routes():
            if name in {route.name, route.route_id}:
                return
            names.append(route.name)
        raise ConfigurationError(_without_model(name, names))

    def _see_to_worker(self, question: Question[Any]) -> None:
        options = question.options
        concurrency = options.concurrency
        if concurrency is None and self.embedded is not None:
            concurrency = _OWN_CONCURRENCY
        if concurrency is not None:
            self.workers.ensure(concurrency)
            return
        for worker in self.workers.list():
            if worker.takes(question.model, options.operation):
                return
        raise NoWorkerError(
            "No running worker of this client would take the jobs. "
            "map(..., concurrency=50) starts one"
        )


def _without_model(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    shown = ", ".join(sorted(names)[:_NAMES_SHOWN]) or "none"
    return f"The server has no model {name!r}{meant}; it has: {shown}"
