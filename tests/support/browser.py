"""A real browser that opens a page, and tells what it has seen."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

# Debian's Chromium; elsewhere, a path in the environment.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_VARIABLE = "TEST_CHROMIUM"
_ARGUMENTS = (
    "--no-sandbox",  # CI is root, in a container of its own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Seen:
    """A page, what it asked for, and what its console said."""

    page: Any
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def width(self) -> int:
        """Give the width of what can be scrolled to."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def violations(self) -> list[str]:
        """Give what axe-core finds wrong for people with disabilities."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        # The page itself lets no script run: it is put in by the debugger.
        found = axe.Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found
            for node in each["nodes"]
        ]


class Browser:
    """Opens pages."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    @contextmanager
    def open(
        self, url: str, *, width: int, dark: bool, headers: dict[str, str]
    ) -> Iterator[Seen]:
        """Open a page in a window of its own, 800 pixels high."""
        with self.window(width=width, dark=dark, headers=headers) as seen:
            seen.page.goto(url)
            yield seen

    @contextmanager
    def window(
        self,
        *,
        width: int,
        dark: bool,
        headers: dict[str, str] | None = None,
    ) -> Iterator[Seen]:
        """Open a window without a page."""
        context = self._browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            extra_http_headers=headers or {},
            bypass_csp=False,
        )
        seen = Seen(context.new_page())
        seen.page.on("request", lambda each: seen.asked.append(each.url))
        seen.page.on("console", lambda each: seen.said.append(each.text))
        seen.page.on("pageerror", lambda each: seen.said.append(str(each)))
        yield seen
        context.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; skips the test where there is none, or no driver."""
    playwright = pytest.importorskip(
        "playwright.sync_api",
        reason="playwright is not installed: see requirements-browser.lock",
    )
    path = os.environ.get(_VARIABLE) or next(
        filter(None, map(shutil.which, _NAMES)), None
    )
    if path is None:
        pytest.skip(f"no Chromium: install one, or name it in {_VARIABLE}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=list(_ARGUMENTS)
        )
        yield Browser(browser)
        browser.close()
