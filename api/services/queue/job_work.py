"""A claimed job as a worker sees it, and its possible outcomes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from api.models.batch_models import BATCH_LINE
from api.models.charge import Bill
from api.models.conversation_models import ASKED_AS_JSON
from api.models.job_fields import ServiceClass
from api.models.metrics import Metrics
from api.models.tried_models import Tries
from utilities import payload
from utilities.cosmos_connector import ObjectId

# The operation of the jobs that runs are made of.
RUN_OPERATION = "optimize"
# Those of the runs on datasets beside them.
RUN_OPERATIONS = frozenset({RUN_OPERATION, "evaluate", "judge", "reflect"})
_BULK = ServiceClass.BULK
_CLASSES: Mapping[str | None, ServiceClass] = {
    each.value: each for each in ServiceClass
}


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims: a worker, in a process."""

    process_id: str
    worker_id: str


class UnreadableJobError(ValueError):
    """A stored job is not what a worker can run; names the field."""


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """What a worker needs of a job; `request_json` is the user message.

    `asked` has what few jobs ask beside it, as JSON texts by the names on
    the wire: see `api.models.conversation_models`.

    `lease_token` proves the claim: a result is only stored while the job
    still carries it.
    """

    job_id: ObjectId
    client_id: str
    lease_token: str
    attempts: int
    model: str
    working_prompts: tuple[str, ...]
    temperature: float
    request_json: str
    eval_prompt: str | None = None
    eval_model: str | None = None
    meta_prompt: str | None = None
    meta_model: str | None = None
    operation: str = ""
    as_text: bool = False
    # The JSON Schema of the answer, as JSON.
    response_schema: str | None = None
    # Failed calls so far; not all of them are attempts.
    failures: int = 0
    # When the job was submitted or last set back to PENDING (ms): the
    # same call of the same start has the same idempotency key.
    started_at: int = 0
    # Who has claimed it.
    worker_id: str = ""
    process_id: str = ""
    # What became of earlier tries, as JSON: see `attempt_models`.
    history: str | None = None
    # What an earlier attempt has paid for: the steps it stands for are not
    # made again.
    checkpoint: "Succeeded | None" = None
    # The client's notes, as JSON; a run's job names its run there.
    client_reference: str | None = None
    # What earlier tries have cost, as JSON: see `Spent`.
    spent: str | None = None
    # After this time (ms) it is not started any more.
    expires_at: int | None = None
    service_class: ServiceClass = ServiceClass.BULK
    # What earlier tries were charged with: see `api.models.charge`.
    charged: str | None = None
    # Of the prompts' texts and the model that it was made for.
    named_digest: str | None = None
    asked: Mapping[str, str] = field(default_factory=dict)
    # Whether one answer may call several tools, if the job says so.
    parallel_tool_calls: bool | None = None
    # What to do with an answer that cannot be used, and those so far, as
    # JSON: see `api.models.reask_models`.
    retry_on_invalid: str | None = None
    unusable: str | None = None
    # By what its answer is found again, and the digest of what it names
    # when it was submitted; whether an earlier answer will do.
    answer_key: str | None = None
    answer_named: str | None = None
    takes_answers: bool = False
    # Of a batch's line: the interface that its request is for; the request
    # is then `request_json`.
    interface: str | None = None
    # The headers that go with it, as JSON.
    request_headers: str | None = None
    # Takes what the calls of this try are charged with.
    bill: Bill = field(default_factory=Bill, compare=False)
    # Takes the targets of routes that this try has asked in vain.
    tries: Tries = field(default_factory=Tries, compare=False)

    @property
    def tells_its_end(self) -> bool:
        """Whether webhooks are told: of a batch, not of its lines."""
        return self.operation != BATCH_LINE

    @property
    def run_id(self) -> str | None:
        """The run that the job is a part of."""
        run_id = self.run_notes.get("runId")
        return run_id if isinstance(run_id, str) else None

    @property
    def run_notes(self) -> Mapping[str, Any]:
        """What a run has noted on its job."""
        if self.operation not in RUN_OPERATIONS or not self.client_reference:
            return {}
        notes = payload.load(self.client_reference)
        return notes if isinstance(notes, dict) else {}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a claimed document.

        Raises:
            UnreadableJobError: a field is missing or of a wrong type.
        """
        asked = {
            name: document[name]
            for name in ASKED_AS_JSON
            if document.get(name) is not None
        }
        _check(document, asked)
        return cls(
            job_id=document["_id"],
            client_id=document["clientId"],
            lease_token=document["leaseToken"],
            attempts=document["attempts"],
            model=document["model"],
            working_prompts=tuple(document["workingPrompts"]),
            temperature=document["temperature"],
            request_json=document.get("requestData") or "",
            eval_prompt=document.get("evalPrompt"),
            eval_model=document.get("evalModel"),
            meta_prompt=document.get("metaPrompt"),
            meta_model=document.get("metaModel"),
            operation=document["operation"],
            as_text=document.get("responseFormat") == "text",
            response_schema=document.get("responseSchema"),
            failures=document.get("failures") or 0,
            started_at=document.get("startedAt") or 0,
            worker_id=document.get("leaseWorker") or "",
            process_id=document.get("leaseProcess") or "",
            history=document.get("attemptHistory"),
            checkpoint=load_checkpoint(document.get("checkpoint")),
            client_reference=document.get("clientReference"),
            spent=document.get("spent"),
            expires_at=document.get("expiresAt"),
            service_class=_CLASSES.get(document.get("serviceClass"), _BULK),
            charged=document.get("charged"),
            named_digest=document.get("namedDigest") or None,
            asked=asked,
            parallel_tool_calls=document.get("parallelToolCalls"),
            retry_on_invalid=document.get("retryOnInvalid"),
            unusable=document.get("unusableAnswers"),
            answer_key=document.get("answerKey"),
            answer_named=document.get("answerNamed"),
            takes_answers=document.get("cache") == "use",
            interface=document.get("interface"),
            request_headers=document.get("requestHeaders"),
        )


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The job was answered; evaluation and meta step may have failed."""

    response_json: str
    metrics: Metrics
    eval_json: str | None = None
    suggested_prompt_id: str | None = None
    # What ended the evaluation or the meta step: `step`, `errorType` and
    # `error`, as JSON.
    step_error: str | None = None
    # The probabilities of the answer's tokens, as JSON.
    logprobs_json: str | None = None
    # The model that answered, if it is not the job's own.
    answered_by: str | None = None
    # The job whose answer this is, if no call was made for it.
    cached_from: str | None = None
    # Whether it was made by other texts, or by other settings of the model,
    # than its key says: nobody else gets it then.
    is_other_work: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot be answered; `error` says why and what to do.

    `counted` says whether this was an attempt. `unusable` has all answers,
    if the job was asked for again.
    """

    error: Mapping[str, Any]
    metrics: Metrics = field(default_factory=Metrics)
    counted: bool = True
    unusable: str | None = None


@dataclass(frozen=True, slots=True)
class Requeued:
    """The job shall run again, not before `available_at` (ms).

    `counted` says whether this was an attempt: a rate limit or a stopping
    worker is none. Without a `reason`, nothing has been tried.
    """

    available_at: int
    counted: bool
    reason: str
    checkpoint: Succeeded | None = None
    # Failed calls so far; None leaves the job's count as it is.
    failures: int | None = None
    # What the job has cost so far, as JSON; None leaves it as it is.
    spent: str | None = None
    # Why the call was not admitted, if that is what the job waits for.
    waits_for: str | None = None
    # The answers so far that could not be used, if there is a new one.
    unusable: str | None = None


@dataclass(frozen=True, slots=True)
class CanceledJob:
    """Its client has canceled the job; `metrics` is what it has cost."""

    metrics: Metrics = field(default_factory=Metrics)


@dataclass(frozen=True, slots=True)
class Spent:
    """What the tries of a job that gave no answer have cost.

    `refusals` counts rate limits since the last other end of a try;
    `unreadable` counts answers that were paid for and could not be read.
    """

    metrics: Metrics = field(default_factory=Metrics)
    refusals: int = 0
    unreadable: int = 0

    def dump(self) -> str:
        """Turn it into the text that is stored."""
        return payload.dump(
            {
                "metrics": self.metrics.dump(),
                "refusals": self.refusals,
                "unreadable": self.unreadable,
            }
        )

    @classmethod
    def load(cls, text: str | None) -> Self:
        """Read what `dump` wrote; None is nothing spent.

        Raises:
            UnreadableJobError: the text is something else.
        """
        if text is None:
            return cls()
        try:
            fields = payload.load(text)
            metrics = Metrics.load(fields["metrics"])
            return cls(**fields | {"metrics": metrics})
        except (ValueError, TypeError, KeyError) as error:
            raise UnreadableJobError(
                f"spent: {type(error).__name__}"
            ) from None


def load_checkpoint(text: str | None) -> Succeeded | None:
    """Read what `dump_checkpoint` wrote.

    Raises:
        UnreadableJobError: the text is something else.
    """
    if text is None:
        return None
    try:
        fields = payload.load(text)
        metrics = Metrics.load(fields["metrics"])
        return Succeeded(**fields | {"metrics": metrics})
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableJobError(
            f"checkpoint: {type(error).__name__}"
        ) from None


def dump_checkpoint(done: Succeeded | None) -> str | None:
    """Turn what has been paid for into the text that is stored."""
    if done is None:
        return None
    return payload.dump(asdict(done) | {"metrics": done.metrics.dump()})


Outcome = Succeeded | Failed | Requeued | CanceledJob


_NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "clientId": str,
    "leaseToken": str,
    "attempts": int,
    "model": str,
    "workingPrompts": list,
    "temperature": (int, float),
    "operation": str,
}
_OPTIONAL: Mapping[str, type] = {
    "evalPrompt": str,
    "evalModel": str,
    "metaPrompt": str,
    "metaModel": str,
    "responseSchema": str,
    "failures": int,
    "startedAt": int,
    "leaseWorker": str,
    "leaseProcess": str,
    "attemptHistory": str,
    "checkpoint": str,
    "spent": str,
    "expiresAt": int,
    "charged": str,
    "serviceClass": str,
    "requestData": str,
    "parallelToolCalls": bool,
    "retryOnInvalid": str,
    "unusableAnswers": str,
    "answerKey": str,
    "answerNamed": str,
    "interface": str,
    "requestHeaders": str,
}


def _check(document: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if document.get("requestData") is None and not asked:
        raise UnreadableJobError("requestData is missing")
    if not all(isinstance(each, str) for each in asked.values()):
        raise UnreadableJobError(f"one of {', '.join(asked)} is no text")
    for name, kinds in _NEEDED.items():
        if not isinstance(document.get(name), kinds):
            raise UnreadableJobError(f"{name} is missing or of a wrong type")
    for name, kind in _OPTIONAL.items():
        value = document.get(name)
        if value is not None and not isinstance(value, kind):
            raise UnreadableJobError(f"{name} is of a wrong type")
    if not all(isinstance(each, str) for each in document["workingPrompts"]):
        raise UnreadableJobError("workingPrompts is not a list of ids")
    Spent.load(document.get("spent"))
