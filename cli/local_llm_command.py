"""`metasync local-llm`: the demo's small model, for trying things out."""

import contextlib
import time
from pathlib import Path

import httpx2

from cli.errors import CommandError
from cli.local_llm import CACHE, LocalLLM, LocalLLMError
from cli.ports import check_port
from cli.stopping import stoppable
from cli.terminal import Terminal, say

_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.5


def serve_local_llm(
    *, port: int, parallel: int, cache_dir: Path = CACHE
) -> int:
    """Serve until a signal ends it; return the exit status.

    Raises:
        CommandError: it cannot run here; says what to do.
    """
    console = Terminal()
    if port:
        check_port(_HOST, port)
    model = LocalLLM(cache_dir=cache_dir, port=port, parallel=parallel)
    with (
        stoppable(Terminal(stderr=True), "Nothing is left running."),
        contextlib.ExitStack() as stack,
    ):
        stack.callback(model.stop)
        with console.status("Loading the model"):
            _load(model)
        if not model.ended():
            _introduce(console, model)
        while not model.ended():
            time.sleep(_LOOK_SECONDS)
    raise CommandError(f"The model's process has ended. Its log: {model.log}")


def _load(model: LocalLLM) -> None:
    try:
        model.start()
    except LocalLLMError as error:
        raise CommandError(str(error)) from None
    # It listens before it can answer.
    with httpx2.Client(base_url=model.base_url, trust_env=False) as http:
        while not model.ended():
            with contextlib.suppress(httpx2.TransportError):
                if http.get("/models").is_success:
                    return
            time.sleep(_LOOK_SECONDS)


def _introduce(console: Terminal, model: LocalLLM) -> None:
    say(
        console,
        f"Model {model.model_name} at {model.base_url} (OpenAI's interface, "
        "any key); Ctrl-C ends it.",
    )
    say(
        console,
        "Try it: LOCAL_LLM_KEY=any metasync run INPUT.jsonl --model "
        f"{model.model_name} --endpoint {model.base_url} --key-env "
        "LOCAL_LLM_KEY --prompt-file PROMPT.txt",
    )
