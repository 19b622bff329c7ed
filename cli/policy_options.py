"""`metasync policy`: its commands, their options and help."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="policy",
    help="Roles, and what they may do.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Policy = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="The policy. Default: that of ACCESS_POLICY, or the built-in.",
    ),
]


@app.command()
def check(
    user: Annotated[
        str,
        typer.Argument(
            metavar="USER", help="A subject or verified e-mail address."
        ),
    ],
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD", help="Such as POST; WS for a package."
        ),
    ],
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A path, or a package's id."),
    ],
    *,
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A role beside those of the policy."
        ),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="A client beside those of the policy; * is all."
        ),
    ] = None,
    claims: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Claims of the provider, as a JSON object."
        ),
    ] = None,
    policy: _Policy = None,
) -> None:
    """Say whether a user may do something, and why; status 1 if not."""
    from cli.policy_command import Question, answer  # noqa: PLC0415 - takes a moment

    question = Question(
        user, method, path, tuple(role or ()), tuple(client or ()), claims
    )
    raise typer.Exit(answer(question, policy))


@app.command()
def show(policy: _Policy = None) -> None:
    """List the roles with their rules."""
    from cli.policy_command import show_roles  # noqa: PLC0415 - takes a moment

    show_roles(policy)
