"""The command line. Only what is needed to say what there is to say gets imported: `--help`,
`--version` and the listings need neither torch nor a plugin's code."""

from __future__ import annotations

import click

from scalingar_fw.cli.group import Commands, common_options


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import scalingar_fw

        click.echo(f"scalingar {scalingar_fw.__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    # Styles reach the streams, which are `terminal.Shown`: those know what a terminal is.
    context_settings={"help_option_names": ["-h", "--help"], "color": True},
    epilog="Start with: scalingar generate 'a circle left of a square'. What a command takes, with "
    "examples: scalingar COMMAND --help",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@common_options
def main() -> None:
    """Test-time scaling for autoregressive image models."""


__all__ = ["main"]
