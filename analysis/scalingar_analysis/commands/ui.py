"""`scalingar ui`: watch candidates grow, fade and be chosen, in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from scalingar_fw.cli.group import app_of, common_options

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--model", default="shapes", show_default=True, metavar="NAME", help="The model.")
@click.option("--device", metavar="D", help="auto, cpu, cuda, cuda:1 or mps (default: auto).")
@click.option("--dtype", metavar="D", help="auto, float32, bfloat16 or float16 (default: auto).")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="WEIGHTS",
    help="The model's weights, as for generate.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the model's loader (repeatable).",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7860,
    show_default=True,
    help="0 takes a free one.",
)
@click.option(
    "--password-file",
    type=_FILE,
    metavar="FILE",
    help="Its first line is asked for; needed for any --host that others can reach.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page (default: yes).")
@common_options
@click.pass_context
def ui(
    ctx: click.Context,
    /,
    model: str,
    device: str | None,
    dtype: str | None,
    weights: Path | None,
    options: tuple[str, ...],
    host: str,
    port: int,
    password_file: Path | None,
    browser: bool,
) -> None:
    """Open a playground in the browser (extra ui).

    Type a prompt and watch the candidates grow token by token under their confidence curves, one
    strategy or two on the same noise. Nothing is written to disk, and nobody else is asked for
    anything. Ctrl-C ends it.
    """
    from scalingar_analysis.playground import server
    from scalingar_fw.cli.generate import parse_options, share_cores
    from scalingar_fw.generation.plan import find_model

    password = server.read_password(password_file)
    server.check_address(host, password)
    registry = app_of(ctx).registry
    find_model(model, registry)
    share_cores()
    from scalingar_analysis.playground.session import Loading, Session

    loading = Loading(model, device, dtype, weights, parse_options(options))
    with server.listen(host, port) as listening:
        app = server.make_app(Session(registry, loading), host, password)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"

        def ready() -> None:
            click.echo(f"{address} (Ctrl-C ends it)")
            if browser:
                click.launch(address)

        server.serve(app, listening, ready)
