"""The working step of a batch's line: a request in a vendor's format.

It is carried as a live request of the same interface is, and its answer is
kept as the client would have got it.
"""

from dataclasses import dataclass, field, replace

from pydantic_core import from_json

from api.core.dialects import ANTHROPIC, OPENAI, RESPONSES, Dialect, Problem
from api.core.errors import MetasyncError, NotFoundError, ParameterError
from api.models.job_fields import ServiceClass
from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.services.batches.result_lines import RESPONSE
from api.services.calls.model_call import (
    Account,
    CallProgress,
    FailedCallError,
    ModelAnswer,
    ModelCall,
)
from api.services.calls.model_caller import ModelCaller
from api.services.calls.routing.fallback import UnsuitableTargetError
from api.services.calls.routing.router import Router, Target
from api.services.gateway.asked import Asked, question_of
from api.services.gateway.exchanges import (
    Exchange,
    new_exchange,
    older_exchange,
)
from api.services.gateway.forwarding import Forwarding
from api.services.gateway.live_answer import Head
from api.services.gateway.problems import handed_on, problem_of
from api.services.queue.job_work import ClaimedJob, Failed, Succeeded
from llm_sdks.forwarding import Interface
from llm_workers.execution.error_data import (
    StepError,
    cost_of,
    error_data,
    unusable,
)
from utilities import payload
from utilities.clock import Clock

NOT_STORABLE = "NOT_STORABLE"
_NOT_FOUND = 404


@dataclass
class _Kept:
    """Keeps an answer that comes in one piece; an `AnswerSink`."""

    record_id: str
    parts: list[bytes] = field(default_factory=list)

    def begin(self, head: Head) -> None:
        """Take no note of it: only good answers are kept."""

    async def put(self, piece: bytes) -> None:
        """Add bytes."""
        self.parts.append(piece)

    async def whole(self, head: Head, content: bytes) -> None:
        """Take the answer."""
        del head
        self.parts[:] = [content]


class LineStep:
    """Makes the calls of lines."""

    def __init__(
        self,
        caller: ModelCaller,
        router: Router,
        clock: Clock,
    ) -> None:
        self._caller = caller
        self._router = router
        self._clock = clock
        self._lacking: set[tuple[str, str]] = set()

    async def run(self, job: ClaimedJob) -> Succeeded | Failed:
        """Make the call, and keep its answer.

        Raises:
            FailedCallError: there is no answer, whatever the reason.
            MissingModelKeyError: names the variable that should be set.
            MetasyncError: the model is gone, or cannot be asked so.
        """
        asked = asked_of(job)
        plan = await self._router.plan(job.model, lambda: question_of(asked))
        kept = _Kept(str(job.job_id))

        async def ask(target: Target) -> ModelAnswer:
            kept.parts.clear()
            return await self._ask(job, asked, target, kept)

        answer = await self._router.answer(
            plan,
            ask,
            job.tries,
            question=lambda: question_of(asked),
        )
        done = _made_of(job, answer, b"".join(kept.parts))
        if job.tries:
            done = replace(done, metrics=done.metrics + job.tries.cost)
        if isinstance(done, Succeeded) and plan.route is not None:
            return replace(done, answered_by=answer.model.name)
        return done

    async def _ask(
        self, job: ClaimedJob, asked: Asked, target: Target, kept: _Kept
    ) -> ModelAnswer:
        model, created = target.model, self._clock() // 1000
        exchange = self._exchange(asked, target, kept, created)
        call = target.call(_call(job, asked, model))
        progress = CallProgress()
        try:
            return await self._caller.run(call, progress, exchange)
        except FailedCallError as failed:
            older = None
            if isinstance(exchange, Forwarding):
                older = older_exchange(
                    asked, model, failed.error, kept, created
                )
            if older is None:
                raise
        progress.begin_anew()
        answer = await self._caller.run(call, progress, older)
        self._lacking.add((model.model_id, model.endpoint))
        return answer

    def _exchange(
        self, asked: Asked, target: Target, kept: _Kept, created: int
    ) -> Exchange:
        try:
            return new_exchange(
                self._caller.access,
                asked,
                target.model,
                created,
                lacking=self._lacking,
                leaves_filtered=target.leaves_filtered,
            )(kept)
        except ParameterError as error:
            if not target.route:
                raise
            # Another model of the route may be able to.
            unsuitable = UnsuitableTargetError(str(error))
            unsuitable.param = error.param
            raise FailedCallError(
                unsuitable, target.model, Metrics(), is_outage=False
            ) from None


