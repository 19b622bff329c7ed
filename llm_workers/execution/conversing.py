"""Jobs that ask more than two texts: their call, and what it gave."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from api.models.conversation_models import (
    EmbeddingsInput,
    SamplingOptions,
    choice_of,
    messages_of,
    tools_of,
)
from api.services.calls.model_call import (
    CallProgress,
    CallSize,
    FailedCallError,
    ModelAnswer,
    ModelCall,
)
from api.services.calls.model_caller import ModelCaller
from api.services.calls.transfers import TextEmbedding, converse
from api.services.queue.job_work import (
    RUN_OPERATIONS,
    ClaimedJob,
    Failed,
    Succeeded,
)
from llm_sdks.answers import Logprobs, TokenChance
from llm_sdks.base_sdk import Embeddings
from llm_sdks.conversation import (
    Conversation,
    Message,
    ResponseFormat,
    Sampling,
    ToolCall,
)
from llm_workers.execution.error_data import unusable
from llm_workers.execution.reasking import NextAsk, told
from utilities import payload

_LOGPROB_FIELDS = frozenset({"logprobs", "top_logprobs"})
# Of an answer, the probabilities of so many tokens are kept.
_MOST_LOGPROBS = 1000
_LONGEST_ARGUMENTS = 1_000_000


TOOL_CALL_ERROR = "TOOL_CALL_ERROR"


class UnusableCallError(Exception):
    """A call of a tool is not what can be made."""


async def ask(
    caller: ModelCaller, job: ClaimedJob, call: ModelCall, asked: NextAsk
) -> ModelAnswer:
    """Make a job's call: what it asks beside its texts comes into it.

    So do the answers before, if it is asked again.

    The text of an answer of vectors is their JSON.

    Raises:
        FailedCallError: there is no answer, whatever the reason.
        MissingModelKeyError: names the variable that should be set.
    """
    if not job.asked:
        return await caller.complete(told(call, asked))
    wanted = embeddings_of(job)
    if wanted is None:
        call = told(_conversing(job, call), asked)
        return await _converse(caller, job, call)
    progress = CallProgress()
    transfer = TextEmbedding(wanted.texts, wanted.dimensions)
    # Its answer costs nothing beside the texts.
    size = CallSize(len(job.asked["embeddings"].encode()), 1)
    answer = await caller.run(replace(call, size=size), progress, transfer)
    text = vectors_json(transfer.answer)
    return replace(answer, completion=replace(answer.completion, text=text))


async def _converse(
    caller: ModelCaller, job: ClaimedJob, call: ModelCall
) -> ModelAnswer:
    try:
        return await caller.run(call, CallProgress(), converse)
    except FailedCallError as failed:
        if (plainer := _without_logprobs(job, call, failed)) is None:
            raise
    return await caller.run(plainer, CallProgress(), converse)


def _without_logprobs(
    job: ClaimedJob, call: ModelCall, failed: FailedCallError
) -> ModelCall | None:
    """Ask an evaluation's job without probabilities, if they are refused.

    Its metric can do without them; nothing was answered so far.
    """
    asked = call.conversation
    is_refused = failed.error.param in _LOGPROB_FIELDS
    if asked is None or job.operation not in RUN_OPERATIONS or not is_refused:
        return None
    sampling = replace(asked.sampling, logprobs=None)
    return replace(call, conversation=replace(asked, sampling=sampling))


def read_unread(
    job: ClaimedJob, answer: ModelAnswer
) -> Succeeded | Failed | None:
    """Read an answer that is no text: vectors, or calls of tools."""
    completion = answer.completion
    if "embeddings" in job.asked:
        return Succeeded(completion.text, answer.metrics)
    if not completion.tool_calls:
        return None
    try:
        found = calls_json(completion.tool_calls, completion.text)
    except UnusableCallError as error:
        said = "\n".join(each.arguments for each in completion.tool_calls)
        shown = replace(completion, text=said[:_LONGEST_ARGUMENTS])
        kept = replace(answer, completion=shown)
        return unusable(job, kept, TOOL_CALL_ERROR, str(error))
    return succeeded(found, answer)


def succeeded(found: str, answer: ModelAnswer) -> Succeeded:
    """Give the outcome of a job with this JSON as its answer."""
    kept = logprobs_json(answer.completion.logprobs)
    return Succeeded(found, answer.metrics, logprobs_json=kept)


def _conversing(job: ClaimedJob, call: ModelCall) -> ModelCall:
    fields = {name: payload.load(text) for name, text in job.asked.items()}
    options = SamplingOptions.model_validate(fields.get("sampling") or {})
    sampling = options.options(job.temperature)
    schema = job.response_schema and payload.load(job.response_schema)
    conversation = Conversation(
        _messages(job, call.system, fields),
        tools_of(fields.get("tools")),
        choice_of(fields.get("toolChoice"), parallel=job.parallel_tool_calls),
        ResponseFormat.of(schema or None),
        sampling,
    )
    size = _size(job, call.system, sampling)
    return replace(call, conversation=conversation, size=size)


def embeddings_of(job: ClaimedJob) -> EmbeddingsInput | None:
    """Return the texts of which a job wants vectors, if it does."""
    text = job.asked.get("embeddings")
    return EmbeddingsInput.model_validate_json(text) if text else None


def _messages(
    job: ClaimedJob, system: str, fields: Mapping[str, Any]
) -> tuple[Message, ...]:
    messages = [Message.of("system", system)] if system else []
    if "messages" in fields:
        messages += messages_of(fields["messages"])
    if job.request_json:
        messages.append(Message.of("user", job.request_json))
    return tuple(messages)


def _size(job: ClaimedJob, system: str, sampling: Sampling) -> CallSize:
    # Of images by URL, nobody knows the tokens before.
    texts = (system, job.request_json, *job.asked.values())
    schema = job.response_schema or ""
    size = sum(len(each.encode(errors="replace")) for each in (*texts, schema))
    return CallSize(size, sampling.max_tokens)


def question_json(job: ClaimedJob) -> str:
    """Return what a job asks as JSON: its user message, or all of them."""
    if job.request_json:
        return job.request_json
    if "variables" in job.asked and "messages" not in job.asked:
        return job.asked["variables"]
    return f'{{"messages":{job.asked.get("messages", "[]")}}}'


def calls_json(calls: tuple[ToolCall, ...], text: str) -> str:
    """Give the answer of a job whose model calls tools.

    Raises:
        UnusableCallError: the arguments of a call are no JSON object.
    """
    answer: dict[str, Any] = {
        "toolCalls": [
            {"id": each.id, "name": each.name, "arguments": _arguments(each)}
            for each in calls
        ]
    }
    if text.strip():
        answer["text"] = payload.printable(text)
    return payload.dump(answer)


def _arguments(call: ToolCall) -> Mapping[str, Any]:
    name = payload.printable(call.name)
    if len(call.arguments) > _LONGEST_ARGUMENTS:
        raise UnusableCallError(
            f"The arguments of the call of {name!r} are longer than "
            f"{_LONGEST_ARGUMENTS} characters"
        )
    try:
        found = payload.load(call.arguments)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnusableCallError(
            f"The arguments of the call of {name!r} are no JSON object"
        )
    return found


def vectors_json(answer: Embeddings) -> str:
    """Give the answer of a job for vectors."""
    vectors = [list(each) for each in answer.vectors]
    dimensions = len(vectors[0]) if vectors else 0
    return payload.dump({"embeddings": vectors, "dimensions": dimensions})


def logprobs_json(logprobs: Logprobs | None) -> str | None:
    """Give the probabilities of an answer's tokens as they are stored."""
    if logprobs is None:
        return None
    rows = [
        [*_chance(each), [_chance(other) for other in each.top]]
        for each in logprobs[:_MOST_LOGPROBS]
    ]
    return payload.dump(rows)


def _chance(chance: TokenChance) -> list[Any]:
    return [payload.printable(chance.token), chance.logprob]
