"""What tests of `metasync run` share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import LiveServer
from tests.support.run_commands import KEY, RunCommands


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[RunCommands]:
    made = RunCommands(tmp_path)
    yield made
    made.clean_up()


@pytest.fixture
def on_provider(commands: RunCommands, provider: FakeProvider) -> RunCommands:
    """Runs on a private instance that asks the fake provider."""
    # A proxy leads to the world, not to this machine.
    commands.variables = {
        "MY_KEY": KEY,
        "http_proxy": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    commands.options = ["--endpoint", provider.url, "--key-env", "MY_KEY"]
    return commands


@pytest.fixture
def on_server(
    commands: RunCommands, server: LiveServer, user: ApiUser
) -> RunCommands:
    """Runs on the live server, as a client that has a model there."""
    commands.variables = {
        "METASYNC_CLIENT_ID": user.client_id,
        "METASYNC_CLIENT_API_KEY": user.key,
    }
    commands.options = ["--server", server.url]
    commands.model = user.model()
    return commands
