import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.display import LineDisplay, failure_lines
from cli.terminal import Terminal, one_line, printable, say

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\x08"


def terminal(kind: type[Console] = Terminal) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return kind(file=file, width=200, color_system=None), file


def steers(text: str) -> bool:
    """Tell whether a text has more than characters, tabs and line feeds."""
    return printable(text) != text


def test_what_steers_a_terminal_is_spelt_out() -> None:
    assert printable(EVIL) == (
        r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\x08"
    )
    assert printable("Grüße,\n\t漢字 🙂") == "Grüße,\n\t漢字 🙂"
    assert one_line(" a\nb\tc ") == r"a\nb\tc"


@given(st.text(st.characters(exclude_categories=[])))
def test_printable_is_safe_and_encodable(text: str) -> None:
    shown = printable(text)
    assert not steers(shown)
    assert "\x1b" not in shown
    shown.encode()
    assert "\n" not in one_line(text)


@pytest.mark.parametrize("kind", [Terminal, Console])
def test_every_way_to_print_is_safe(kind: type[Console]) -> None:
    console, file = terminal(kind)
    table = Table(EVIL, title=EVIL)
    table.add_row(escape(EVIL))
    table.add_row(Text(EVIL))
    for item in (EVIL, Text(EVIL), table):
        console.print(item, markup=False)
    say(console, EVIL)
    LineDisplay(console).tell(EVIL)
    with console.status(EVIL):
        pass
    # rich's own console lets them through: the test can tell.
    assert steers(file.getvalue()) == (kind is Console)


def test_styles_still_work() -> None:
    file = io.StringIO()
    console = Terminal(file=file, force_terminal=True, color_system="standard")
    console.print(f"[red]{EVIL}[/]", highlight=False)
    assert file.getvalue().startswith("\x1b[31m\\x1b]0;owned")


def test_a_failure_stays_in_its_line() -> None:
    error = {"errorType": "BAD\n", "message": f"one\ntwo{EVIL}"}
    (line,) = failure_lines([{"line": 1, "id": "a\nb", "error": error}])
    assert line.startswith(r"line 1 (a\nb): BAD: one\ntwo\x1b]0;")
