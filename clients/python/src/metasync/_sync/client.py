# Made from `_async` by `make client`; not to be edited.
"""The client: one object that has all of them."""

import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from metasync._sync import _io
from metasync._sync.jobs import Jobs
from metasync._sync.mapping import Results
from metasync._sync.measuring import (
    Datasets,
    Evaluations,
    Runs,
    Streams,
)
from metasync._sync.preparing import Preparation
from metasync._sync.resources import (
    Clients,
    Models,
    PromptFlows,
    Prompts,
    Usage,
    Webhooks,
    Workers,
)
from metasync._sync.transport import Transport
from metasync.access import find_access
from metasync.embedded import Embedded
from metasync.options import MapArguments, read_options
from metasync.questions import Form, Question
from metasync.retrying import RetryPolicy
from metasync.rows import source_of

T = TypeVar("T")

_TIMEOUT_SECONDS = 60.0
_RETRY_SECONDS = 60.0
DEFAULT_DIRECTORY = Path(".metasync")


class Metasync:
    """A user of a Metasync service.

    The service is `url`, or what `METASYNC_URL` names, with `token` or
    `METASYNC_TOKEN`. Without a URL, the first request starts an embedded
    instance, which keeps its data in `directory` and ends with the program.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        admin_key: str | None = None,
        directory: str | Path = DEFAULT_DIRECTORY,
        timeout: float = _TIMEOUT_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
        http_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Find out where the service is; nothing is sent yet.

        `timeout` is for one request; one that fails for a passing reason
        is repeated for `retry_seconds`. `http_options` are further options
        of the HTTP client, such as `verify`.

        Raises:
            ConfigurationError: URL or token are not usable.
        """
        access = find_access(url, token, admin_key)
        self._embedded: Embedded | None = None
        if access is None:
            self._embedded = Embedded(Path(directory))
        self._url = "embedded" if access is None else access.url
        self._transport = Transport(
            self._embedded.start if self._embedded else lambda: access,  # type: ignore[arg-type,return-value] # one of the two is there
            timeout=timeout,
            retries=RetryPolicy(retry_seconds),
            http_options=dict(http_options or {}),
        )
        self._maps: weakref.WeakSet[Results[Any]] = weakref.WeakSet()
        self.jobs = Jobs(self._transport)
        self.prompts = Prompts(self._transport)
        self.prompt_flows = PromptFlows(self._transport)
        self.models = Models(self._transport)
        self.clients = Clients(self._transport)
        self.workers = Workers(self._transport)
        self.usage = Usage(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.datasets = Datasets(self._transport)
        self.evaluations = Evaluations(self._transport)
        self.runs = Runs(self._transport)
        self.streams = Streams(self._transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and end the embedded instance.

        Of calls of `map` that have not ended, the jobs that have not
        begun are canceled.
        """
        try:
            for results in list(self._maps):
                results.close()
        finally:
            self._transport.close()
            if self._embedded is not None:
                _io.in_thread(self._embedded.stop)

    @overload
    def map(
        self,
        prompt: str,
        rows: Any,
        *,
        model: str,
        schema: None = None,
        **options: Unpack[MapArguments],
    ) -> Results[str]: ...

    @overload
    def map(
        self,
        prompt: str,
        rows: Any,
        *,
        model: str,
        schema: type[T],
        **options: Unpack[MapArguments],
    ) -> Results[T]: ...

    @overload
    def map(
        self,
        prompt: str,
        rows: Any,
        *,
        model: str,
        schema: Any,
        **options: Unpack[MapArguments],
    ) -> Results[Any]: ...

    def map(
        self,
        prompt: str,
        rows: Any,
        *,
        model: str,
        schema: Any = None,
        **options: Unpack[MapArguments],
    ) -> Results[Any]:
        """Run a prompt over rows; gives their results as they end.

        A prompt with `{{ column }}` is filled from each row; otherwise it
        is the system text, and the row, as JSON, what the user says.
        `rows` are mappings, texts (column `text`), pydantic models or
        dataclasses, in a list or from an iterator of any length; or a
        DataFrame of pandas or polars, or a Table of Arrow.

        `schema` is a pydantic model (or another type) or a JSON schema;
        without one, answers are texts. `options` are those of
        `MapOptions`.

        A row that fails has an `error` in its result. The same call once
        more, also after a crash, gives the answers that are there, and
        asks for the others only.

        Raises:
            ConfigurationError: these are no rows, no schema, no options.
        """
        chosen = read_options(options)
        question: Question[Any] = Question(prompt, model, Form(schema), chosen)
        preparation = Preparation(
            self.prompts, self.models, self.workers, self._embedded
        )
        results: Results[Any] = Results(
            self.jobs,
            question,
            source_of(rows, has_loop=_io.HAS_LOOP),
            lambda: preparation.prepare(question),
        )
        self._maps.add(results)
        return results
