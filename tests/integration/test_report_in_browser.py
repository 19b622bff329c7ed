"""Reports as people see them: in Chromium, on a desk, a phone, on paper."""

import os
from collections.abc import Iterator

import pytest

from tests.integration.test_reports import (
    HOSTILE,
    begun,
    models,  # noqa: F401 - a fixture
)
from tests.integration.test_runs import ended, run_body, three_steps
from tests.support.api_user import ApiUser
from tests.support.browser import Browser, Seen, chromium
from tests.support.fake_provider import FakeProvider
from tests.support.live_server import LiveServer

DESK, PHONE = 1000, 380
_INTRUDER = """() => {
  const script = document.createElement("script");
  script.textContent = "window.intruded = true";
  document.body.append(script);
}"""
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def run_ids(
    user: ApiUser,
    models: list[str],  # noqa: F811 - the fixture
    provider: FakeProvider,
) -> list[str]:
    """A run on hostile data, and one without a dataset."""
    on_dataset = begun(user, models)
    user.worker()
    ended(user, on_dataset, seconds=60)
    provider.handler = three_steps
    loop = user.post("/runs", run_body(user, models))["runId"]
    ended(user, loop, seconds=60)
    return [on_dataset, loop]


def test_reports_in_a_browser(
    browser: Browser, server: LiveServer, user: ApiUser, run_ids: list[str]
) -> None:
    headers = {name.replace("_", "-"): v for name, v in user.headers.items()}
    for run_id in run_ids:
        url = f"{server.url}/runs/{run_id}/report"
        for width, dark in ((DESK, False), (PHONE, True)):
            with browser.open(
                url, width=width, dark=dark, headers=headers
            ) as seen:
                look(seen, url, width)
                if run_id == run_ids[0]:
                    look_at_data(seen)


def look(seen: Seen, url: str, width: int) -> None:
    page = seen.page
    assert page.locator("h1").is_visible()
    assert page.locator("#difference ins").last.is_visible()
    chart = page.locator("#course svg").bounding_box()
    assert chart["width"] > width / 2
    assert page.locator("#course circle").count() > 1
    assert seen.width() == width
    # On paper nothing is closed.
    hidden = page.locator("#difference details .text")
    assert not hidden.is_visible()
    page.emulate_media(media="print")
    assert hidden.is_visible()
    assert not page.locator("nav").is_visible()
    page.emulate_media(media="screen")
    # Everything opened, by the keyboard as well.
    page.locator("summary").first.focus()
    before = page.locator("details[open]").count()
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() != before
    for each in page.locator("details").element_handles():
        each.evaluate("element => element.open = true")
    assert seen.width() == width
    if directory := os.environ.get("TEST_PICTURES"):
        name = f"{url.split('/')[-2]}-{width}.png"
        page.screenshot(path=f"{directory}/{name}", full_page=True)
    assert seen.violations() == []
    assert seen.asked == [url]
    assert seen.said == []
    # The policy is in force: what came in all the same would not run.
    page.evaluate(_INTRUDER)
    assert page.evaluate("window.intruded") is None
    assert "Content Security Policy" in seen.said[0]


def look_at_data(seen: Seen) -> None:
    page = seen.page
    assert page.locator("h1").inner_text() == "The best prompt is better"
    assert page.locator("#models circle").count() > 1
    for each in ("#candidates", "#classes", "#failures"):
        assert page.locator(each).is_visible()
    assert page.locator("main script, main img, main style").count() == 0
    shown = page.locator("#failures").inner_text()
    for text in HOSTILE[:3]:
        assert text in shown
