"""Completion in the shell: what may be typed for names and settings, and how to turn it on.

The values come from the registry, so a plugin's names complete as ours do; only `--set` has to
import the strategy whose settings it completes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli.group import app_of, common_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_SHELLS = ("bash", "zsh", "fish")
Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def names(*kinds: str) -> Completer:
    """Completes the names that are registered under these kinds; all kinds where none is given."""

    def complete(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
        registry = app_of(ctx).registry
        found = {}
        for entry in registry.entries.values():
            if not kinds or entry.kind in kinds:
                short = entry.name in registry.names(entry.kind)
                found[entry.name if short else entry.full_name] = entry.summary
        return _items(found.items(), typed)

    return complete


def settings(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Completes `KEY=` by the settings of the strategy that was typed, or of the default."""
    from scalingar_fw.config.settings import settings_of
    from scalingar_fw.errors import ScalingarError
    from scalingar_fw.generation.request import GenerationRequest

    if "=" in typed:
        return []
    given = ctx.params.get("strategy") or next(iter(ctx.params.get("strategies") or ()), None)
    asked: dict[str, Any] = {} if given is None else {"strategy": given}
    try:
        request = GenerationRequest.of("-", **asked)
        known = settings_of(request.build_strategy(app_of(ctx).registry))
    except ScalingarError:  # a strategy that is still being typed has no settings yet
        return []
    return _items(((f"{key}=", rule.doc) for key, (rule, _) in known.items()), typed)


def _items(found: Iterable[tuple[str, str]], typed: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(name, help=(line or "").split("\n")[0] or None)
        for name, line in sorted(found)
        if name.startswith(typed)
    ]


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@common_options
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and names in SHELL.

    \b
    bash: add to ~/.bashrc      eval "$(scalingar completion bash)"
    zsh:  add to ~/.zshrc       eval "$(scalingar completion zsh)"
    fish: once                  scalingar completion fish > FILE
          FILE: ~/.config/fish/completions/scalingar.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    command = ctx.find_root().command
    click.echo(found(command, {}, "scalingar", "_SCALINGAR_COMPLETE").source())


__all__ = ["completion", "names", "settings"]