def asked_of(job: ClaimedJob) -> Asked:
    """Read a line's request."""
    interface = Interface(str(job.interface))
    raw = job.request_json.encode()
    return Asked(
        interface,
        dialect_for(interface),
        job.model,
        from_json(raw),
        raw,
        headers=payload.load(job.request_headers or "{}"),
        request_id=f"req_{job.job_id}",
    )


def dialect_for(interface: Interface) -> Dialect:
    """Tell in whose words a line's errors are told."""
    if interface is Interface.MESSAGES:
        return ANTHROPIC
    return RESPONSES if interface is Interface.RESPONSES else OPENAI


def line_failed(job: ClaimedJob, error: StepError) -> Failed:
    """Fail a line: with what its client would have been answered."""
    dialect = dialect_for(Interface(str(job.interface)))
    status, body = _told(error, dialect, f"req_{job.job_id}")
    data = error_data(job, error)
    if isinstance(error, ParameterError):
        data["errorType"] = "BAD_REQUEST"
    response = {RESPONSE: {"status": status, "body": body}}
    try:
        payload.dump(response)
    except payload.PayloadError:
        # A provider's own words that nobody could read again.
        response = {}
    return Failed(data | response, cost_of(error))


def _told(
    error: StepError, dialect: Dialect, request_id: str
) -> tuple[int, object]:
    if isinstance(error, FailedCallError):
        problem = problem_of(error.error)
        content = handed_on(error.error)
        if content is not None:
            status = error.error.http_status or problem.status
            return status, from_json(content)
    elif isinstance(error, NotFoundError):
        problem = Problem(
            _NOT_FOUND, str(error), "model_not_found", param="model"
        )
    elif isinstance(error, MetasyncError):
        problem = Problem(400, str(error), param=_param_of(error))
    else:
        problem = Problem(500, str(error), error.kind.lower())
    return dialect.status(problem), dialect.body(problem, request_id)


def _param_of(error: MetasyncError) -> str | None:
    return error.param if isinstance(error, ParameterError) else None


def _call(job: ClaimedJob, asked: Asked, model: ModelWithKey) -> ModelCall:
    return ModelCall(
        model,
        "",
        "",
        1.0,
        f"metasync-{job.job_id}-{job.started_at}-line",
        account=Account(
            job.client_id, job.operation, service_class=ServiceClass.BULK
        ),
        bill=job.bill,
        size=asked.size,
    )


def _made_of(
    job: ClaimedJob, answer: ModelAnswer, content: bytes
) -> Succeeded | Failed:
    if answer.cut is not None:
        return _unusable(job, answer, answer.cut.kind, str(answer.cut))
    try:
        text = payload.dump(from_json(content))
    except ValueError as error:
        # It was paid for: what can be kept is kept.
        return _unusable(
            job, answer, NOT_STORABLE, f"The answer cannot be kept: {error}"
        )
    return Succeeded(text, answer.metrics)


def _unusable(
    job: ClaimedJob, answer: ModelAnswer, kind: str, message: str
) -> Failed:
    failed = unusable(job, answer, kind, message)
    dialect = dialect_for(Interface(str(job.interface)))
    body = dialect.body(Problem(502, message, kind.lower()), "")
    response = {"status": 502, "body": body}
    return replace(failed, error={**failed.error, RESPONSE: response})
