"""What the demo shows of its answers, and its picture."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.terminal_theme import TerminalTheme

from cli.display import bar_at_the_end, progress_display
from cli.results_file import PROCESSED, Row
from cli.tally import Display
from utilities import payload

_ANSWERS_SHOWN = 6
_ANSWER_LENGTH = 45
_THEME = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        (110, 118, 129),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (201, 209, 217),
    ],
)
# rich's own template loads a font from the network.
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" \
xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{
        font-size: 18px;
        font-weight: bold;
        font-family: sans-serif;
    }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" \
clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def answers_table(
    rows: Sequence[Row], texts: Mapping[int, str], seed: int | None = None
) -> Table:
    """Show some answers, drawn at random: the same for the same seed."""
    table = Table(
        title="Some answers, at random", title_justify="left", box=ROUNDED
    )
    table.add_column("Review", overflow="fold")
    table.add_column("Answer", overflow="ellipsis", no_wrap=True)
    table.add_column("Label", overflow="fold")
    table.add_column("")
    for row in _sample(rows, seed):
        mark = "[green]✓[/]" if row["correct"] else "[red]✗[/]"
        answer = payload.dump(row["response"])
        if len(answer) > _ANSWER_LENGTH:
            answer = f"{answer[: _ANSWER_LENGTH - 1]}…"
        cells = (texts[row["line"]], answer, row["label"])
        table.add_row(*map(escape, cells), mark)
    return table


def _sample(rows: Sequence[Row], seed: int | None) -> list[Row]:
    # Rows come in the order of their answers, which varies.
    good = sorted(_answered(rows), key=lambda row: int(row["line"]))
    draw = random.Random(seed)  # noqa: S311 - for show
    sample = draw.sample(good, min(_ANSWERS_SHOWN, len(good)))
    return sorted(sample, key=lambda row: int(row["line"]))


def accuracy_table(rows: Sequence[Row]) -> Table:
    """Count right answers by class: the label."""
    table = Table(title="Accuracy by class", title_justify="left", box=ROUNDED)
    table.add_column("Class")
    for heading in ("Right", "Of", "Accuracy"):
        table.add_column(heading, justify="right")
    answered = Counter(row["label"] for row in _answered(rows))
    right = Counter(row["label"] for row in _answered(rows) if row["correct"])
    for label, count in sorted(answered.items()):
        share = right[label] / count
        figures = (f"{right[label]}", f"{count}", f"{share:.1%}")
        table.add_row(escape(label), *figures)
    return table


def _answered(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["status"] == PROCESSED]


def demo_progress(console: Console) -> AbstractContextManager[Display]:
    """Show a live bar; on a console that records, the last state of it."""
    show = bar_at_the_end if console.record else progress_display
    return show(console)


def save_picture(console: Console, path: Path) -> None:
    """Write what a recording console has shown as an SVG picture."""
    console.save_svg(
        str(path),
        title="make demo",
        theme=_THEME,
        code_format=_SVG,
        # By default made from the content: each picture would differ
        # everywhere.
        unique_id="demo",
    )
