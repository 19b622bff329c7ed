"""Makes `_sync` from `_async`: the same client without an event loop.

Run by `make client`; a test fails if its outcome is out of date.
"""

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "metasync"
ASYNC, SYNC = PACKAGE / "_async", PACKAGE / "_sync"
# Each has a twin that was written by hand.
_BY_HAND = frozenset({"__init__.py", "_io.py"})
_HEADER = "# Made from `_async` by `make client`; not to be edited.\n"
_WORDS = (
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b_async\b", "_sync"),
    (r"\bAsync([A-Z])", r"\1"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\bAwaitable,\s+", ""),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\banext\b", "next"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\baclose\b", "close"),
    (r"\baread\b", "read"),
    (r"\baiter_text\b", "iter_text"),
    (r"\bGenerator\[Result\[T\]\]", "Generator[Result[T], None, None]"),
    # In a text.
    (r"`async with`", "`with`"),
    # Both are there once the other names are.
    (r"\bIterator,\s+Callable,\s+Iterator\b", "Callable, Iterator"),
)


def texts() -> dict[Path, str]:
    """Give each file and the text that it must have."""
    return {
        SYNC / path.name: _formatted(_of(path.read_text("utf-8")))
        for path in sorted(ASYNC.glob("*.py"))
        if path.name not in _BY_HAND
    }


def _of(text: str) -> str:
    for pattern, replacement in _WORDS:
        text = re.sub(pattern, replacement, text)
    return _HEADER + text


def _formatted(text: str) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(SYNC / "made.py"), "-"]
    fix = ["check", "-q", "--fix-only", "--select", "I"]
    for command in ([*ruff, *fix, *name], [*ruff, "format", "-q", *name]):
        text = subprocess.run(
            command, input=text, capture_output=True, text=True, check=True
        ).stdout
    return text


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
