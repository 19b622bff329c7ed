"""From a model's document to the settings that a plug-in gets."""

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from api.models.model_models import ModelWithKey
from api.models.profile_models import ProfileSettings
from llm_sdks.base_sdk import LLMConfig
from llm_sdks.credentials.exchanged import is_exchanged, sent_for
from llm_sdks.credentials.tokens import HeldToken


def llm_config(
    model: ModelWithKey, key: SecretStr, token: HeldToken | None = None
) -> LLMConfig:
    """Give a model's settings with its secret, or with a token for it."""
    said = model.profile
    return LLMConfig(
        name=model.name,
        endpoint=model.endpoint.strip(),
        api_type=model.api_type,
        api_version=model.api_version,
        deployment=model.deployment,
        service=model.service,
        api_key=key if token is None else token.value,
        is_bearer=token is not None,
        agent=None if token is None else token.agent,
        max_token=model.max_token,
        max_completion_token=model.max_completion_token,
        min_temperature=model.min_temperature,
        max_temperature=model.max_temperature,
        profile=None if said is None else said.profile,
        model_id=model.model_id,
        revision=model.metadata.updated_at.isoformat(),
    )


def settings_of(fields: Mapping[str, Any], key: SecretStr) -> LLMConfig:
    """Give the settings of a model that is not stored yet.

    Raises:
        ConfigurationError: its credential cannot be used.
    """
    said = fields.get("profile")
    profile = ProfileSettings.model_validate(said).profile if said else None
    return LLMConfig(
        name=fields["name"],
        endpoint=fields["endpoint"],
        api_type=fields["apiType"],
        api_version=fields["apiVersion"],
        deployment=fields["deployment"],
        service=fields["service"],
        api_key=sent_for(key),
        is_bearer=is_exchanged(key),
        max_token=fields["maxToken"],
        max_completion_token=fields["maxCompletionToken"],
        min_temperature=fields["minTemperature"],
        max_temperature=fields["maxTemperature"],
        profile=profile,
    )
