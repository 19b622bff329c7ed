import re
import string
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from config import (
    OWN_SECRETS,
    MissingModelKeyError,
    ModelKeys,
    RefusedModelKeyError,
    Settings,
    SettingsError,
    default_key_reference,
    key_variable,
)
from llm_sdks.anthropic_sdk import AnthropicSDK
from llm_sdks.azure_openai_sdk import AzureOpenAISDK
from llm_sdks.base_sdk import BaseLLMSDK
from llm_sdks.chat_completions_client_sdk import ChatCompletionsClientSDK
from llm_sdks.gemini_sdk import GeminiSDK
from llm_sdks.openai_sdk import OpenAISDK

SECRETS = ("ADMIN_API_KEY", "API_KEY_PEPPER", "DOCS_SECRET")
REQUIRED = {name: f"the-{name.lower()}" for name in SECRETS}
REQUIRED_FIELDS: dict[str, Any] = {k.lower(): v for k, v in REQUIRED.items()}

Environment = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Environment:
    """An empty directory, and no variable of ours in the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def set_all(environment: Environment, **variables: str) -> None:
    for name, value in (REQUIRED | variables).items():
        environment.setenv(name, value)


def write_env(**variables: str) -> Path:
    path = Path("a.env")
    lines = [f"{name}={value}\n" for name, value in variables.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def refusal() -> str:
    """Tell why the settings are refused."""
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    return str(refused.value)


def test_all_missing_secrets_are_named_in_one_error() -> None:
    message = refusal()
    assert "Not set: ADMIN_API_KEY, API_KEY_PEPPER, DOCS_SECRET." in message
    assert "Not valid" not in message


@pytest.mark.parametrize("missing", SECRETS)
def test_only_what_is_missing_is_named(
    environment: Environment, missing: str
) -> None:
    set_all(environment)
    environment.delenv(missing)
    message = refusal()
    assert f"Not set: {missing}." in message
    assert not any(name in message for name in SECRETS if name != missing)


def test_the_error_says_how_to_make_secrets() -> None:
    message = refusal()
    assert "`make run`" in message
    assert "python3 -c 'import secrets; print(secrets.token_hex(32))'" in (
        message
    )


def test_missing_and_wrong_variables_are_told_at_once(
    environment: Environment,
) -> None:
    environment.setenv("DOCS_SECRET", "x")
    environment.setenv("PORT", "many")
    environment.setenv("MAX_ATTEMPTS", "0")
    lines = refusal().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("Not set: ADMIN_API_KEY, API_KEY_PEPPER. ")
    assert lines[1].startswith("Not valid: PORT: ")
    assert lines[2].startswith("Not valid: MAX_ATTEMPTS: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DB_NAME", "has a blank"),
        ("DB_NAME", "-first"),
        ("DB_NAME", "a.b"),
        ("DB_NAME", "x" * 64),
        ("DB_TIMEOUT_SECONDS", "0"),
        ("DB_TIMEOUT_SECONDS", "300.1"),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("MAX_REQUEST_BYTES", "1023"),
        ("METRICS_PUBLIC", "perhaps"),
        ("METRICS_PORT", "-1"),
        ("METRICS_PORT", "65536"),
        ("POLL_INTERVAL", "0"),
        ("POLL_INTERVAL", "3601"),
        ("MAX_ITEMS_PER_BATCH", "0"),
        ("MAX_ITEMS_PER_BATCH", "1001"),
        ("NUM_LLM_WORKERS", "-1"),
        ("NUM_LLM_WORKERS", "1001"),
        ("LEASE_SECONDS", "0.9"),
        ("LEASE_SECONDS", "3601"),
        ("LEASE_SECONDS", "nan"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "101"),
        ("LLM_TIMEOUT_SECONDS", "0"),
        ("LLM_TIMEOUT_SECONDS", "86401"),
        ("LLM_TIMEOUT_SECONDS", "nan"),
        ("STOP_GRACE_SECONDS", "-0.1"),
        ("STOP_GRACE_SECONDS", "inf"),
        ("LOG_LEVEL", "info"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    environment: Environment, variable: str, value: str
) -> None:
    set_all(environment, **{variable: value})
    message = refusal()
    assert message.startswith(f"Not valid: {variable}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("DB_NAME", "x" * 63, "x" * 63),
        ("DB_NAME", "0_a-B", "0_a-B"),
        ("DB_TIMEOUT_SECONDS", "0.5", 0.5),
        ("CHANGE_STREAMS", "false", False),
        ("PORT", "0", 0),
        ("PORT", "65535", 65535),
        ("MAX_REQUEST_BYTES", "1024", 1024),
        ("METRICS_TOKEN", "hush", SecretStr("hush")),
        ("METRICS_TOKEN", "", None),
        ("METRICS_PUBLIC", "true", True),
        ("METRICS_PORT", "0", 0),
        ("METRICS_PORT", "65535", 65535),
        ("POLL_INTERVAL", "3600", 3600),
        ("MAX_ITEMS_PER_BATCH", "1000", 1000),
        ("NUM_LLM_WORKERS", "0", 0),
        ("LEASE_SECONDS", "1", 1.0),
        ("MAX_ATTEMPTS", "100", 100),
        ("LLM_TIMEOUT_SECONDS", "0.001", 0.001),
        ("LLM_TIMEOUT_SECONDS", "86400", 86400.0),
        ("STOP_GRACE_SECONDS", "0", 0.0),
        ("LOG_LEVEL", "DEBUG", "DEBUG"),
        ("LOG_FORMAT", "console", "console"),
        ("DATA_DIR", "else/where", Path("else/where")),
        ("HOST", "0.0.0.0", "0.0.0.0"),
    ],
)
def test_a_right_value_is_taken_up_to_the_limits(
    environment: Environment, variable: str, value: str, expected: object
) -> None:
    set_all(environment, **{variable: value})
    assert getattr(Settings.load(), variable.lower()) == expected


def test_no_value_is_in_the_error_nor_in_its_traceback(
    environment: Environment,
) -> None:
    wrong = ("DB_NAME", "PORT", "LEASE_SECONDS", "LOG_LEVEL", "LOG_FORMAT")
    for name in wrong:
        environment.setenv(name, "hush hush!")
    environment.setenv("ADMIN_API_KEY", "hush hush, too")
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    shown = "".join(traceback.format_exception(refused.value))
    assert all(f"Not valid: {name}: " in shown for name in wrong)
    assert "hush" not in shown


def test_settings_that_are_made_by_hand_do_not_tell_values_either() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None, port="hush", **REQUIRED_FIELDS)
    assert "port" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_the_defaults_are_those_of_the_documentation(
    environment: Environment,
) -> None:
    set_all(environment)
    fields = Settings.load().model_dump(exclude=set(map(str.lower, SECRETS)))
    assert fields == {
        "docs_user": "user",
        "db_connection_string": None,
        "db_name": "metasync-dev",
        "db_timeout_seconds": 4.0,
        "change_streams": True,
        "data_dir": Path("data"),
        "host": "127.0.0.1",
        "port": 8001,
        "max_request_bytes": 33_554_432,
        "max_request_bytes_in_flight": 67_108_864,
        "gateway_max_request_bytes": 67_108_864,
        "max_dataset_bytes": 268_435_456,
        "max_connections": 4096,
        "max_connections_per_address": 512,
        "trusted_proxies": "127.0.0.1,::1",
        "failed_logins_per_minute": 60,
        "requests_per_minute": 0,
        "unknown_fields": "refuse",
        "model_key_prefixes": "default",
        "metrics_token": None,
        "metrics_public": False,
        "metrics_port": None,
        "webhook_allow_private": False,
        "retention_days": {},
        "poll_interval": 10,
        "max_items_per_batch": 50,
        "batch_concurrency": 200,
        "max_file_bytes": 200 * 1024 * 1024,
        "num_llm_workers": 10,
        "lease_seconds": 30.0,
        "max_attempts": 5,
        "llm_timeout_seconds": 900.0,
        "stream_stall_seconds": 10,
        "priority_aging_seconds": 600,
        "bulk_share": 0.05,
        "suspended_trial_seconds": 60,
        "stop_grace_seconds": 5.0,
        "log_level": "INFO",
        "log_format": None,
    }


def test_retention_is_read_as_json(environment: Environment) -> None:
    set_all(environment, RETENTION_DAYS='{"jobs": 30, "jobs.CONSUMED": 0.5}')
    assert Settings.load().retention_days == {"jobs": 30, "jobs.CONSUMED": 0.5}


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ("30", "valid dictionary"),
        ("jobs=30", "must be JSON"),
        ('{"jobs": 0}', "greater than 0"),
        ('{"jobs.PENDING": 1}', "not known: jobs.PENDING"),
        ('{"prompts": 1}', "not known: prompts"),
    ],
)
def test_wrong_retention_is_refused(
    environment: Environment, days: str, message: str
) -> None:
    set_all(environment, RETENTION_DAYS=days)
    with pytest.raises(SettingsError, match=message):
        Settings.load()


def test_secrets_are_read_but_do_not_show(environment: Environment) -> None:
    uri = "mongodb://me:hush@db"
    set_all(environment, DB_CONNECTION_STRING=uri)
    settings = Settings.load()
    assert settings.db_connection_string == SecretStr(uri)
    for name, value in REQUIRED.items():
        secret = getattr(settings, name.lower())
        assert secret.get_secret_value() == value
    shown = f"{settings!r} {settings} {settings.model_dump()}"
    assert "hush" not in shown
    assert not any(value in shown for value in REQUIRED.values())


def test_settings_do_not_change(environment: Environment) -> None:
    set_all(environment)
    settings = Settings.load()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]  # that is the point
    assert settings.port == 8001


def test_the_file_in_the_working_directory_is_read() -> None:
    write_env(**REQUIRED, PORT="9000").rename(".env")
    settings = Settings.load()
    assert settings.port == 9000
    assert settings.docs_secret.get_secret_value() == "the-docs_secret"


def test_the_environment_goes_before_the_file(
    environment: Environment,
) -> None:
    path = write_env(**REQUIRED, PORT="9000", HOST="from.file")
    environment.setenv("PORT", "9001")
    settings = Settings.load(path)
    assert settings.port == 9001
    assert settings.host == "from.file"


def test_an_empty_variable_counts_as_none(environment: Environment) -> None:
    path = write_env(**REQUIRED, PORT="9000", HOST="", DB_CONNECTION_STRING="")
    for name in ("PORT", "LOG_FORMAT", "ADMIN_API_KEY"):
        environment.setenv(name, "")
    settings = Settings.load(path)
    assert settings.port == 9000
    assert settings.host == "127.0.0.1"
    assert settings.db_connection_string is None
    assert settings.log_format is None
    assert settings.admin_api_key.get_secret_value() == "the-admin_api_key"


def test_an_empty_secret_counts_as_missing(environment: Environment) -> None:
    set_all(environment, API_KEY_PEPPER="")
    assert refusal().startswith("Not set: API_KEY_PEPPER. ")


def test_variables_of_others_do_no_harm(environment: Environment) -> None:
    set_all(environment, SOMETHING_ELSE="1")
    path = write_env(ANOTHER="2", KEY_GPT_4="3")
    assert Settings.load(path).port == 8001


@pytest.mark.parametrize(
    ("reference", "variable"),
    [
        ("KEY-GPT-4", "KEY_GPT_4"),
        ("key-gpt-4", "KEY_GPT_4"),
        ("KEY_GPT_4", "KEY_GPT_4"),
        ("openai.api.key", "OPENAI_API_KEY"),
        ("Größe", "GR_SSE"),
    ],
)
def test_a_reference_stands_for_a_variable(
    reference: str, variable: str
) -> None:
    assert key_variable(reference) == variable


@given(st.text(min_size=1))
def test_every_reference_gives_upper_case_letters_and_underscores(
    reference: str,
) -> None:
    variable = key_variable(reference)
    assert re.fullmatch(r"[A-Z0-9_]+", variable)
    assert key_variable(variable) == variable


@given(st.text(string.ascii_letters + string.digits + "-._", min_size=1))
def test_the_case_and_the_kind_of_separator_do_not_matter(
    reference: str,
) -> None:
    spelled = reference.swapcase().replace("-", ".")
    assert key_variable(spelled) == key_variable(reference)


def test_a_model_without_a_reference_gets_one_from_its_name() -> None:
    assert default_key_reference("gpt-4") == "GPT_4_KEY"
    assert default_key_reference("o4.mini") == "O4_MINI_KEY"


def test_a_key_is_found_behind_its_reference() -> None:
    keys = ModelKeys({"KEY_GPT_4": "sk-hush", "OTHER": "no"})
    assert keys.resolve("key-gpt-4") == SecretStr("sk-hush")


@pytest.mark.parametrize("name", sorted(OWN_SECRETS))
@pytest.mark.parametrize("spelled", [str, str.lower])
def test_our_own_secrets_are_never_lent_to_a_model(
    environment: Environment, name: str, spelled: type[str]
) -> None:
    environment.setenv(name, "hush")
    reference = spelled(name.replace("_", "-"))
    for keys in (ModelKeys({name: "hush"}), ModelKeys.load()):
        with pytest.raises(MissingModelKeyError) as refused:
            keys.resolve(reference)
        assert refused.value.variable == name
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_no_setting_is_ever_a_models_key(name: str) -> None:
    keys = ModelKeys({name.upper(): "hush"}, [name.upper()])
    with pytest.raises(RefusedModelKeyError, match="never used"):
        keys.resolve(name)


@pytest.mark.parametrize(
    "variable",
    [
        "PATH",
        "HOME",
        "USER",
        "LD_PRELOAD",
        "SSH_AUTH_SOCK",
        "KUBERNETES_SERVICE_HOST",
        "PYTHONPATH",
        "MODEL_KEY_PREFIXES",
        "METASYNC_CLIENT_API_KEY",
        "MONGO_PASSWORD",
        "MONGO_ROOT_PASSWORD",
        "PGPASSWORD",
        "KEY_DB_PASSWORD",
        "DB_KEY",
        "OPENAI_DB",
        "DATABASE_URL",
        "REDIS_URL",
        "OPENAI_BASE_URL",
        "SENTRY_DSN",
        "MYSQL_PWD",
    ],
)
def test_no_prefix_makes_these_a_models_key(variable: str) -> None:
    for prefix in (variable, variable[:3]):
        keys = ModelKeys({variable: "hush"}, [prefix])
        with pytest.raises(RefusedModelKeyError) as refused:
            keys.resolve(variable)
        assert "KEY_MY_MODEL" in str(refused.value)
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "variable",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_CLIENT_SECRET",
        "GOOGLE_CLIENT_SECRET",
        "GITHUB_TOKEN",
        "STRIPE_API_KEY",
        "DJANGO_SECRET_KEY",
        "NPM_TOKEN",
    ],
)
def test_other_secrets_are_no_models_keys_unless_allowed(
    environment: Environment, variable: str
) -> None:
    environment.setenv(variable, "hush")
    with pytest.raises(RefusedModelKeyError) as refused:
        ModelKeys.load().resolve(variable)
    setting = f"MODEL_KEY_PREFIXES=default,{variable}"
    assert setting in str(refused.value)
    environment.setenv(*setting.split("="))
    for allowed in (variable, "KEY_A"):
        environment.setenv(allowed, "sk")
        assert ModelKeys.load().resolve(allowed) == SecretStr("sk")


def test_the_prefixes_may_be_others_alone(environment: Environment) -> None:
    environment.setenv("KEY_A", "sk")
    keys = ModelKeys.load(write_env(MODEL_KEY_PREFIXES="ACME_", ACME_1="sk"))
    assert keys.resolve("acme-1") == SecretStr("sk")
    with pytest.raises(RefusedModelKeyError):
        keys.resolve("KEY_A")


@pytest.mark.parametrize(
    "variable",
    [
        *(
            sdk.usual_key_variable
            for sdk in (
                AnthropicSDK,
                AzureOpenAISDK,
                ChatCompletionsClientSDK,
                GeminiSDK,
                OpenAISDK,
                BaseLLMSDK,
            )
        ),
        "GPT_4_KEY",
        "O4_MINI_KEY",
        "OPENAI_MAIN",
        "GOOGLE_API_KEY",
        "GROQ_API_KEY",
        "HF_TOKEN",
        "AWS_BEARER_TOKEN_BEDROCK",
        "LOCAL_LLM_KEY",
    ],
)
def test_the_usual_names_are_allowed(variable: str) -> None:
    assert ModelKeys({variable: "sk"}).resolve(variable) == SecretStr("sk")


@pytest.mark.parametrize("text", ["*", "K", "AB", "key_", "KEY_*", "A-B,C"])
def test_a_prefix_that_is_none_is_told(
    environment: Environment, text: str
) -> None:
    set_all(environment, MODEL_KEY_PREFIXES=text)
    assert "MODEL_KEY_PREFIXES" in refusal()
    with pytest.raises(SettingsError, match="MODEL_KEY_PREFIXES"):
        ModelKeys.load()


def test_an_empty_prefix_allows_nothing() -> None:
    with pytest.raises(RefusedModelKeyError):
        ModelKeys({"ANY_KEY": "hush"}, [""]).check("ANY_KEY")


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.0/99"])
def test_a_proxy_that_is_no_address_is_told(
    environment: Environment, text: str
) -> None:
    set_all(environment, TRUSTED_PROXIES=text)
    assert "TRUSTED_PROXIES" in refusal()


def test_proxies_are_addresses_and_networks(environment: Environment) -> None:
    set_all(environment, TRUSTED_PROXIES="10.0.0.0/8, ::1")
    assert Settings.load().proxies == ("10.0.0.0/8", "::1")
    set_all(environment, TRUSTED_PROXIES="none")
    assert Settings.load().proxies == ()


def test_the_secrets_that_are_never_lent_are_all_that_are_secret() -> None:
    secret = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert secret == OWN_SECRETS


@pytest.mark.parametrize("variables", [{}, {"KEY_A": ""}, {"key_a": "x"}])
def test_a_missing_key_names_its_variable_and_what_to_do(
    variables: dict[str, str],
) -> None:
    with pytest.raises(MissingModelKeyError) as missing:
        ModelKeys(variables).resolve("KEY-A")
    assert missing.value.variable == "KEY_A"
    assert "environment variable KEY_A" in str(missing.value)
    assert ".env" in str(missing.value)


def test_keys_come_from_the_environment_and_behind_it_the_file(
    environment: Environment,
) -> None:
    environment.setenv("KEY_A", "environment-a")
    environment.setenv("KEY_B", "environment-b")
    keys = ModelKeys.load(write_env(KEY_B="file-b", KEY_C="file-c"))
    found = {
        name: keys.resolve(name).get_secret_value()
        for name in ("KEY-A", "KEY-B", "KEY-C")
    }
    assert found == {
        "KEY-A": "environment-a",
        "KEY-B": "environment-b",
        "KEY-C": "file-c",
    }


def test_an_empty_variable_does_not_hide_the_key_in_the_file(
    environment: Environment,
) -> None:
    environment.setenv("KEY_A", "")
    keys = ModelKeys.load(write_env(KEY_A="file-a"))
    assert keys.resolve("KEY-A") == SecretStr("file-a")


def test_keys_load_without_a_file() -> None:
    with pytest.raises(MissingModelKeyError):
        ModelKeys.load(Path("none.env")).resolve("no-such-key-at-all")


def test_a_line_without_a_value_is_no_key() -> None:
    path = Path("a.env")
    path.write_text("KEY_A\nKEY_B=\nKEY_C=c\n")
    keys = ModelKeys.load(path)
    for name in ("KEY_A", "KEY_B"):
        with pytest.raises(MissingModelKeyError):
            keys.resolve(name)
    assert keys.resolve("KEY_C") == SecretStr("c")


def test_no_key_shows_in_a_repr_or_a_message() -> None:
    keys = ModelKeys({"KEY_A": "sk-hush"})
    secret = keys.resolve("KEY-A")
    with pytest.raises(MissingModelKeyError) as missing:
        keys.resolve("KEY-B")
    shown = f"{keys!r} {keys} {secret!r} {secret} {missing.value!r}"
    assert "hush" not in shown


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("load", [Settings.load, ModelKeys.load])
def test_a_file_that_is_no_utf_8_is_told_in_one_line(
    encoding: str, load: Any
) -> None:
    path = Path("a.env")
    path.write_text("ADMIN_API_KEY=x\n", encoding=encoding)
    with pytest.raises(SettingsError, match="not UTF-8 text") as refused:
        load(path)
    assert "\n" not in str(refused.value)
    assert "\x00" not in str(refused.value)


def test_latin_1_is_told(environment: Environment) -> None:
    set_all(environment)
    Path("a.env").write_bytes(b"DOCS_USER=J\xfcrgen\n")
    with pytest.raises(SettingsError, match="not UTF-8 text"):
        Settings.load(Path("a.env"))


def test_a_mark_at_the_files_beginning_is_no_part_of_a_name() -> None:
    path = write_env(**REQUIRED)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Settings.load(path).docs_user == "user"
    ModelKeys.load(path)


@pytest.mark.parametrize(
    "address", ["postgres://u:hush@h/d", "localhost:27017", "MONGODB://x"]
)
def test_an_address_of_another_database_is_told(
    environment: Environment, address: str
) -> None:
    set_all(environment, DB_CONNECTION_STRING=address)
    told = refusal()
    assert "DB_CONNECTION_STRING" in told
    assert "mongodb://" in told
    assert "hush" not in told
