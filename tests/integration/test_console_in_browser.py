"""The console as people see it: in Chromium, on a desk and on a phone."""

import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser
from tests.support.browser import Browser, Seen, chromium
from tests.support.console_world import ConsoleWorld, console_world
from tests.support.live_server import ADMIN_KEY
from tests.support.prefix_proxy import prefix_proxy
from tests.support.timing import is_within
from tests.support.waiting import eventually

DESK, PHONE = 1280, 380
FIRST_LOAD_BYTES = 250_000
HOSTILE = '</h1><img src=x onerror="window.hacked=1"><b>\'"&{{7*7}}'
COUNTING = """() => {
  const rows = document.querySelectorAll(".rows .row");
  return [rows.length, Number(document.querySelector(".list").ariaRowCount)];
}"""
SETTLED = """document.querySelector('main').dataset.shown === location.hash &&
  Boolean(document.querySelector('main h1')) &&
  !document.querySelector('[aria-busy]')"""
PAGES = (
    "overview",
    "jobs",
    "jobs?status=ERROR_PROCESSING",
    "jobs/{failed}",
    "jobs/{waiting}",
    "runs",
    "runs/{run}",
    "prompts",
    "prompts/{prompt}",
    "models",
    "workers",
    "clients",
    "webhooks",
    "webhooks/{webhook}",
)
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def world(browser: Browser) -> Iterator[ConsoleWorld]:
    del browser  # without one, no world is needed
    with console_world() as running:
        yield running


class Console:
    """The console in a window."""

    def __init__(self, seen: Seen, url: str, world: ConsoleWorld) -> None:
        self.seen = seen
        self.page = seen.page
        self.url = url
        self.world = world

    def sign_in(self, key: str = ADMIN_KEY) -> "Console":
        self.page.goto(self.url)
        self.page.fill("#key", key)
        self.page.click("button[type=submit]")
        return self

    def go(self, where: str) -> None:
        self.page.goto(f"{self.url}#/{where.format(**self.world.ids)}")
        self.settle()

    def settle(self) -> None:
        eventually(lambda: self.page.evaluate(SETTLED), what="the page")

    def shows(self, text: str, inside: str = "main") -> None:
        found = self.page.locator(inside).get_by_text(text).first
        found.wait_for(state="visible")


@pytest.fixture
def desk(browser: Browser, world: ConsoleWorld) -> Iterator[Console]:
    with browser.window(width=DESK, dark=False) as seen:
        yield Console(seen, f"{world.url}/console/", world)


@pytest.fixture
def admin(desk: Console) -> Console:
    desk.sign_in().go("overview")
    return desk


@pytest.fixture(scope="module")
def hostile(world: ConsoleWorld) -> ApiUser:
    """A client whose every text is an attack."""
    user = ApiUser(world.http)
    world.rename(user, HOSTILE)
    user.worker(maxItemsPerBatch=10)
    prompt = user.prompt(HOSTILE, name=HOSTILE, type=HOSTILE)
    user.prompt(f"{HOSTILE} again", name=HOSTILE, type=HOSTILE)
    user.post(
        "/workers",
        {"workerId": HOSTILE, "config": {}, "group": HOSTILE},
    )
    user.post(
        "/webhooks",
        {
            "url": f"{world.ids['hook_url']}/?{quote(HOSTILE)}",
            "events": ["job.processed"],
            "description": HOSTILE,
        },
    )
    world.ids["hostile_prompt"] = prompt
    for name, text in (
        ("hostile_done", HOSTILE),
        ("hostile_failed", f"unreadable {HOSTILE}"),
    ):
        job = user.job(
            world.models["gpt-5-mini"],
            prompt,
            operation=HOSTILE,
            batchKey=HOSTILE,
            id=HOSTILE,
            clientReference={"name": HOSTILE},
            requestData={"text": text},
        )
        world.ids[name] = job["jobId"]
        user.ended(job["jobId"])
    return user


