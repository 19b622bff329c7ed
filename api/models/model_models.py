"""Models: how to reach an LLM and what it costs."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from api.models.base import (
    ApiModel,
    Name,
    StoredModel,
    Text,
    example,
    is_unset,
)
from api.models.budget_models import Budget
from api.models.cost import Cost, LongContext, PriceBand, TokenPrices
from api.models.filter_models import Filters
from api.models.limit_models import NO_LIMITS, CallLimits, Limits
from api.models.profile_models import ProfileSettings
from api.models.resilience_models import ResilienceSettings
from api.models.secret_check import looks_secret
from api.models.suspension_models import OnSuspended, Policy, Suspended
from llm_sdks.formats.settings import endpoint_problem
from utilities.key_variables import key_variable

Tokens = Annotated[int, Field(ge=1, le=100_000_000)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
# A price above it would make costs that the store cannot add up.
Price = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


def _refuse_secret(reference: str) -> str:
    if looks_secret(reference):
        raise ValueError(
            "looks like a key; give the name of the environment variable "
            "with the key instead"
        )
    return reference


def _check_endpoint(endpoint: str) -> str:
    """Refuse what no base URL has; the message never quotes it."""
    problem = endpoint_problem(endpoint)
    if problem is not None:
        raise ValueError(problem)
    return endpoint


KeyReference = Annotated[
    Text,
    AfterValidator(_refuse_secret),
    Field(
        min_length=1,
        max_length=256,
        pattern=r"^[A-Za-z0-9_.\-]+$",
        description="The name of the environment variable with the key: "
        "`KEY-GPT-4` is read from `KEY_GPT_4`. Never the key itself.",
        examples=["OPENAI-API-KEY"],
    ),
]


def _are_different(keys: list[str]) -> list[str]:
    if len({key_variable(key) for key in keys}) < len(keys):
        raise ValueError("names a variable twice")
    return keys


KeyReferences = Annotated[
    list[KeyReference],
    AfterValidator(_are_different),
    Field(
        min_length=1,
        max_length=50,
        description="Several keys, in place of `key`: calls take them in "
        "turn. One that is refused, limited or fails is left out for some "
        "time; the call is made with the next one.",
    ),
]


Sdk = Annotated[
    Name, Field(description="The name of a registered provider plug-in.")
]
Endpoint = Annotated[
    Text,
    AfterValidator(_check_endpoint),
    AfterValidator(str.strip),
    Field(
        max_length=2048,
        description="The base URL; empty for the provider's default.",
    ),
]
ApiVersion = Annotated[
    Text, Field(description="Required by some providers (Azure).")
]
Deployment = Annotated[
    Text,
    Field(
        description="The provider's name of the model; empty if it is the "
        "same."
    ),
]


_SAID = Field(
    description="What the model supports. Fields that are not set are known "
    "from the model's name, or learnt when the provider refuses an option."
)


_PRICED = Field(
    description="Without it, calls are priced by the published price of the "
    "provider's model, if that is known; otherwise they have no cost."
)


class TokenPricesInput(TokenPrices):
    """Prices of tokens, as an owner of a model gives them."""

    input: Price
    output: Price
    cached_input: Price | None = None
    cache_write: Price | None = None
    reasoning: Price | None = None


class LongContextInput(TokenPricesInput, LongContext):
    """Prices of a call with much input."""

    above: Annotated[int, Field(ge=1, le=10**9)]


class PriceBandInput(PriceBand):
    """Prices of a part of the day."""

    factor: Annotated[float, Field(ge=0, le=100)] | None = None
    prices: TokenPricesInput | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.factor is None) == (self.prices is None):
            raise ValueError("give either factor or prices")
        if self.from_ == self.to:
            raise ValueError("from and to must differ")
        return self


class CostInput(TokenPricesInput, Cost):
    """A model's price per `tokens` tokens.

    Without `cachedInput` and `cacheWrite`, all input costs `input`; without
    `reasoning`, all output costs `output`.
    """

    tokens: Annotated[int, Field(gt=0, le=10**12)] = 1_000_000
    currency: Annotated[Text, Field(min_length=1, max_length=16)] = "USD"
    per_request: Price | None = None
    batch_discount: Annotated[float, Field(ge=0, le=1)] | None = None
    long_context: LongContextInput | None = None
    bands: (
        Annotated[Sequence[PriceBandInput], Field(min_length=1, max_length=24)]
        | None
    ) = None


class ModelFields(ApiModel):
    """What creating and changing a model have in common."""

    endpoint: Endpoint = ""
    api_type: Text = ""
    api_version: ApiVersion = ""
    deployment: Deployment = ""
    service: Text | None = None
    max_token: Tokens | None = None
    max_completion_token: Tokens | None = None
    min_temperature: Temperature = 0.0
    max_temperature: Temperature = 2.0
    resilience: ResilienceSettings = ResilienceSettings()
    profile: Annotated[ProfileSettings | None, _SAID] = None
    on_suspended: Policy = OnSuspended.WAIT
    limits: Limits = NO_LIMITS
    budget: Budget | None = None
    filters: Filters | None = None


class ModelCreate(ModelFields):
    """`POST /models`."""

    model_config = example(
        name="gpt-4o-mini",
        sdk="OpenAI",
        endpoint="",
        apiType="",
        apiVersion="",
        deployment="",
        key="OPENAI-API-KEY",
        maxToken=1024,
        minTemperature=0,
        maxTemperature=1,
        cost={
            "tokens": 1_000_000,
            "currency": "USD",
            "input": 0.15,
            "output": 0.6,
        },
    )

    name: Name
    sdk: Sdk
    key: KeyReference | None = None
    keys: KeyReferences | None = None
    cost: Annotated[CostInput | None, _PRICED] = None

    @model_validator(mode="after")
    def _limits_make_sense(self) -> Self:
        if self.max_token is None and self.max_completion_token is None:
            raise ValueError(
                "at least one of maxToken and maxCompletionToken is needed"
            )
        if self.min_temperature > self.max_temperature:
            raise ValueError("minTemperature must not be above maxTemperature")
        return self


class ModelUpdate(ApiModel):
    """`PATCH /models/{model_id}`; other fields are kept."""

    model_config = example(maxToken=2048)

    name: Name | None = None
    sdk: Sdk | None = None
    endpoint: Endpoint | None = None
    api_type: Text | None = None
    api_version: ApiVersion | None = None
    deployment: Deployment | None = None
    service: Text | None = None
    key: KeyReference | None = None
    keys: KeyReferences | None = None
    max_token: Tokens | None = None
    max_completion_token: Tokens | None = None
    min_temperature: Temperature | None = None
    max_temperature: Temperature | None = None
    cost: CostInput | None = None
    resilience: ResilienceSettings | None = None
    profile: Annotated[ProfileSettings | None, _SAID] = None
    on_suspended: Policy | None = None
    limits: CallLimits | None = None
    budget: Budget | None = None
    filters: Filters | None = None

    @model_validator(mode="after")
    def _limits_make_sense(self) -> Self:
        low, high = self.min_temperature, self.max_temperature
        if low is not None and high is not None and low > high:
            raise ValueError("minTemperature must not be above maxTemperature")
        return self


class Model(StoredModel):
    """A model, without its key reference."""

    id_field: ClassVar[str] = "model_id"

    model_id: Annotated[str, Field(alias="model_id")]
    name: str
    sdk: str
    endpoint: str = ""
    api_type: str = ""
    api_version: str = ""
    deployment: str = ""
    service: str | None = None
    max_token: int | None = None
    max_completion_token: int | None = None
    min_temperature: float = 0.0
    max_temperature: float = 2.0
    cost: Annotated[Cost | None, _PRICED] = None
    resilience: ResilienceSettings = ResilienceSettings()
    profile: Annotated[ProfileSettings | None, _SAID] = None
    on_suspended: Policy = OnSuspended.WAIT
    limits: Limits = NO_LIMITS
    suspended: Annotated[
        Suspended | None,
        Field(description="Why no calls are made to it; null: it is used."),
    ] = None
    budget: Annotated[Budget | None, Field(exclude_if=is_unset)] = None
    filters: Annotated[Filters | None, Field(exclude_if=is_unset)] = None


class ModelWithKey(Model):
    """A model with the reference of its key: in the creation answer only.

    Inside the process it is also what a worker works with.
    """

    key: str
    keys: Annotated[tuple[str, ...] | None, Field(exclude_if=is_unset)] = None
