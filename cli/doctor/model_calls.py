"""Each model's key, by name, and one small call to it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from pydantic import SecretStr

from api.models.model_models import ModelWithKey
from cli.doctor.findings import Finding, fail, ok, warn
from config import (
    MissingModelKeyError,
    ModelKeys,
    RefusedModelKeyError,
    key_variable,
)
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    CompletionRequest,
    LLMConfig,
    in_daemon_thread,
)
from llm_sdks.credentials.exchanged import is_exchanged
from llm_sdks.credentials.tokens import HeldToken, Tokens
from llm_sdks.errors import ConfigurationError, LLMError, PartialAnswerError
from llm_sdks.registry import SdkRegistry

_CALLS_AT_ONCE = 4
_TOKENS = 16
_NO_KEY = SecretStr("")
_QUESTION = "Answer with the one word OK."


async def check_models(
    models: Sequence[ModelWithKey],
    keys: ModelKeys,
    call_seconds: float | None,
) -> AsyncIterator[Finding]:
    """Check all models, some at once; `call_seconds` None calls none."""
    if not models:
        yield warn("models", "there is none", "Make one: POST /models")
    registry = SdkRegistry.discover()
    limit = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def check(model: ModelWithKey) -> list[Finding]:
        async with limit:
            return await _check_model(model, registry, keys, call_seconds)

    for findings in await asyncio.gather(*map(check, models)):
        for finding in findings:
            yield finding


async def _check_model(
    model: ModelWithKey,
    registry: SdkRegistry,
    keys: ModelKeys,
    call_seconds: float | None,
) -> list[Finding]:
    name = f"model {model.name}"
    try:
        sdk = registry.create(model.sdk)
    except ConfigurationError as error:
        return [fail(name, str(error), "Install the plug-in on this machine")]
    if not sdk.needs_key:
        return await _use(name, sdk, _config(model, _NO_KEY), call_seconds)
    findings = []
    references = model.keys or (model.key,)
    for reference in references:
        variable = key_variable(reference)
        # A model with several keys is called with each of them.
        which = f"{name} ({variable})" if len(references) > 1 else name
        found = _key_of(name, variable, reference, keys)
        if isinstance(found, Finding):
            findings.append(found)
            continue
        findings.append(ok(f"key {variable}", f"is set, for {name}"))
        try:
            token = await _token_of(found)
        except LLMError as error:
            findings.append(fail(which, str(error), f"Correct {variable}"))
            continue
        config = _config(model, found if token is None else token.value)
        if token is not None:
            config = replace(config, is_bearer=True, agent=token.agent)
        own = registry.create(model.sdk)
        findings += await _use(which, own, config, call_seconds)
    return findings


async def _token_of(secret: SecretStr) -> HeldToken | None:
    """Exchange a credential; None for a key."""
    if not is_exchanged(secret):
        return None
    return await in_daemon_thread(lambda: Tokens().fresh(secret))


def _key_of(
    name: str, variable: str, reference: str, keys: ModelKeys
) -> SecretStr | Finding:
    try:
        return keys.resolve(reference)
    except RefusedModelKeyError as error:
        message, _, remedy = str(error).partition(". ")
        return fail(f"key {variable}", message, remedy)
    except MissingModelKeyError:
        remedy = f"Set {variable} (or put it into .env)"
        return fail(f"key {variable}", f"not set, for {name}", remedy)


async def _use(
    name: str, sdk: BaseLLMSDK, config: LLMConfig, seconds: float | None
) -> list[Finding]:
    """Check the settings, and make a call if there are `seconds` for it."""
    try:
        sdk.validate_config(config)
        if seconds is None:
            return [ok(name, "not called; its settings are complete")]
        return [await _call(name, sdk, config, seconds)]
    except ConfigurationError as error:
        return [fail(name, str(error), "Correct it: PATCH /models/{id}")]
    finally:
        await sdk.aclose()


async def _call(
    name: str, sdk: BaseLLMSDK, config: LLMConfig, seconds: float
) -> Finding:
    request = CompletionRequest(
        config, "", _QUESTION, config.clamp(1.0), timeout=seconds
    )
    started = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            await sdk.acomplete(request)
    except PartialAnswerError:
        # So few tokens may be too few for a whole answer.
        pass
    except TimeoutError:
        return fail(
            name,
            f"no answer within {seconds:g} s",
            "Try again with a longer --call-seconds, or check its endpoint",
        )
    except LLMError as error:
        remedy = "Check its key, endpoint and name: PATCH /models/{id}"
        return fail(name, f"{error.kind}: {error}", remedy)
    except Exception as error:  # noqa: BLE001 - somebody else's code; reported
        remedy = "Check the plug-in"
        return fail(name, f"the plug-in raised {type(error).__name__}", remedy)
    took = time.monotonic() - started
    return ok(name, f"answered within {took:.2f} s")


def _config(model: ModelWithKey, key: SecretStr) -> LLMConfig:
    return LLMConfig(
        name=model.name,
        endpoint=model.endpoint,
        api_type=model.api_type,
        api_version=model.api_version,
        deployment=model.deployment,
        service=model.service,
        api_key=key,
        max_token=_few(model.max_token),
        max_completion_token=_few(model.max_completion_token),
        min_temperature=model.min_temperature,
        max_temperature=model.max_temperature,
    )


def _few(limit: int | None) -> int | None:
    return None if limit is None else min(limit, _TOKENS)
