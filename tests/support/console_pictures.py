"""The pictures of `docs/console.md`: `make console-pictures` makes them."""

import sys
from pathlib import Path

from tests.support.browser import Seen, chromium
from tests.support.console_world import ConsoleWorld, console_world
from tests.support.live_server import ADMIN_KEY

DIRECTORY = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 150_000
# What is shown with jobs that run.
BUSY = ("overview",)
# A name, a page, the width and the height, and whether it is dark.
PICTURES = (
    ("console-overview", "overview", 1200, 860, False),
    ("console-job", "jobs/{waiting}", 1200, 640, False),
    ("console-run", "runs/{run}", 1200, 900, True),
    ("console-phone", "overview", 400, 780, True),
)


def take(
    seen: Seen, url: str, path: Path, height: int, seconds: float = 2.5
) -> None:
    """Take one picture of a page that has settled."""
    page = seen.page
    page.goto(url)
    page.wait_for_timeout(seconds * 1000)
    page.screenshot(
        path=str(path),
        clip={
            "x": 0,
            "y": 0,
            "width": page.viewport_size["width"],
            "height": height,
        },
    )


def keep_busy(world: ConsoleWorld) -> None:
    """Have jobs end at a speed that changes, for some time."""
    world.provider.delay = 0.8
    world.acme.worker(maxItemsPerBatch=60, modelFilter="gpt-5-mini")
    world.submit(
        world.acme,
        "gpt-5-mini",
        world.ids["prompt"],
        ["I like it."] * 4_000,
        operation="sentiment",
    )


def main() -> None:
    """Make all of them."""
    with chromium() as browser, console_world() as world:
        keep_busy(world)
        for name, where, width, height, dark in PICTURES:
            path = DIRECTORY / f"{name}.png"
            with browser.window(width=width, dark=dark) as seen:
                seen.page.set_viewport_size({"width": width, "height": height})
                seen.page.goto(f"{world.url}/console/")
                seen.page.fill("#key", ADMIN_KEY)
                seen.page.click("button[type=submit]")
                seen.page.wait_for_selector("nav", state="attached")
                page = where.format(**world.ids)
                url = f"{world.url}/console/#/{page}"
                take(seen, url, path, height, 30 if where in BUSY else 2.5)
            size = path.stat().st_size
            sys.stdout.write(f"{path.name}: {size} bytes\n")
            if size > MOST_BYTES:
                sys.exit(f"{path.name} is larger than {MOST_BYTES} bytes")


if __name__ == "__main__":
    main()
