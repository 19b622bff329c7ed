"""What a job asks beyond a system text and one user message.

Messages and tools have the form of OpenAI's chat completions, which most
programs can write; any provider's plug-in gets them in its own form.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticKnownError

from api.models.base import ApiModel, Text, is_unset
from api.models.job_fields import (
    REFERENCE_BYTES_LIMIT,
    REQUEST_BYTES_LIMIT,
    bytes_of,
    fits,
)
from llm_sdks.conversation import (
    Effort,
    Message,
    Sampling,
    ToolChoice,
    ToolDefinition,
)
from llm_sdks.errors import BadRequestError
from llm_sdks.formats.fields import Fields, UntranslatableError
from llm_sdks.formats.openai_chat_asked import (
    MOST_TOP_LOGPROBS,
    read_choice,
    read_tools,
)
from llm_sdks.formats.openai_chat_messages import read_messages

MESSAGES_LIMIT, TOOLS_LIMIT, TEXTS_LIMIT, STOPS_LIMIT = 1000, 128, 2048, 16
_LONGEST_STOP = 500
_SEEDS = 2**63
# What is stored as JSON text, by its names on the wire.
ASKED_AS_JSON = (
    "messages",
    "tools",
    "toolChoice",
    "sampling",
    "embeddings",
    "variables",
)


def _readable(name: str, read: Callable[[Fields], object]) -> AfterValidator:
    """Check a field by what reads it before a call."""

    def check(value: Any) -> Any:  # noqa: ANN401 - JSON
        try:
            read(Fields({name: value}))
        except UntranslatableError as error:
            raise ValueError(
                f"{error.param}: {error.what or 'this'} is not known"
            ) from None
        except BadRequestError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(check)


_Object = dict[str, Any]
_MESSAGES = Field(
    exclude_if=is_unset,
    description="A conversation, as OpenAI's chat completions have it: "
    "`role` and `content` (text, or parts with texts and images), with "
    "calls of tools and their results. It follows the system text of "
    "workingPrompts; requestData, if there is any, is the last user "
    "message.",
    examples=[[{"role": "user", "content": "Hello"}]],
)
_TOOLS = Field(
    exclude_if=is_unset,
    description="Functions that the model may call, as OpenAI's chat "
    "completions have them.",
)
_TOOL_CHOICE = Field(
    exclude_if=is_unset,
    description="`auto`, `none`, `required`, or `{type: function, "
    "function: {name}}`.",
)
_PARALLEL = Field(
    exclude_if=is_unset,
    description="Whether one answer may call several tools.",
)
_UNSET = Field(exclude_if=is_unset)
_EMBEDDINGS = Field(
    exclude_if=is_unset,
    description="Asks for vectors in place of an answer; the model must be "
    "one for embeddings.",
)
_VARIABLES = Field(
    exclude_if=is_unset,
    description="Makes templates of the working prompts and of the texts of "
    "messages: `{{name}}` stands for a value of this object. Without "
    "messages and requestData, what the prompts give is the user message.",
    examples=[{"text": "I would buy it again at once."}],
)
Messages = Annotated[
    list[_Object],
    Field(min_length=1, max_length=MESSAGES_LIMIT),
    fits(REQUEST_BYTES_LIMIT),
    _readable("messages", read_messages),
]
Tools = Annotated[
    list[_Object],
    Field(min_length=1, max_length=TOOLS_LIMIT),
    fits(REQUEST_BYTES_LIMIT),
    _readable("tools", read_tools),
]
Variables = Annotated[dict[str, Any], fits(REQUEST_BYTES_LIMIT)]
ToolChoiceField = Annotated[
    str | _Object,
    fits(REFERENCE_BYTES_LIMIT),
    _readable("tool_choice", read_choice),
]
_Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
_Stop = Annotated[Text, Field(min_length=1, max_length=_LONGEST_STOP)]


class SamplingOptions(ApiModel):
    """How the answer is made; what is not set is left to the provider.

    Options that a model does not know are left out of its calls, but for
    `stop` and `logprobs`: without these, a job ends with an error.
    """

    top_p: Annotated[float | None, Field(gt=0, le=1, exclude_if=is_unset)] = (
        None
    )
    top_k: Annotated[int | None, Field(ge=1, exclude_if=is_unset)] = None
    max_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            exclude_if=is_unset,
            description="Lowers the model's own limit.",
        ),
    ] = None
    stop: Annotated[
        list[_Stop] | None,
        Field(max_length=STOPS_LIMIT, exclude_if=is_unset),
    ] = None
    seed: Annotated[
        int | None, Field(ge=-_SEEDS, lt=_SEEDS, exclude_if=is_unset)
    ] = None
    presence_penalty: Annotated[
        _Penalty | None, Field(exclude_if=is_unset)
    ] = None
    frequency_penalty: Annotated[
        _Penalty | None, Field(exclude_if=is_unset)
    ] = None
    reasoning_effort: Annotated[Effort | None, Field(exclude_if=is_unset)] = (
        None
    )
    logprobs: Annotated[
        int | None,
        Field(
            ge=0,
            le=MOST_TOP_LOGPROBS,
            exclude_if=is_unset,
            description="How many alternatives of each token are wanted in "
            "responseLogprobs; 0: only the token's own probability.",
        ),
    ] = None

    def options(self, temperature: float) -> Sampling:
        """Give them as a call has them."""
        fields = dict(self) | {"stop": tuple(self.stop or ())}
        return Sampling(temperature=temperature, **fields)


class EmbeddingsInput(ApiModel):
    """Texts of which a job wants the vectors."""

    input: Annotated[
        Text | list[Text],
        Field(description=f"A text, or up to {TEXTS_LIMIT} texts."),
        fits(REQUEST_BYTES_LIMIT),
    ]
    dimensions: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            exclude_if=is_unset,
            description="Asks for shorter vectors than the model's own.",
        ),
    ] = None

    @model_validator(mode="after")
    def _has_texts(self) -> Self:
        if not 1 <= len(self.texts) <= TEXTS_LIMIT or not all(self.texts):
            raise ValueError(
                f"input must be 1 to {TEXTS_LIMIT} texts, none of them empty"
            )
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, in order."""
        if isinstance(self.input, str):
            return (self.input,)
        return tuple(self.input)


