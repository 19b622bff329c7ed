"""Ask again for an answer that cannot be used, then ask other models.

Which model is asked next, and what it is told, follows from the answers so
far alone. They are stored with the job before it is asked again: after a
crash, no answer that was stored is paid for twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from api.models.metrics import Metrics
from api.models.reask_models import RetryOnInvalid, UnusableAnswer
from api.models.route_models import Route
from api.models.tried_models import Fallback
from api.services.calls.model_call import CallSize, ModelCall
from api.services.queue.job_work import ClaimedJob, Failed, Requeued, Spent
from llm_sdks.conversation import Conversation, Message
from llm_sdks.errors import ContentFilteredError
from utilities import payload
from utilities.clock import Clock, to_datetime

_LONGEST_TEXT, _LONGEST_MESSAGE = 10_000, 2_000
# What the model is told; other kinds are not asked for again.
_EMPTY = "Your answer was empty. Answer what was asked."
_TOLD = {
    "JSON_PARSING_ERROR": "Your answer is not the JSON that was asked for: "
    "{message}\nAnswer again, with nothing but the JSON.",
    "SCHEMA_MISMATCH": "Your answer cannot be used. {message}\nAnswer again, "
    "with nothing but the corrected JSON.",
    "TOOL_CALL_ERROR": "Your call of a tool cannot be made: {message}\nMake "
    "it again, with correct arguments.",
    "TRUNCATED": "Your answer was cut, because it was too long. Answer "
    "again, completely, but much shorter.",
    "NO_ANSWER": _EMPTY,
    # It would be withheld again: only another model may help.
    "CONTENT_FILTERED": "",
}


@dataclass(frozen=True, slots=True)
class NextAsk:
    """The model to ask, and its own answers that could not be used.

    `model` is None for the job's own. If that is a route, `done` are the
    targets that are not asked any more.
    """

    model: str | None
    before: tuple[UnusableAnswer, ...] = ()
    done: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """The model that has answered, and the job's own route, if it has one.

    `targets` are the names of the models that the route leads to.
    """

    model: str
    route: Route | None = None
    targets: tuple[str, ...] = ()


def next_ask(
    policy: RetryOnInvalid,
    answers: Sequence[UnusableAnswer],
    route: Route | None = None,
    targets: Collection[str] = (),
) -> NextAsk | None:
    """Tell who is asked next; None if nobody is.

    A model that repeats an answer, or whose answer was withheld, is not
    asked again. Of a job's own route, the other `targets` come next, if
    it falls over for such answers; then the models of the ladder.
    """
    rung, before, done = 0, list[UnusableAnswer](), set[str]()
    for answer in answers:
        if not rung and before and before[-1].model != answer.model:
            # The route has led elsewhere meanwhile.
            done.add(before[-1].model)
            before = []
        repeats = any(answer.text == each.text for each in before)
        before.append(answer)
        told = _TOLD.get(answer.error_type)
        if len(before) <= policy.max_reasks and told and not repeats:
            continue
        before = []
        if not rung:
            done.add(answer.model)
        if rung or not (
            _falls_over(route, answer.error_type) and {*targets} - done
        ):
            rung += 1
        if rung > len(policy.ladder):
            return None
    if rung:
        return NextAsk(policy.ladder[rung - 1], tuple(before))
    return NextAsk(None, tuple(before), frozenset(done))


def answers_of(job: ClaimedJob) -> list[UnusableAnswer]:
    """Return a job's answers so far that could not be used."""
    if job.unusable is None:
        return []
    stored = payload.load(job.unusable)
    return [UnusableAnswer.model_validate(each) for each in stored]


def asking(
    job: ClaimedJob,
    answers: Sequence[UnusableAnswer],
    route: Route | None = None,
    targets: Collection[str] = (),
) -> NextAsk:
    """Tell which model a job asks after these answers."""
    if not answers:
        return NextAsk(None)
    found = next_ask(_policy(job), answers, route, targets)
    return found or NextAsk(None)


def told(call: ModelCall, ask: NextAsk) -> ModelCall:
    """Add to a call the answers so far, and what is wrong with them."""
    if not ask.before:
        return call
    asked = call.conversation
    if asked is None:
        schema = call.response_schema and payload.load(call.response_schema)
        asked = Conversation.simple(
            call.system, call.user, call.temperature, schema or None
        )
    messages = [each for answer in ask.before for each in _turns(answer)]
    # Their cost is reserved too.
    size = call.input_bytes + sum(
        len(each.text.encode(errors="replace")) for each in messages
    )
    return replace(
        call,
        conversation=replace(asked, messages=(*asked.messages, *messages)),
        size=CallSize(size, call.output_tokens),
    )


def after(
    job: ClaimedJob,
    before: Sequence[UnusableAnswer],
    failed: Failed,
    clock: Clock,
    asked: Asked | None = None,
) -> Failed | Requeued:
    """Say what follows an answer that cannot be used, and those before it.

    The job goes back into the queue, with the answer: there is nothing to
    lose then.
    """
    kind = str(failed.error.get("errorType"))
    asked = asked or Asked(asking(job, before).model or job.model)
    goes_on = job.retry_on_invalid or _falls_over(asked.route, kind)
    if not goes_on or kind not in _TOLD:
        return failed
    answers = [*before, _unusable(asked.model, failed, clock())]
    kept = payload.dump([each.model_dump(mode="json") for each in answers])
    following = next_ask(_policy(job), answers, asked.route, asked.targets)
    if following is None:
        return replace(failed, unusable=kept)
    spent = Spent.load(job.spent)
    total = replace(spent, metrics=spent.metrics + failed.metrics, refusals=0)
    return Requeued(
        clock(),
        counted=False,
        reason=f"asked again: {kind}",
        spent=total.dump(),
        unusable=kept,
    )


def _falls_over(route: Route | None, error_type: str) -> bool:
    is_filtered = error_type == ContentFilteredError.kind
    kind = Fallback.CONTENT_FILTER if is_filtered else Fallback.UNUSABLE_ANSWER
    return route is not None and route.falls_over(kind)


def _policy(job: ClaimedJob) -> RetryOnInvalid:
    if job.retry_on_invalid is None:
        return RetryOnInvalid(max_reasks=0)
    return RetryOnInvalid.model_validate_json(str(job.retry_on_invalid))


def _turns(answer: UnusableAnswer) -> list[Message]:
    said = _TOLD[answer.error_type].format(message=answer.message)
    if not answer.text.strip():
        # Some providers take no empty messages.
        return [Message.of("user", _EMPTY)]
    return [Message.of("assistant", answer.text), Message.of("user", said)]


def _unusable(model: str, failed: Failed, now: int) -> UnusableAnswer:
    error, used = failed.error, failed.metrics
    return UnusableAnswer(
        model=model,
        error_type=str(error.get("errorType")),
        message=str(error.get("message"))[:_LONGEST_MESSAGE],
        text=str(error.get("failedResponseData") or "")[:_LONGEST_TEXT],
        at=to_datetime(now),
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        **_cost(used),
    )


def _cost(used: Metrics) -> dict[str, object]:
    if len(used.currencies) != 1:
        return {}
    return {"cost": used.total_cost, "currency": next(iter(used.currencies))}
