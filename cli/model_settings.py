"""The model of a command: its provider's key, and whether a server has it."""

import functools

import httpx2
from pydantic import SecretStr

from cli import setup
from cli.errors import CommandError
from cli.rest_client import RestClient, ServerRefusedError
from cli.service_access import CLIENT_ID_VARIABLE, CLIENT_KEY_VARIABLE
from config import (
    KEY_PREFIXES,
    MissingModelKeyError,
    ModelKeys,
    RefusedModelKeyError,
    key_variable,
)
from llm_sdks.base_sdk import BaseLLMSDK, LLMConfig
from llm_sdks.credentials.exchanged import sent_for
from llm_sdks.errors import ConfigurationError
from llm_sdks.registry import SdkRegistry


def model_variables(model: setup.ModelOptions) -> dict[str, str]:
    """Find the variables that a private instance needs for the model.

    Raises:
        CommandError: the provider's key is not set; said before a
            thousand jobs fail for it.
    """
    variable = key_variable(model.key_variable)
    try:
        # Whoever gives the command may name any variable of its own.
        key = ModelKeys.load(also=[variable]).resolve(variable)
    except RefusedModelKeyError as error:
        raise CommandError(str(error)) from None
    except MissingModelKeyError as error:
        if not _plugin(model.sdk).needs_key:
            return {}
        raise CommandError(
            f"{error.variable} is not set: give it the provider's key (in "
            "the environment or in .env), or name another variable with "
            "--key-env"
        ) from None
    _check_settings(model, key)
    return {variable: key.get_secret_value(), KEY_PREFIXES: variable}


def _check_settings(model: setup.ModelOptions, key: SecretStr) -> None:
    try:
        config = LLMConfig(
            model.name,
            model.endpoint,
            api_version=model.api_version,
            deployment=model.deployment,
            api_key=sent_for(key),
            max_completion_token=model.max_tokens,
        )
        _plugin(model.sdk).validate_config(config)
    except ConfigurationError as error:
        raise CommandError(f"{model.sdk}: {error}") from None


def usual_key_variable(sdk: str) -> str:
    """Name the variable in which a provider's users keep their key.

    Raises:
        CommandError: there is no such plug-in.
    """
    return _plugin(sdk).usual_key_variable


@functools.cache
def _plugin(sdk: str) -> BaseLLMSDK:
    try:
        return SdkRegistry.discover().create(sdk)
    except ConfigurationError as error:
        raise CommandError(f"--sdk: {error}") from None


def check_model(client: RestClient, name: str) -> None:
    """Make sure that the server has the model, and knows the client.

    Raises:
        CommandError: it does not.
    """
    try:
        setup.check_model(client, name)
    except ServerRefusedError as error:
        if error.status != httpx2.codes.UNAUTHORIZED:
            raise
        raise CommandError(
            f"{error}. Check {CLIENT_ID_VARIABLE} and {CLIENT_KEY_VARIABLE}"
        ) from None
