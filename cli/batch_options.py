"""`metasync batch`: its options and its help."""

from pathlib import Path
from typing import Annotated

import typer

from cli.data_options import WITHOUT_SERVER as _WITHOUT_SERVER
from cli.data_options import (
    ApiVersion,
    Endpoint,
    InputPrice,
    KeyEnv,
    MaxTokens,
    OutputPrice,
    Server,
    key_of,
)
from cli.session import run_in_session


def batch_file(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A batch file of OpenAI's format or of Anthropic's.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The results, in the same vendor's format.")
    ],
    sdk: Annotated[
        str | None,
        typer.Option(
            help="The provider's plug-in. Default: whose format the file has.",
            rich_help_panel=_WITHOUT_SERVER,
        ),
    ] = None,
    endpoint: Endpoint = "",
    api_version: ApiVersion = "",
    key_env: KeyEnv = None,
    max_tokens: MaxTokens = 1024,
    input_price: InputPrice = 0.0,
    output_price: OutputPrice = 0.0,
    server: Server = None,
) -> None:
    """Run a batch file of OpenAI's or Anthropic's format on any models.

    Without --server, a private instance of Metasync runs it, and the models
    are those that the file names. Run the same command again to go on after
    a stop, or to try failed lines once more.

    metasync batch input.jsonl --out output.jsonl
    """
    from cli.batch_command import (  # noqa: PLC0415 - takes a second
        BatchOptions,
        run_batch,
        usual_sdk,
    )
    from cli.setup import ModelOptions  # noqa: PLC0415 - as above

    sdk = sdk or usual_sdk(source)
    model = ModelOptions(
        name="",
        sdk=sdk,
        endpoint=endpoint,
        api_version=api_version,
        key_variable=key_of(key_env, sdk, server),
        max_tokens=max_tokens,
        input_price=input_price,
        output_price=output_price,
    )
    options = BatchOptions(source=source, out=out, model=model, server=server)
    run_in_session(lambda console: run_batch(options, console))
