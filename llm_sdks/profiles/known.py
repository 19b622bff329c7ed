"""What is known of common models by their names.

Only what the vendors document, and what would otherwise cost a refused
call or an answer. Everything else is learnt from refusals. Names carry the
prefixes of gateways (`openai/o3`) and date suffixes.
"""

import re
from functools import lru_cache

from llm_sdks.profiles.profile import (
    NEWER_LIMIT,
    NOTHING,
    OLDER_LIMIT,
    Profile,
)

# https://platform.openai.com/docs/guides/reasoning: only the default
# temperature, no top_p, penalties or log probabilities.
_REASONING = Profile(
    supports_temperature=False,
    supports_top_p=False,
    supports_penalties=False,
    supports_logprobs=False,
    supports_stop=False,
    token_limit_field=NEWER_LIMIT,
)
_FIRST_REASONING = Profile(
    supports_system=False,
    supports_json_schema=False,
    supports_json_object=False,
    supports_tools=False,
    supports_images=False,
    supports_reasoning_effort=False,
).over(_REASONING)
_NO_EFFORT = Profile(supports_reasoning_effort=False)
# https://api-docs.deepseek.com: JSON mode, no schemas.
_DEEPSEEK = Profile(
    supports_json_schema=False,
    supports_seed=False,
    supports_images=False,
    supports_reasoning_effort=False,
    token_limit_field=OLDER_LIMIT,
)
_DEEPSEEK_REASONER = Profile(
    supports_temperature=False,
    supports_top_p=False,
    supports_penalties=False,
    supports_logprobs=False,
).over(_DEEPSEEK)
# Its field for seeds is `random_seed`; what it does not know it refuses.
_MISTRAL = Profile(
    supports_seed=False,
    supports_logprobs=False,
    supports_reasoning_effort=False,
    token_limit_field=OLDER_LIMIT,
)
_LLAMA_ON_GROQ = Profile(
    supports_json_schema=False,
    supports_logprobs=False,
    supports_reasoning_effort=False,
)

# Of several that fit, the first counts.
_BY_NAME: tuple[tuple[re.Pattern[str], Profile], ...] = tuple(
    (re.compile(pattern), profile)
    for pattern, profile in (
        (r"gpt-5[\w.]*-chat", _NO_EFFORT),
        (r"o1-(mini|preview)\b", _FIRST_REASONING),
        (r"(gpt-5|o[1345])\b", _REASONING),
        (r"(gpt-4|gpt-3\.5|chatgpt-4o)", _NO_EFFORT),
        (r"deepseek-(reasoner|r1)\b", _DEEPSEEK_REASONER),
        (r"deepseek-chat\b", _DEEPSEEK),
        (r"(mi[sx]tral|ministral|codestral|pixtral|magistral)", _MISTRAL),
        # https://ai.google.dev/gemma: two roles only.
        (r"gemma-[12]\b", Profile(supports_system=False)),
    )
)
# Of these endpoints only: the same weights do more elsewhere.
_BY_HOST: tuple[tuple[str, re.Pattern[str], Profile], ...] = (
    ("api.groq.com", re.compile("llama-3"), _LLAMA_ON_GROQ),
)


@lru_cache(maxsize=4096)
def known(model: str, endpoint: str = "") -> Profile:
    """Return what is known of a model by its name at the provider."""
    name = model.lower().rsplit("/", 1)[-1]
    for host, pattern, profile in _BY_HOST:
        if host in endpoint and pattern.match(name):
            return profile
    for pattern, profile in _BY_NAME:
        if pattern.match(name):
            return profile
    return NOTHING