@pytest.mark.parametrize(
    ("width", "colours"),
    [(DESK, "light"), (DESK, "dark"), (PHONE, "dark")],
    ids=["desk", "dark", "phone"],
)
def test_every_page_is_fit_for_everybody(
    browser: Browser, world: ConsoleWorld, width: int, colours: str
) -> None:
    with browser.window(width=width, dark=colours == "dark") as seen:
        console = Console(seen, f"{world.url}/console/", world)
        seen.page.goto(console.url)
        seen.page.wait_for_selector("#key")
        assert seen.violations() == []
        console.sign_in()
        for where in PAGES:
            console.go(where)
            assert seen.violations() == [], where
            assert seen.width() == width, where
            picture(console, where, f"{width}-{colours}")
        # Nothing was asked of anybody else, and nothing went wrong.
        strangers = [u for u in seen.asked if not u.startswith(world.url)]
        assert strangers == []
        assert seen.said == []


def picture(console: Console, where: str, kind: str) -> None:
    if directory := os.environ.get("TEST_PICTURES"):
        name = where.replace("/", "-").replace("?", "-")
        path = f"{directory}/console-{name}-{kind}.png"
        console.page.screenshot(path=path, full_page=True)


def test_the_first_load_is_small(desk: Console) -> None:
    sizes: list[int] = []

    def add(answer: Any) -> None:
        if "/assets/" in answer.url or answer.url.endswith("/console/"):
            sizes.append(len(answer.body()))

    desk.page.on("requestfinished", lambda each: add(each.response()))
    desk.sign_in().go("overview")
    assert len(sizes) > 5
    assert sum(sizes) < FIRST_LOAD_BYTES


def test_a_wrong_key_is_told(desk: Console) -> None:
    desk.sign_in("wrong")
    desk.shows("The key is not valid")
    desk.sign_in(desk.world.token).go("overview")
    # What a client may not do is not there.
    links = desk.page.locator("nav a").all_inner_texts()
    assert "Jobs" in links
    assert "Clients" not in links
    assert desk.page.get_by_text("Resume now").count() == 0


def test_a_client_sees_every_page_of_its_own(desk: Console) -> None:
    desk.sign_in(desk.world.token).go("overview")
    for where in PAGES:
        if where in ("clients", "jobs/{waiting}"):
            continue
        desk.go(where)
        assert desk.page.locator(".message.error").count() == 0, where
        assert desk.seen.violations() == [], where
    assert desk.seen.said == []
    # It cannot get there by the address either.
    desk.go("clients")
    desk.shows("Overview")


def test_a_stranger_finds_why_a_job_waits(admin: Console) -> None:
    admin.shows("The workers that would take it are stopped")
    card = admin.page.locator("section:has(h2:text('Why jobs wait'))")
    reason = card.locator("li", has_text="are stopped")
    reason.get_by_role("link").click()
    admin.page.locator(".rows .row", has_text="survey").first.click()
    admin.shows("It waits: the workers that would take it are stopped")
    admin.shows("Start one of them.")


def test_a_stranger_retries_the_most_frequent_failure(
    admin: Console,
) -> None:
    world = admin.world
    path = "/jobs/summary?errorType=JSON_PARSING_ERROR&status=ERROR_PROCESSING"
    count = world.http.get(path, headers=ADMIN).json()["total"]
    first = admin.page.locator("section:has(h2:text('Errors by cause')) li")
    assert "JSON_PARSING_ERROR" in first.first.inner_text()
    first.first.get_by_role("button").click()
    dialog = admin.page.locator("dialog")
    # It was counted first, and nothing is changed yet.
    dialog.get_by_role("heading", name=f"Retry {count} jobs?").wait_for()
    dialog.get_by_role("button", name="Cancel").click()
    assert world.http.get(path, headers=ADMIN).json()["total"] == count
    first.first.get_by_role("button").click()
    dialog.get_by_role("button", name=f"Retry {count} jobs").click()
    admin.shows(f"{count} jobs wait again", "#messages")
    done = "/jobs/summary?status=PENDING&operation=sentiment"
    eventually(
        lambda: not world.http.get(done, headers=ADMIN).json()["total"],
        what="the end of the retries",
    )


