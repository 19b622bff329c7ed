"""Whether a job may be answered by an earlier answer to its question."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from api.models.base import ApiModel, is_unset

MOST_SAMPLES = 100_000


class CacheMode(StrEnum):
    """What a job has to do with earlier and later answers."""

    OFF = "off"
    USE = "use"
    FRESH = "fresh"


_CACHE = (
    "`use`: if this client has asked the same before, that answer is taken "
    "and no call is made; if it is being asked just now, the job waits for "
    "that answer. `fresh`: a call is made in any case, and its answer is "
    "the one that is found from then on. `off`: neither is the job answered "
    "by an earlier one, nor are later ones by it."
)
_SAMPLE = (
    "Tells several answers to the same question apart: 0 is the first, 1 an "
    "independent second one. Needs `cache`."
)
_STEPS = ("eval_prompt", "eval_model", "meta_prompt", "meta_model")


def _is_off(value: object) -> bool:
    return value == CacheMode.OFF


def _is_first(value: object) -> bool:
    return not value


class CacheFields(ApiModel):
    """The fields of a request."""

    cache: Annotated[CacheMode, Field(description=_CACHE)] = CacheMode.OFF
    sample: Annotated[
        int, Field(ge=0, lt=MOST_SAMPLES, description=_SAMPLE)
    ] = 0

    @model_validator(mode="after")
    def _cache_makes_sense(self) -> Self:
        if self.cache is CacheMode.OFF:
            if self.sample:
                raise ValueError("sample needs cache: use or fresh")
            return self
        fields: dict[str, Any] = self.__dict__
        if any(fields.get(name) is not None for name in _STEPS):
            raise ValueError(
                "cache is for answers: leave out evalPrompt, evalModel, "
                "metaPrompt and metaModel, or the cache"
            )
        return self


class StoredCache(ApiModel):
    """The fields of a job, shown if they say something."""

    cache: Annotated[
        CacheMode, Field(exclude_if=_is_off, description=_CACHE)
    ] = CacheMode.OFF
    sample: Annotated[
        int, Field(exclude_if=_is_first, description=_SAMPLE)
    ] = 0
    cached_from: Annotated[
        str | None,
        Field(
            exclude_if=is_unset,
            description="The job whose answer this is; no call was made.",
        ),
    ] = None
