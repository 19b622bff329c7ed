import gc
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
import structlog

import tests.support.examples  # noqa: F401 - chooses how many are tried
from provider_simulator.running import Simulator, running_simulator
from tests.support.api_user import ApiUser
from tests.support.echo_provider import EchoProvider, echo_provider
from tests.support.fake_provider import FakeProvider, fake_provider
from tests.support.live_server import (
    LiveServer,
    live_server,
    make_settings,
)
from tests.support.metrics import TOKEN
from tests.support.mongoeco_server import PYTHON, mongoeco_server
from tests.support.sharing import share_routes, trust_no_authority
from tests.support.store import IN_MEMORY, Store, empty, open_store
from utilities.embedded.database import EmbeddedDatabase
from utilities.interpreter import collect_seldom

PROVIDER_KEY = "sk-provider-secret"
OTHER_KEYS = {
    "PROVIDER_SECOND": "sk-provider-second",
    "PROVIDER_THIRD": "sk-provider-third",
}

# A shell's `&` has SIGINT ignored, which commands under test would inherit
# and, on purpose, keep to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The servers that run inside the tests need not talk.
structlog.configure(
    logger_factory=structlog.PrintLoggerFactory(
        Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good
    )
)

share_routes()
trust_no_authority()
# Nothing of what is imported and collected becomes garbage.
gc.set_threshold(1_000_000)


def pytest_collection_finish() -> None:
    """Look at no test's module again; the servers do the same."""
    collect_seldom()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded database, or the server that the environment names."""
    given = os.environ.get("TEST_DB_CONNECTION_STRING")
    if given:
        yield given
        return
    with EmbeddedDatabase(tmp_path_factory.mktemp("database")) as embedded:
        yield embedded.connection_string


@pytest.fixture(scope="session")
def server(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    settings = make_settings(tmp_path_factory.mktemp("server"))
    keys = {"PROVIDER_KEY": PROVIDER_KEY, **OTHER_KEYS}
    with live_server(settings, database, keys) as running:
        yield running


@pytest.fixture(scope="session")
def http(server: LiveServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture
def user(http: httpx2.Client) -> Iterator[ApiUser]:
    user = ApiUser(http)
    yield user
    user.stop_workers()


@pytest.fixture
def fresh(database: str, tmp_path: Path) -> Iterator[LiveServer]:
    """A service that nobody else uses, with a token for its metrics."""
    settings = make_settings(tmp_path / "fresh", metrics_token=TOKEN)
    keys = {"PROVIDER_KEY": PROVIDER_KEY}
    with live_server(settings, database, keys) as running:
        yield running


@pytest.fixture
def own(fresh: LiveServer) -> Iterator[ApiUser]:
    """The only client of that service."""
    with httpx2.Client(base_url=fresh.url, timeout=60) as client:
        yield ApiUser(client)


@pytest.fixture(scope="session")
def provider_server() -> Iterator[FakeProvider]:
    with fake_provider() as provider:
        yield provider


@pytest.fixture
def provider(provider_server: FakeProvider) -> FakeProvider:
    provider_server.reset()
    return provider_server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def module_simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def shared_simulator(module_simulator: Simulator) -> Simulator:
    """Give the module's simulator as it is at its start."""
    module_simulator.script()
    module_simulator.configure(
        failures={}, latency_ms=0, tokens_per_second=None
    )
    module_simulator.reset_stats()
    return module_simulator


@pytest.fixture(scope="module")
def echo_server() -> Iterator[EchoProvider]:
    with echo_provider() as provider:
        yield provider


@pytest.fixture
def echo(echo_server: EchoProvider) -> EchoProvider:
    echo_server.reset()
    return echo_server


@pytest.fixture
def vendor(simulator: Simulator) -> Iterator[httpx2.Client]:
    """A client of the provider simulator."""
    with httpx2.Client(base_url=simulator.url, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def mongoeco() -> Iterator[str]:
    """The second server."""
    if not PYTHON.exists():
        pytest.skip("mongoeco is not installed: it needs Python 3.13")
    with mongoeco_server() as uri:
        yield uri


@pytest.fixture(scope="module", params=["embedded", "mongoeco", "memory"])
def address(request: pytest.FixtureRequest) -> str:
    """A store of each kind; only what is needed for it is started."""
    if request.param == "memory":
        return IN_MEMORY
    name = "database" if request.param == "embedded" else "mongoeco"
    return str(request.getfixturevalue(name))


@pytest.fixture(scope="session")
def migrated() -> str:
    """Name the database whose schema is made once, by the first store."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def store(
    address: str, tmp_path: Path, migrated: str
) -> AsyncIterator[Store]:
    async with open_store(address, tmp_path, db_name=migrated) as store:
        yield store
        if address != IN_MEMORY:
            await empty(store)