def test_a_stranger_finds_what_today_cost(admin: Console) -> None:
    card = admin.page.locator("section:has(h2:text('Cost today'))")
    usage = admin.world.http.get("/usage?groupBy=model", headers=ADMIN).json()
    for group in usage["groups"]:
        row = card.locator("li", has_text=group["model"]).first
        assert "$" in row.inner_text()


def test_a_stranger_finds_the_prompt_that_won(admin: Console) -> None:
    admin.page.click("nav a:text('Runs')")
    admin.page.locator("tbody a").first.click()
    card = admin.page.locator("section:has(h2:text('The prompt that won'))")
    card.get_by_text("Better than the initial prompt").wait_for()
    assert "Think of what the writer wants." in (
        card.locator("ins").first.inner_text()
    )


def test_texts_of_others_are_only_texts(
    admin: Console, hostile: ApiUser
) -> None:
    del hostile
    jobs = "jobs?operation=%3C%2Fh1%3E%3Cimg%20src%3Dx"
    for where in (
        *PAGES,
        jobs,
        "jobs/{hostile_done}",
        "jobs/{hostile_failed}",
        "prompts/{hostile_prompt}",
        "prompts/%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E",
        "%3Cscript%3Ewindow.hacked%3D1%3C%2Fscript%3E",
    ):
        admin.go(where)
        assert admin.page.evaluate("window.hacked") is None, where
        assert admin.page.locator("main img, main script").count() == 0
    for where in ("workers", "clients", "webhooks", "prompts"):
        admin.go(where)
        admin.shows(HOSTILE[:20])
    admin.go("jobs/{hostile_failed}")
    admin.shows(HOSTILE[:20])
    # Negative control: as HTML it would have run, but for the policy.
    with pytest.raises(Exception, match="TrustedHTML"):
        admin.page.evaluate(
            "text => { document.querySelector('main').innerHTML = text }",
            HOSTILE,
        )


def test_what_happens_is_shown_without_a_reload(
    admin: Console, world: ConsoleWorld
) -> None:
    admin.shows("Live", "header")
    before = len([u for u in admin.seen.asked if u.endswith("/console/")])
    tile = admin.page.locator("a.tile:has-text('Done') b")
    count = int(tile.inner_text().replace(",", ""))
    prompt = world.ids["prompt"]
    world.submit(world.acme, world.models["gpt-5-mini"], prompt, ["Fine."] * 7)
    eventually(
        lambda: tile.inner_text() == f"{count + 7:,}", what="the new number"
    )
    after = len([u for u in admin.seen.asked if u.endswith("/console/")])
    assert after == before


def test_a_session_that_ends_asks_for_the_key(
    desk: Console, world: ConsoleWorld
) -> None:
    user = ApiUser(world.http)
    desk.sign_in(f"{user.client_id}:{user.key}").go("prompts")
    path = f"/clients/{user.client_id}/rotate-key"
    world.http.post(path, headers=ADMIN).raise_for_status()
    desk.shows("The session has ended; sign in again.")


def test_workers_are_started_and_stopped(
    admin: Console, world: ConsoleWorld
) -> None:
    user = ApiUser(world.http)
    worker_id = user.worker(start=False)
    name = user.get(f"/workers/{worker_id}")["name"]
    admin.go("workers")
    admin.page.get_by_role("button", name=f"Start {name}").click()
    admin.page.get_by_role("button", name=f"Stop {name}").wait_for()
    admin.page.get_by_role("button", name=f"More replicas of {name}").click()
    eventually(
        lambda: (
            len(
                user.get(f"/workers/{worker_id}")["threadInfo"].get("threads")
                or ()
            )
            == 2
        ),
        what="two threads",
    )
    admin.page.get_by_role("button", name=f"Stop {name}").click()
    admin.page.get_by_role("button", name=f"Start {name}").wait_for()
    assert user.get(f"/workers/{worker_id}")["status"] == "stopped"


