"""Settings: one validated class, read from the environment and `.env`.

`Settings.load()` is called by `main_app` and the command line only;
everything else is handed the values it needs.
"""

import json
import os
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from utilities.key_variables import (
    DEFAULT,
    DEFAULT_KEY_PREFIXES,
    KEY_PREFIXES,
    default_key_reference,
    key_prefixes,
    key_problem,
    key_variable,
    listed,
)

__all__ = [
    "DEFAULT_KEY_PREFIXES",
    "KEY_PREFIXES",
    "OWN_SECRETS",
    "VERSION",
    "MissingModelKeyError",
    "ModelKeys",
    "RefusedModelKeyError",
    "Settings",
    "SettingsError",
    "default_key_reference",
    "key_variable",
]

VERSION = "0.1.0"

_ENCODING = "utf-8-sig"

# Settings that are secret. No setting is ever lent to a model, even when a
# model's key reference names one.
OWN_SECRETS = frozenset(
    {
        "ADMIN_API_KEY",
        "API_KEY_PEPPER",
        "DB_CONNECTION_STRING",
        "DOCS_SECRET",
        "METRICS_TOKEN",
    }
)

_HOW_TO_MAKE = (
    "`make run` writes a .env with fresh random secrets; to make one "
    "yourself: python3 -c 'import secrets; print(secrets.token_hex(32))'"
)


# What can be kept for a time: kinds, and their statuses that are ends.
RETENTION_KINDS: Mapping[str, tuple[str, ...]] = {
    "jobs": (
        "PROCESSED",
        "ERROR_PROCESSING",
        "CONSUMED",
        "ERROR_CONSUMING",
        "CANCELED",
    ),
    "streams": ("completed", "error"),
    "runs": ("COMPLETED", "FAILED", "CANCELLED"),
    "evaluations": ("COMPLETED", "FAILED", "CANCELLED"),
    "batches": ("completed", "failed", "expired", "cancelled"),
    "deliveries": ("DELIVERED", "FAILED"),
}
T = TypeVar("T")


def known_retention(rules: dict[str, T]) -> dict[str, T]:
    """Check the names of rules about how long things are kept.

    Raises:
        ValueError: names those that are not known.
    """
    known = set(RETENTION_KINDS) | {
        f"{kind}.{status}"
        for kind, statuses in RETENTION_KINDS.items()
        for status in statuses
    }
    if wrong := sorted(rules.keys() - known):
        raise ValueError(
            f"not known: {', '.join(wrong)}; use "
            f"{', '.join(RETENTION_KINDS)}, or one of them with a status, "
            "such as jobs.CONSUMED"
        )
    return rules


class SettingsError(Exception):
    """The environment does not make valid settings; says what to do."""


class MissingModelKeyError(Exception):
    """The variable that should hold a model's key is not set."""

    kind = "MISSING_KEY"

    def __init__(self, variable: str) -> None:
        super().__init__(
            f"The environment variable {variable}, which should hold the "
            f"model's key, is not set. Set it (or put it in .env) and "
            f"restart, or change the model's `key`."
        )
        self.variable = variable


class RefusedModelKeyError(MissingModelKeyError):
    """A model's key must not come from this variable; it is not read."""

    kind = "REFUSED_KEY"

    def __init__(self, variable: str, message: str) -> None:
        Exception.__init__(self, message)
        self.variable = variable


class Settings(BaseSettings):
    """Everything an operator can set; `docs/configuration.md` explains it.

    Each field is read from the upper-case environment variable of the same
    name, else from `.env` in the working directory.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        # Some editors begin a file with a mark that is no part of it.
        env_file_encoding=_ENCODING,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    admin_api_key: SecretStr
    api_key_pepper: SecretStr
    docs_secret: SecretStr
    docs_user: str = "user"

    db_connection_string: SecretStr | None = None
    db_name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")
    ] = "metasync-dev"
    db_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 4
    change_streams: bool = True
    data_dir: Path = Path("data")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8001
    max_request_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    max_request_bytes_in_flight: Annotated[int, Field(ge=1024)] = (
        64 * 1024 * 1024
    )
    gateway_max_request_bytes: Annotated[int, Field(ge=1024)] = (
        64 * 1024 * 1024
    )
    max_file_bytes: Annotated[int, Field(ge=1024)] = 200 * 1024 * 1024
    max_dataset_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024 * 1024
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    max_connections_per_address: Annotated[int, Field(ge=0, le=1_000_000)] = (
        512
    )
    trusted_proxies: str = "127.0.0.1,::1"
    requests_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    failed_logins_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 60
    unknown_fields: Literal["refuse", "ignore"] = "refuse"

    model_key_prefixes: str = DEFAULT

    metrics_token: SecretStr | None = None
    metrics_public: bool = False
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None

    webhook_allow_private: bool = False
    # Days by kind, or by kind and status; nothing is removed without.
    retention_days: Annotated[
        dict[str, Annotated[float, Field(gt=0, le=36_500)]], NoDecode
    ] = Field(default_factory=dict)

    poll_interval: Annotated[int, Field(ge=1, le=3600)] = 10
    max_items_per_batch: Annotated[int, Field(ge=1, le=1000)] = 50
    batch_concurrency: Annotated[int, Field(ge=1, le=1000)] = 200
    num_llm_workers: Annotated[int, Field(ge=0, le=1000)] = 10
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    llm_timeout_seconds: Annotated[float, Field(gt=0, le=86400)] = 900
    stream_stall_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    suspended_trial_seconds: Annotated[float, Field(ge=1, le=86400)] = 60
    priority_aging_seconds: Annotated[float, Field(ge=1, le=86400)] = 600
    bulk_share: Annotated[float, Field(ge=0.01, le=0.5)] = 0.05
    stop_grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 5

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = (
        "INFO"
    )
    log_format: Literal["json", "console"] | None = None

    @field_validator("retention_days", mode="before")
    @classmethod
    def _read_days(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given)
        except ValueError:
            raise ValueError(
                'must be JSON, such as {"jobs": 30, "jobs.CONSUMED": 1}'
            ) from None

    @field_validator("retention_days")
    @classmethod
    def _known_kinds(cls, given: dict[str, float]) -> dict[str, float]:
        return known_retention(given)

    @field_validator("db_connection_string")
    @classmethod
    def _is_mongodb(cls, address: SecretStr | None) -> SecretStr | None:
        schemes = ("mongodb://", "mongodb+srv://")
        if address and not address.get_secret_value().startswith(schemes):
            raise ValueError(
                "must begin with mongodb:// or mongodb+srv://; leave it empty "
                "to use the embedded database"
            )
        return address

    @field_validator("model_key_prefixes")
    @classmethod
    def _are_prefixes(cls, text: str) -> str:
        key_prefixes(text)
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        for proxy in listed(text):
            try:
                ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(
                    "must be IP addresses or networks, separated by commas, "
                    "or `none`. There is no `*`: it would let every caller "
                    "choose its address"
                ) from None
        return text

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies whose `X-Forwarded-For` is believed."""
        return listed(self.trusted_proxies)

    @classmethod
    def load(cls, env_file: Path = Path(".env")) -> Self:
        """Read the environment.

        Raises:
            SettingsError: names every variable that is missing or wrong at
                once, never a value.
        """
        _check_text(env_file)
        try:
            return cls(_env_file=env_file)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None


