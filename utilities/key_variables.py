"""Which variables of the environment may hold models' keys.

A model names the variable of its key; the key is then sent to the model's
address. Whoever makes models must not get any other variable sent there.
"""

import re
from collections.abc import Collection, Sequence

# What the variables that may hold models' keys begin with, unless
# MODEL_KEY_PREFIXES says otherwise: names that nothing else has, names that
# simulators and tests use, and names of vendors of models and their models.
DEFAULT_KEY_PREFIXES = (
    "KEY_", "LLM_", "LOCAL_LLM_", "MODEL_", "PROVIDER_",
    "DUMMY_", "FAKE_", "MOCK_", "SIM_", "SIMULATOR_", "TEST_",
    "AI21_", "ANTHROPIC_", "AWS_BEARER_TOKEN_BEDROCK", "AZURE_AI_",
    "AZURE_INFERENCE_", "AZURE_OPENAI_", "BEDROCK_", "CEREBRAS_", "CHATGPT_",
    "CLAUDE_", "CODESTRAL_", "COHERE_", "CO_API_KEY", "DASHSCOPE_",
    "DEEPINFRA_", "DEEPSEEK_", "FIREWORKS_", "GEMINI_", "GEMMA_", "GLM_",
    "GOOGLE_API_KEY", "GPT_", "GROK_", "GROQ_", "HF_TOKEN",
    "HUGGINGFACE_", "HUGGING_FACE_", "KIMI_", "LITELLM_API_KEY", "LLAMA_",
    "LMSTUDIO_", "MINIMAX_", "MISTRAL_", "MIXTRAL_", "MOONSHOT_", "NOVITA_",
    "NVIDIA_", "O1_", "O3_", "O4_", "OLLAMA_", "OPENAI_", "OPENROUTER_",
    "PERPLEXITY_", "PHI_", "PPLX_", "QWEN_", "REPLICATE_", "SAMBANOVA_",
    "TEXT_EMBEDDING_", "TOGETHERAI_", "TOGETHER_", "VLLM_", "XAI_", "ZAI_",
    "ZHIPUAI_",
)  # fmt: skip
# Stands for them among others.
DEFAULT = "default"
KEY_PREFIXES = "MODEL_KEY_PREFIXES"

# No setting makes these a model's key: variables of the system and of
# Metasync, and what names a password or a database.
_NEVER_A_KEY = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|OLDPWD|LANG|LANGUAGE|TERM|TMPDIR|TEMP|TMP"
    r"|HOSTNAME|MAIL|TZ|DISPLAY|EDITOR|PAGER|MODEL_KEY_PREFIXES)$"
    r"|(LC|LD|DYLD|SSH|GPG|XDG|DBUS|SUDO|SYSTEMD|KUBERNETES|DOCKER|VIRTUAL"
    r"|METASYNC|DOCS|MONGO|MONGODB)_"
    r"|PYTHON|.*(PASSWORD|PASSWD|PASSPHRASE|PEPPER|DATABASE"
    r"|CONNECTION_STRING)"
    r"|(.*_)?(DB|DSN|PWD|URL|URI)(_|$)"
)


def key_variable(reference: str) -> str:
    """Name the environment variable a model's `key` reference stands for.

    `KEY-GPT-4` stands for `KEY_GPT_4`.
    """
    return re.sub(r"[^A-Z0-9]", "_", reference.upper())


def default_key_reference(model_name: str) -> str:
    """Give the key reference of a model that was made without one.

    `gpt-4` gives `GPT_4_KEY`.
    """
    return f"{key_variable(model_name)}_KEY"


def key_prefixes(text: str) -> tuple[str, ...]:
    """Read `MODEL_KEY_PREFIXES`: names or their beginnings, and commas.

    Raises:
        ValueError: says what is wrong.
    """
    prefixes: list[str] = []
    for item in listed(text):
        if item == DEFAULT:
            prefixes += DEFAULT_KEY_PREFIXES
        elif re.fullmatch(r"[A-Z][A-Z0-9_]{2,}", item):
            prefixes.append(item)
        else:
            raise ValueError(
                "must be beginnings of variables' names, separated by "
                "commas, each of 3 upper-case letters, digits and _ or more; "
                f"`{DEFAULT}` stands for those that are built in"
            )
    return tuple(prefixes)


def listed(text: str) -> tuple[str, ...]:
    """Split a setting at its commas; `none` stands for nothing."""
    items = [item.strip() for item in text.split(",")]
    return tuple(item for item in items if item and item != "none")


def key_problem(
    variable: str, prefixes: Sequence[str], own: Collection[str]
) -> str | None:
    """Say why a variable may not hold a model's key, and what to do.

    `own` are the variables of Metasync's own settings.
    """
    if variable in own or _NEVER_A_KEY.match(variable):
        return (
            f"{variable} is never used as a model's key: its name is one "
            "of Metasync, of the system, of a password or of a database. "
            "Put the key into a variable of its own, such as "
            "KEY_MY_MODEL, and name that as the model's `key`"
        )
    if not variable.startswith(tuple(prefixes)):
        return (
            f"{variable} may not be used as a model's key. Put the key "
            "into a variable whose name begins with KEY_, and name that "
            "as the model's `key`, or allow it and restart: "
            f"{KEY_PREFIXES}={DEFAULT},{variable}"
        )
    return None