class ConversationFields(ApiModel):
    """The fields of a job that asks more than most do."""

    messages: Annotated[Messages | None, _MESSAGES] = None
    tools: Annotated[Tools | None, _TOOLS] = None
    tool_choice: Annotated[ToolChoiceField | None, _TOOL_CHOICE] = None
    parallel_tool_calls: Annotated[bool | None, _PARALLEL] = None
    sampling: Annotated[SamplingOptions | None, _UNSET] = None
    embeddings: Annotated[EmbeddingsInput | None, _EMBEDDINGS] = None
    variables: Annotated[Variables | None, _VARIABLES] = None


class StoredConversation(ApiModel):
    """The same fields as they are stored: they are not checked again."""

    messages: Annotated[list[_Object] | None, _MESSAGES] = None
    tools: Annotated[list[_Object] | None, _TOOLS] = None
    tool_choice: Annotated[str | _Object | None, _TOOL_CHOICE] = None
    parallel_tool_calls: Annotated[bool | None, _PARALLEL] = None
    sampling: Annotated[SamplingOptions | None, _UNSET] = None
    embeddings: Annotated[_Object | None, _EMBEDDINGS] = None
    variables: Annotated[_Object | None, _VARIABLES] = None


# One of these fields is needed; a mark stands in for all of them.
_QUESTIONS = frozenset(
    {"requestData", "request_data", "messages", "embeddings", "variables"}
)
_MISSING = object()


def mark_if_nothing_is_asked(fields: object) -> object:
    """Mark the fields of a job that asks nothing.

    Validation then tells that requestData is missing, beside whatever
    else is wrong.
    """
    if isinstance(fields, dict) and not _QUESTIONS & fields.keys():
        return {**fields, "requestData": _MISSING}
    return fields


def _refuse_mark(value: object) -> object:
    if value is _MISSING:
        raise PydanticKnownError("missing")
    return value


NOT_MISSING = BeforeValidator(_refuse_mark)


def check_asked(
    job: ConversationFields,
    request_data: object,
    has_prompts: bool,  # noqa: FBT001 - one of the three things to ask by
) -> None:
    """Check that a job asks something, and asks it in one way.

    Raises:
        ValueError: says what is missing, or does not go together.
    """
    others = ("messages", "tools", "tool_choice", "sampling", "variables")
    if job.embeddings is not None:
        if has_prompts or request_data is not None:
            raise ValueError("embeddings need no prompts and no requestData")
        if any(getattr(job, name) is not None for name in others):
            raise ValueError("embeddings are asked for alone")
        return
    if job.tool_choice is not None and job.tools is None:
        raise ValueError("toolChoice needs tools")
    if job.messages is None and not has_prompts:
        raise ValueError("workingPrompts, promptFlow or messages is needed")
    asked = (job.messages, request_data, job.variables)
    if all(each is None for each in asked):
        raise ValueError("requestData or messages is needed")
    _check_size((*asked, job.tools))


def _check_size(parts: Sequence[object]) -> None:
    # Each fits; together they must fit into one document.
    present = [each for each in parts if each is not None]
    if len(present) < 2:  # noqa: PLR2004 - then there is no sum
        return
    size = sum(map(bytes_of, present))
    if size > REQUEST_BYTES_LIMIT:
        raise ValueError(
            "messages, tools, variables and requestData together are "
            f"{size} bytes as JSON; the limit is {REQUEST_BYTES_LIMIT}"
        )


def messages_of(value: object) -> tuple[Message, ...]:
    """Read stored messages."""
    return read_messages(Fields({"messages": value}))


def tools_of(value: object) -> tuple[ToolDefinition, ...]:
    """Read stored tools."""
    return read_tools(Fields({"tools": value}))


def choice_of(value: object, *, parallel: bool | None) -> ToolChoice | None:
    """Read a stored choice of tools."""
    fields = {"tool_choice": value, "parallel_tool_calls": parallel}
    return read_choice(Fields(fields))
