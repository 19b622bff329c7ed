"""`metasync ws-handlers`: the packages of the WebSocket endpoint `/web`."""

import json
from typing import Annotated, Any

import typer


def list_handlers(
    *,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON, with the schemas."),
    ] = False,
) -> None:
    """List the packages that `/web` takes, who may send them, their data."""
    from api.web.handlers import new_registry  # noqa: PLC0415 - takes a second

    described = new_registry().described()
    if as_json:
        typer.echo(json.dumps(described, indent=2))
        return
    width = max(len(each["pkg_id"]) for each in described)
    for each in described:
        typer.echo(
            f"{each['pkg_id']:<{width}}  {each['role']:<7}  {each['summary']}"
        )
        if fields := _fields(each["data"]):
            typer.echo(f"{'':<{width}}           {fields}")


def _fields(schema: dict[str, Any]) -> str:
    needed = schema.get("required", [])
    names = schema.get("properties", {})
    return ", ".join(name if name in needed else f"[{name}]" for name in names)
