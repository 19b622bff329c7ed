"""What one call to a model asks, and what it gave: values, no I/O."""

from dataclasses import dataclass, field

from api.models.charge import Bill
from api.models.job_fields import ServiceClass
from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from llm_sdks.base_sdk import Completion, Usage
from llm_sdks.conversation import Conversation
from llm_sdks.errors import LLMError, PartialAnswerError
from llm_sdks.formats.allowances import Headers
from llm_sdks.resilience.fair_queue import Turn

CANCELED = "CANCELED"


@dataclass(frozen=True, slots=True)
class Account:
    """Who is charged for a call, and for what."""

    client_id: str = ""
    operation: str = ""
    run_id: str | None = None
    service_class: ServiceClass = ServiceClass.BULK
    # Whether the provider charges the price of its batches.
    is_batch: bool = False
    # The route that was named in place of a model.
    route: str = ""

    @property
    def is_urgent(self) -> bool:
        """Whether a person waits for the answer."""
        return self.service_class is ServiceClass.INTERACTIVE

    @property
    def turn(self) -> Turn:
        """Whose turn it is when calls have to wait."""
        return Turn(self.client_id, self.is_urgent)


NO_ACCOUNT = Account()


@dataclass(frozen=True, slots=True)
class CallSize:
    """How large a call is whose texts are not in the call.

    `input_bytes` is no less than its tokens; `output_tokens` is what it
    allows the answer, None if it says nothing.
    """

    input_bytes: int
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request to a model.

    `key` is the same whenever the same step of the same job is asked;
    `response_schema` is the JSON Schema of the answer, as JSON.
    `account` says who is charged for the call, `bill` takes the charge.
    """

    model: ModelWithKey
    system: str
    user: str
    temperature: float
    key: str | None = None
    response_schema: str | None = None
    account: Account = NO_ACCOUNT
    # Takes what the call is charged with.
    bill: Bill | None = field(default=None, compare=False)
    # What is asked in place of the two texts and the schema.
    conversation: Conversation | None = None
    # Of what is asked in place of the texts.
    size: CallSize | None = None
    # How long it may wait for its limits (s); None is the usual time.
    patience: float | None = None
    # Whether it does not wait for a place at its model: another is there.
    gives_way: bool = False

    @property
    def input_bytes(self) -> int:
        """The bytes of what it asks; a token has at least one."""
        if self.size is not None:
            return self.size.input_bytes
        texts = (self.system, self.user, self.response_schema or "")
        return sum(len(text.encode(errors="replace")) for text in texts)

    @property
    def output_tokens(self) -> int | None:
        """The most tokens that it allows the answer, if it says so."""
        return None if self.size is None else self.size.output_tokens


@dataclass(slots=True)
class CallProgress:
    """What is known of a call while it runs; times in seconds.

    The caller keeps it, so that a call that fails or is
    cancelled is counted as far as it went. `usage` is None as long as the
    provider has reported none.
    """

    texts: list[str] = field(default_factory=list)
    usage: Usage | None = None
    seconds: float = 0.0
    # Unix time; None as long as it runs.
    ended_at: float | None = None
    is_batch: bool = False
    time_to_first_token: float | None = None
    # The time that the call waited for the reader of its stream.
    reader_seconds: float = 0.0
    # Whether the provider did something whose cost cannot be known.
    is_unpriced: bool = False
    # Somebody has been told of the answer: the call is not made again.
    has_begun: bool = False
    # The headers of the answer, where the plug-in shows them.
    headers: Headers | None = None
    # What it has cost, once it has ended.
    cost: Metrics | None = None
    # The outcome that is observed if the call is cancelled.
    canceled_as: str = CANCELED
    # The name of its key, where the model has several.
    credential: str = ""

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self.texts)

    def begin_anew(self) -> None:
        """Prepare for another call, after one that gave no answer."""
        self.texts.clear()
        self.usage = self.ended_at = self.cost = self.headers = None
        self.is_unpriced = False

    def note_first(self, seconds: float) -> None:
        """Note when content came, if none has come before."""
        if self.time_to_first_token is None:
            self.time_to_first_token = round(seconds, 6)

    def take_headers(self, headers: Headers) -> None:
        """Take note of the headers of the answer."""
        self.headers = headers

    @property
    def is_uncounted(self) -> bool:
        """Whether an answer came whose tokens are not known."""
        has_answer = bool(self.texts) or self.is_unpriced
        return self.usage is None and has_answer

    def metrics(self, model: ModelWithKey) -> Metrics:
        """Count and price the call as far as it went."""
        if self.cost is not None:
            return self.cost
        return Metrics.of_usage(
            self.usage or Usage(),
            self.seconds,
            None if self.is_unpriced else model.cost,
            requests=int(self.usage is not None),
            at=self.ended_at,
            is_batch=self.is_batch,
        )


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What the model answered, and what that cost.

    `cut` says why the answer is not whole, if it is not.
    """

    completion: Completion
    metrics: Metrics
    model: ModelWithKey
    cut: PartialAnswerError | None = None


class FailedCallError(Exception):
    """A call without an answer: why, and of which model.

    `is_outage` says that the provider fails, not this call: its breaker
    is open. `metrics` is what the failed call cost.
    """

    def __init__(
        self,
        error: LLMError,
        model: ModelWithKey,
        metrics: Metrics,
        *,
        is_outage: bool,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.model = model
        self.metrics = metrics
        self.is_outage = is_outage


class SlowReaderError(Exception):
    """The reader of a stream took its text too slowly, or not at all."""
