"""The page of a run: it needs nothing else, and shows texts as texts."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from cli.input_file import Item
from cli.run_page import page_of, write_page
from cli.run_settings import RunOptions
from cli.setup import ModelOptions
from cli.tally import Tally

Row = dict[str, Any]
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">'


class Reader(HTMLParser):
    """Notes what a page has, and whether everything is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def options(**changes: Any) -> RunOptions:
    fields = {
        "sources": [Path("in.jsonl")],
        "out": Path("out.jsonl"),
        "model": ModelOptions(HOSTILE),
        "prompt": HOSTILE,
        **changes,
    }
    return RunOptions(**fields)


def world(count: int = 30) -> tuple[list[Item], dict[str, Row], Tally]:
    items = [
        Item(n, f"key-{n}", None, HOSTILE, {"text": HOSTILE}, 9)
        for n in range(1, count + 1)
    ]
    rows: dict[str, Row] = {}
    for item in items[:-1]:
        bad = item.line % 3 == 0
        rows[item.key] = {
            "line": item.line,
            "status": "ERROR_PROCESSING" if bad else "PROCESSED",
            "response": None if bad else {HOSTILE: HOSTILE},
            "label": HOSTILE,
            "metrics": {
                "totalCost": 0.5,
                "currency": "USD",
                "duration": item.line / 10,
            },
        }
        if bad:
            error = {"errorType": "BAD_REQUEST", "message": HOSTILE}
            rows[item.key]["error"] = error
        else:
            rows[item.key]["correct"] = False
    tally = Tally(count)
    for row in rows.values():
        tally = tally.with_row(row)
    return items, rows, tally


def test_nothing_hostile_becomes_markup() -> None:
    page = page_of(options(user=HOSTILE), *world())
    read = Reader(page)
    assert "script" not in read.tags
    assert "img" not in read.tags
    names = {name for name, _ in read.attributes}
    assert not any(name.startswith("on") for name in names)
    assert "style" not in names
    assert "&lt;script&gt;" in page


def test_it_needs_nothing_else() -> None:
    page = page_of(options(), *world())
    assert "default-src &#39;none&#39;" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "://" not in page


def test_it_tells_why_rows_failed_and_what_helps() -> None:
    page = page_of(options(), *world())
    assert "Why rows failed" in page
    assert "Check what the provider says" in page
    assert "1 not asked" in page


def test_it_is_as_good_without_any_row(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(options(html=path), [], {}, Tally(0))
    assert "0 of 0 rows answered" in path.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
