"""Large bodies pass through `/proxy` without being held."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from aiohttp import web

from tests.support.echo_provider import EchoProvider, echo_provider
from tests.support.gateway_user import GatewayUser
from tests.support.processes import ServiceProcess, service_process

pytestmark = pytest.mark.timing

MIB = 1024 * 1024
SIZE = 200 * MIB
PIECE = b"x" * (256 * 1024)
MOST_MEMORY = 30 * MIB


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    variables = {
        "PROVIDER_KEY": "sk-secret",
        "MODEL_KEY_PREFIXES": "PROVIDER",
        "NUM_LLM_WORKERS": "0",
    }
    with service_process(tmp_path / "data", **variables) as running:
        yield running


def memory_of(service: ServiceProcess) -> int:
    """Return the most memory (bytes) that the process has ever had."""
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    (line,) = [x for x in status.splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def pieces() -> Iterator[bytes]:
    for _ in range(SIZE // len(PIECE)):
        yield PIECE


async def take_and_give(request: web.Request) -> web.StreamResponse:
    received = 0
    async for chunk in request.content.iter_any():
        received += len(chunk)
    response = web.StreamResponse(headers={"x-received": str(received)})
    response.content_length = SIZE
    await response.prepare(request)
    for piece in pieces():
        await response.write(piece)
    return response


def exchange(http: httpx2.Client, user: GatewayUser, model: str) -> int:
    """Send a large body and read a large answer; return its size."""
    with http.stream(
        "POST",
        f"/proxy/{model}/v1/files",
        content=pieces(),
        headers={"x-api-key": user.token, "content-type": "text/plain"},
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["x-received"] == str(SIZE)
        return sum(map(len, answer.iter_raw()))


def test_large_bodies_take_no_memory(service: ServiceProcess) -> None:
    with (
        echo_provider() as provider,
        httpx2.Client(base_url=service.url, timeout=60) as http,
    ):
        provider.reads_body = False
        user = GatewayUser(http)
        model = user.model(
            sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY"
        )
        warm(provider, http, user, model)
        before = memory_of(service)
        assert exchange(http, user, model) == SIZE
        assert memory_of(service) - before < MOST_MEMORY


def warm(
    provider: EchoProvider, http: httpx2.Client, user: GatewayUser, model: str
) -> None:
    """Have everything imported."""
    headers = {"x-api-key": user.token}
    assert http.get(f"/proxy/{model}/v1/x", headers=headers).is_success
    provider.handler = take_and_give
