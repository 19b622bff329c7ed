"""The real application on a real socket, in a thread of the test run."""

import asyncio
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

import main_app
from api.core.http_server import server_config
from config import ModelKeys, Settings
from main_app import Application

ADMIN_KEY = "the-admin-key"
DOCS_SECRET = "the-docs-secret"


def make_settings(data_dir: Path, **changes: Any) -> Settings:
    """Give settings that read nothing from the machine's environment."""
    fields: dict[str, Any] = {
        "admin_api_key": ADMIN_KEY,
        "api_key_pepper": "the-pepper",
        "docs_secret": DOCS_SECRET,
        "data_dir": data_dir,
        "db_name": f"test-{uuid.uuid4().hex[:12]}",
        "stop_grace_seconds": 1,
        "num_llm_workers": 20,
        **changes,
    }
    return Settings(_env_file=None, **fields)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _listener(port: int) -> socket.socket:
    """Bind at once: a port that was free a moment ago may be taken.

    The protocol is named because asyncio only then sends small answers
    without a delay of 40 ms.
    """
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", port))
    return listener


class LiveServer:
    """A running service: its address and its parts."""

    def __init__(self, application: Application, url: str) -> None:
        self.application = application
        self.url = url


@contextmanager
def live_server(
    settings: Settings,
    connection_string: str,
    keys: Mapping[str, str],
    *,
    run_workers: bool = True,
    port: int = 0,
) -> Iterator[LiveServer]:
    """Serve in a thread until the block ends; port 0 is any free one."""
    application = main_app.build(settings, ModelKeys(keys), connection_string)
    app = main_app.create_app(application, run_workers=run_workers)
    listener = _listener(port)
    port = int(listener.getsockname()[1])
    settings = settings.model_copy(update={"port": port})
    server = uvicorn.Server(server_config(app, settings))
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve([listener])), daemon=True
    )
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise AssertionError("the server did not start")
        threading.Event().wait(0.01)
    try:
        yield LiveServer(application, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
