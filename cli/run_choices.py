"""Options of `metasync run` that say how much of the input is asked."""

from pathlib import Path
from typing import Annotated

import typer

_FIRST = "Before everything is asked"
_TROUBLE = "When rows fail"
_JUDGED = "What is made of the answers"

PlanOption = Annotated[
    bool,
    typer.Option(
        "--plan",
        help="Make no call: show rows, tokens, price, time, the budget that "
        "is left, and rows that would be refused.",
        rich_help_panel=_FIRST,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Ask only N rows: the first, or random ones with --seed.",
        rich_help_panel=_FIRST,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        help="With --limit: draw the rows at random, the same ones for the "
        "same number.",
        rich_help_panel=_FIRST,
    ),
]
PilotOption = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="N",
        help="Ask N random rows first; show their answers, and what the "
        "others may cost and take; then ask whether to go on.",
        rich_help_panel=_FIRST,
    ),
]
YesOption = Annotated[
    bool,
    typer.Option("--yes", help="Go on after --pilot.", rich_help_panel=_FIRST),
]
MaxCostOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="AMOUNT",
        help="Ask no more rows than this pays for, at the most that each "
        "may cost; in the currency of the model's price. With --pilot: go "
        "on if everything is likely to cost no more.",
        rich_help_panel=_FIRST,
    ),
]
GiveUpOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Stop if the first N rows all fail for the same reason; 0: "
        "never.",
        rich_help_panel=_TROUBLE,
    ),
]
SkipFailedOption = Annotated[
    bool,
    typer.Option(
        "--skip-failed/--retry-failed",
        help="Leave out rows that failed in an earlier run, or ask them "
        "again.",
        rich_help_panel=_TROUBLE,
    ),
]
AnswerFieldOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Where the answer stands that is compared with the label, such "
        "as result.0.label. Default: the answer's first value.",
        rich_help_panel=_JUDGED,
    ),
]
InOrderOption = Annotated[
    bool,
    typer.Option(
        "--in-order",
        help="Bring JSON Lines into the input's order at the end.",
        rich_help_panel=_JUDGED,
    ),
]
HtmlOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write a page on the run: cost, speed, errors by cause, "
        "examples, accuracy by class.",
        rich_help_panel=_JUDGED,
    ),
]