def _check_text(env_file: Path) -> None:
    """Refuse a file that is no UTF-8 text.

    Raises:
        SettingsError: says what to do.
    """
    if not env_file.is_file():
        return
    try:
        text = env_file.read_bytes().decode(_ENCODING)
    except UnicodeDecodeError:
        text = "\x00"
    except OSError as error:
        raise SettingsError(
            f"{env_file} cannot be read: {error.strerror}. Change its owner "
            "or its mode"
        ) from None
    if "\x00" in text:
        raise SettingsError(
            f"{env_file} is not UTF-8 text (UTF-16, perhaps). Save it as "
            "UTF-8, or write a new one with `metasync init`"
        )


def _explain(error: ValidationError) -> str:
    missing, wrong = [], []
    for problem in error.errors(include_input=False, include_url=False):
        variable = str(problem["loc"][0]).upper()
        if problem["type"] == "missing":
            missing.append(variable)
        else:
            wrong.append(f"{variable}: {problem['msg']}")
    lines = []
    if missing:
        lines.append(f"Not set: {', '.join(missing)}. {_HOW_TO_MAKE}")
    lines += [f"Not valid: {line}" for line in wrong]
    return "\n".join(lines)


class ModelKeys:
    """Finds the secret behind a model's key reference.

    Only variables whose names begin with one of the `prefixes` are read, so
    that whoever makes models cannot have any other variable sent anywhere.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        prefixes: Sequence[str] = DEFAULT_KEY_PREFIXES,
    ) -> None:
        self._prefixes = tuple(filter(None, prefixes))
        self._variables = {
            name: value
            for name, value in variables.items()
            if value and key_problem(name, self._prefixes, _OWN) is None
        }

    @classmethod
    def load(
        cls, env_file: Path = Path(".env"), *, also: Sequence[str] = ()
    ) -> Self:
        """Read the keys from the environment and, behind it, `.env`.

        `also` are prefixes beside those of `MODEL_KEY_PREFIXES`.

        Raises:
            SettingsError: the file or the prefixes cannot be read.
        """
        _check_text(env_file)
        from_file = dotenv_values(env_file, encoding=_ENCODING)
        given = {name: value for name, value in os.environ.items() if value}
        found = {k: v or "" for k, v in from_file.items()} | given
        try:
            prefixes = key_prefixes(found.get(KEY_PREFIXES) or DEFAULT)
        except ValueError as error:
            raise SettingsError(
                f"Not valid: {KEY_PREFIXES}: {error}"
            ) from None
        return cls(found, (*prefixes, *also))

    def check(self, reference: str) -> None:
        """Check that a reference names a variable that may hold a key.

        Raises:
            RefusedModelKeyError: it may not; says what to do.
        """
        variable = key_variable(reference)
        problem = key_problem(variable, self._prefixes, _OWN)
        if problem is not None:
            raise RefusedModelKeyError(variable, problem)

    def resolve(self, reference: str) -> SecretStr:
        """Return the secret.

        Raises:
            RefusedModelKeyError: the variable must not be used; see `check`.
            MissingModelKeyError: names the variable that should be set.
        """
        variable = key_variable(reference)
        secret = self._variables.get(variable)
        if secret is None:
            self.check(reference)
            raise MissingModelKeyError(variable)
        return SecretStr(secret)


# Never lent to a model.
_OWN = frozenset(map(str.upper, Settings.model_fields)) | OWN_SECRETS
