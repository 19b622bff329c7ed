"""`docs/openapi.json`: the interface's description, for those who want it
without a server. `make openapi` writes it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import main_app
from config import ModelKeys
from tests.support.live_server import make_settings

PATH = Path(__file__).parents[2] / "docs" / "openapi.json"


def description() -> dict[str, Any]:
    """Return what `/openapi.json` answers; nothing is started."""
    with tempfile.TemporaryDirectory() as data_dir:
        settings = make_settings(Path(data_dir))
        application = main_app.build(settings, ModelKeys({}), "mongodb://x")
        return main_app.create_app(application, run_workers=False).openapi()


def text() -> str:
    """Return it as the file has it."""
    return json.dumps(description(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
