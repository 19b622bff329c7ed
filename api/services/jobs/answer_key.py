"""The key of an answer: what a model is asked, to the letter.

Two jobs have the same key if, and only if, the same client asks the same
model, with the same settings, exactly the same. What does not reach the
model, such as a job's priority, its client's notes and the names of its
prompts, is not part of it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.models.job_models import JobCreate
from api.models.model_models import Model
from api.services.jobs.job_templates import filled
from utilities import payload
from utilities.cosmos_connector import Document

# Part of every key: keys of another making are never found.
_MAKING = "1"
# The fields of a model that change what it answers, or whether it does.
_OF_THE_ANSWER = frozenset(
    {
        "sdk", "endpoint", "api_type", "api_version", "deployment", "service",
        "max_token", "max_completion_token", "min_temperature",
        "max_temperature", "profile",
    }
)  # fmt: skip
# Those of a job, beside its texts.
_OF_THE_QUESTION = frozenset(
    {
        "temperature", "response_format", "response_schema", "tools",
        "tool_choice", "parallel_tool_calls", "sampling", "embeddings",
        "retry_on_invalid", "sample",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asker:
    """What many questions have in common; `make` makes it."""

    system: str
    _common: Any

    @classmethod
    def make(
        cls,
        client_id: str,
        request: JobCreate,
        system: str,
        model: Model,
    ) -> "Asker":
        """Take everything of a job but its rendered texts.

        `system` is the text of its prompts.
        """
        asked = request.model_dump(
            mode="json", by_alias=True, include=set(_OF_THE_QUESTION)
        )
        parts = [_MAKING, client_id, asked, settings_of_answer(model)]
        return cls(system, hashlib.sha256(_framed(payload.dump(parts))))

    def key(
        self,
        request_json: str,
        messages: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """Give the key of one question, in hexadecimal digits.

        `request_json` is its requestData as it is sent, or empty.

        Raises:
            TemplateFailedError: its templates cannot be filled.
        """
        system, said = self.system, messages
        if variables is not None:
            full = filled(
                system, messages, variables, has_request=bool(request_json)
            )
            system, said = full.system, full.messages
        talk = "" if said is None else payload.dump(list(said))
        digest = self._common.copy()
        for part in (system, talk, request_json):
            digest.update(_framed(part))
        return str(digest.hexdigest())


def key_of_job(asker: Asker, request: JobCreate) -> str:
    """Give the key of a job whose asker this is.

    Raises:
        TemplateFailedError: its templates cannot be filled.
    """
    data = request.request_data
    asked = "" if data is None else payload.dump(data)
    return asker.key(asked, request.messages, request.variables)


def settings_of_answer(model: Model) -> Document:
    """Give what of a model its answers depend on."""
    fields = model.model_dump(
        mode="json",
        by_alias=True,
        include=set(_OF_THE_ANSWER),
        exclude_none=True,
    )
    # Without a deployment, the provider's model has the model's name.
    return {**fields, "deployment": model.deployment or model.name}


def _framed(text: str) -> bytes:
    # With its length, so that no two lists of texts are written alike.
    content = text.encode()
    return b"%d:%b" % (len(content), content)
