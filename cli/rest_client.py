"""Metasync's REST interface as the command line uses it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import httpx2
import stamina

from cli.errors import CommandError

_TIMEOUT_SECONDS = 120.0
_RETRY_SECONDS = 60.0
_PAGE = 500
_PIECE = 256 * 1024
_JSON = "application/json"
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Json = dict[str, Any]


class ServerRefusedError(CommandError):
    """The server answered with an error; carries its words."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(f"The server answered {status}: {detail}")
        self.status = status


class _NotNowError(Exception):
    pass


class RestClient:
    """Sends requests and tries again while the server is away.

    Every request that the command line makes may safely be sent twice.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        try:
            self._http = httpx2.Client(
                base_url=base_url,
                headers=headers,
                timeout=_TIMEOUT_SECONDS,
                # No proxy leads to this machine.
                trust_env=httpx2.URL(base_url).host not in LOOPBACK,
            )
        except httpx2.InvalidURL as error:
            raise CommandError(f"{base_url} is no URL: {error}") from None
        self.base_url = base_url
        self.headers = dict(headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def check(self) -> None:
        """Make sure that there is a Metasync, without waiting for one.

        Raises:
            CommandError: nothing answers, or something else.
        """
        try:
            answer = self._http.get("/health").json()
            known = str(answer["service"]).startswith("metasync")
        except httpx2.TransportError as error:
            raise self._no_answer(error) from None
        except (ValueError, LookupError, TypeError):
            known = False
        if not known:
            raise CommandError(
                f"What answers at {self.base_url} is no Metasync; check the "
                "address"
            )

    def get(self, path: str, **parameters: str | int) -> Any:  # noqa: ANN401 - JSON
        """GET; `parameters` is the query string."""
        return self._send("GET", path, params=parameters).json()

    def text(self, path: str) -> str:
        """GET what is no JSON."""
        return self._send("GET", path).text

    def pages(self, path: str, **parameters: str | int) -> Iterator[Json]:
        """GET every item of a list, page by page."""
        query = {"limit": _PAGE, **parameters}
        while True:
            response = self._send("GET", path, params=query)
            yield from response.json()
            cursor = response.headers.get("X-Next-Cursor")
            if cursor is None:
                return
            query["cursor"] = cursor

    def post(
        self,
        path: str,
        body: object = None,
        key: str | None = None,
        **parameters: str,
    ) -> Any:  # noqa: ANN401 - JSON
        """POST a JSON body; with a key, it may be sent twice.

        `parameters` is the query string.
        """
        headers = {} if key is None else {"idempotency-key": key}
        return self._send(
            "POST", path, json=body, headers=headers, params=parameters
        ).json()

    def upload(
        self, path: str, content: bytes, media_type: str, **parameters: str
    ) -> Any:  # noqa: ANN401 - JSON
        """POST a file; `parameters` is the query string."""
        return self._send(
            "POST",
            path,
            content=content,
            headers={"content-type": media_type},
            params=parameters,
        ).json()

    def form(self, path: str, file: Path, **fields: str) -> Any:  # noqa: ANN401 - JSON
        """POST a form with a file, which is sent while it is read."""
        with file.open("rb") as content:
            return self._send(
                "POST", path, data=fields, files={"file": (file.name, content)}
            ).json()

    def stream(self, path: str, file: Path, key: str) -> Any:  # noqa: ANN401 - JSON
        """POST a file of JSON, which is sent while it is read."""
        headers = {"content-type": _JSON, "idempotency-key": key}
        body = _Pieces(file)
        return self._send("POST", path, content=body, headers=headers).json()

    def save(self, path: str, target: IO[bytes]) -> None:
        """GET into a file, from where it is; nothing is in memory whole."""
        start = target.tell()
        try:
            for attempt in self._attempts():
                with attempt:
                    target.seek(start)
                    target.truncate()
                    self._save_once(path, target)
        except (httpx2.TransportError, _NotNowError) as error:
            raise self._no_answer(error) from None

    def patch(self, path: str, body: object, **parameters: str) -> Any:  # noqa: ANN401 - JSON
        """PATCH with a JSON body; `parameters` is the query string."""
        sent = self._send("PATCH", path, json=body, params=parameters)
        return sent.json()

    def delete(self, path: str) -> None:
        """DELETE."""
        self._send("DELETE", path)

    def _send(self, method: str, path: str, **extra: Any) -> httpx2.Response:  # noqa: ANN401 - passed on to the client library
        try:
            for attempt in self._attempts():
                with attempt:
                    return self._send_once(method, path, extra)
        except (httpx2.TransportError, _NotNowError) as error:
            raise self._no_answer(error) from None
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _save_once(self, path: str, target: IO[bytes]) -> None:
        with self._http.stream("GET", path) as response:
            self._check(response)
            for piece in response.iter_bytes():
                target.write(piece)

    def _attempts(self) -> Iterable[stamina.Attempt]:
        return stamina.retry_context(
            on=(httpx2.TransportError, _NotNowError),
            attempts=None,
            timeout=_RETRY_SECONDS,
            wait_max=5.0,
        )

    def _no_answer(self, error: Exception) -> CommandError:
        return CommandError(
            f"No answer from {self.base_url}: {error}. Is the server running "
            "there? Then run the same command again: it continues."
        )

    def _send_once(
        self, method: str, path: str, extra: Json
    ) -> httpx2.Response:
        response = self._http.request(method, path, **extra)
        self._check(response)
        return response

    @staticmethod
    def _check(response: httpx2.Response) -> None:
        if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
            raise _NotNowError("503")
        if response.is_error:
            response.read()
            raise ServerRefusedError(response.status_code, _detail(response))


class _Pieces:
    """A file's content; it can be sent again from its beginning."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        with self._file.open("rb") as content:
            while piece := content.read(_PIECE):
                yield piece


def _detail(response: httpx2.Response) -> object:
    try:
        body = response.json()
        if isinstance(error := body.get("error"), dict):
            # In the words of a vendor.
            return error["message"]
        detail = body["detail"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return response.text[:500]
    if isinstance(detail, list):
        return "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in detail
        )
    return detail