def test_a_prompt_is_tried_with_two_models_and_published(
    admin: Console, world: ConsoleWorld
) -> None:
    world.provider.pieces = ["Both ", "<b>answer</b>"]
    admin.go("prompts/{prompt}")
    admin.page.get_by_label("Input").fill("Is this good?")
    choice = world.models["claude-haiku-4-5"]
    admin.page.get_by_label("Model B").select_option(choice)
    admin.page.get_by_role("button", name="Ask both").click()
    for letter in "AB":
        box = admin.page.get_by_label(f"Answer {letter}")
        box.get_by_text("answer").wait_for()
    admin.page.get_by_role("button", name="New version").click()
    admin.page.get_by_label("Text", exact=True).last.fill("A third one.")
    admin.page.get_by_role("button", name="Save as a draft").click()
    admin.page.get_by_role("button", name="Publish").click()
    admin.shows("Version 3 is published", "#messages")


def test_keys_lead_everywhere(admin: Console) -> None:
    page = admin.page
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.locator(".rows .row").first.wait_for()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    page.locator(".rows .row").first.focus()
    for key in ("ArrowDown", "ArrowDown", "End", "Home", "ArrowDown"):
        page.keyboard.press(key)
    index = page.evaluate("document.activeElement.ariaRowIndex")
    assert index == "3"
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/jobs/*")
    admin.settle()
    page.keyboard.press("?")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")


def test_it_works_behind_a_prefix(
    browser: Browser, world: ConsoleWorld
) -> None:
    with (
        prefix_proxy(world.url, "/tools/metasync") as url,
        browser.window(width=DESK, dark=False) as seen,
    ):
        console = Console(seen, f"{url}/console", world)
        console.sign_in()
        console.shows("Overview")
        console.shows("Live", "header")
        seen.page.click("nav a:text('Clients')")
        console.shows("Acme back office")
        strangers = [each for each in seen.asked if not each.startswith(url)]
        assert strangers == []


@pytest.mark.timing
def test_ten_thousand_jobs_scroll_smoothly(
    desk: Console, world: ConsoleWorld
) -> None:
    user = ApiUser(world.http)
    many(user, world.models["gpt-5-mini"], 10_000)
    desk.sign_in(f"{user.client_id}:{user.key}").go("jobs")
    page = desk.page
    page.locator(".rows .row").first.wait_for()
    for _ in range(40):
        page.locator(".list").evaluate("list => list.scrollTo(0, 1e9)")
        page.wait_for_timeout(100)
        shown, known = page.evaluate(COUNTING)
        if known == 10_001:
            break
    assert known == 10_001
    # Only what can be seen is in the page.
    assert shown < 80

    def slow_frame() -> float:
        frames = sorted(page.evaluate(SCROLLING))
        return float(frames[int(len(frames) * 0.95)]) / 1000

    assert is_within(0.05, slow_frame)


SCROLLING = """async () => {
  const list = document.querySelector(".list");
  const frames = [];
  let before = performance.now();
  for (let i = 0; i < 120; i += 1) {
    // Ten rows a frame: faster than anybody can read.
    list.scrollTop = 100000 + i * 440;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    frames.push(now - before);
    before = now;
  }
  return frames;
}"""


def many(user: ApiUser, model: str, count: int) -> None:
    prompt = user.prompt()
    body = {"jobs": [user.job_body(model, prompt)] * count}
    answer = user.http.post(
        "/jobs/batch",
        content=json.dumps(body),
        headers={**user.headers, "content-type": "application/json"},
        timeout=httpx2.Timeout(60),
    )
    assert answer.status_code == 201
