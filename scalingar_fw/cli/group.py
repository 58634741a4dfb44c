"""The group of commands: built-in and plugins' ones, loaded when used; errors in one message."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import define, field

from scalingar_fw.cli.terminal import showing_text
from scalingar_fw.errors import ContractError, PluginWarning, ResultWarning, ScalingarError
from scalingar_fw.trust import allow, modules_in, only_named

if TYPE_CHECKING:
    from scalingar_fw.registry import Entry, Registry

_HERE = "scalingar_fw.cli."
#: Name: where the command is, and its line in `--help` (so that help imports none of them).
BUILT_IN = {
    "generate": (_HERE + "generate:generate", "Make a picture from a prompt."),
    "bench": (_HERE + "bench:bench", "Compare strategies on a benchmark, resumably."),
    "list": (_HERE + "listing:list_", "List models, strategies, components or benchmarks."),
    "show": (_HERE + "listing:show", "Describe one of them: parameters, defaults, source."),
    "score": (_HERE + "official:score", "Score a run's stored images by the benchmark's scorer."),
    "export": (_HERE + "official:export", "Lay out a run's images for an official evaluator."),
    "import": (_HERE + "official:import_", "Bring an official evaluator's results into a run."),
    "plugins": (_HERE + "plugins_new:plugins", "List plugins, or start one: plugins new NAME."),
    "check": (_HERE + "check:check", "Check a component, strategy or model against its contracts."),
    "completion": (_HERE + "completion:completion", "Complete names and options in your shell."),
}
#: Headings of `--help`, and where commands of well-known names stand if they are there; a plugin's
#: other commands have a heading of their own.
SECTIONS = {
    "Make a picture, and look at it": ("generate", "ui", "report", "plot"),
    "Compare strategies": ("bench", "compare", "score", "export", "import", "reproduce"),
    "Work on a policy, on recorded candidates": ("record", "replay", "autopsy", "lab", "tune"),
    "What there is": ("list", "show", "models", "doctor"),
    "Plugins and the shell": ("plugins", "check", "completion"),
}

F = TypeVar("F", bound=Callable[..., Any])


@define
class App:
    """What the commands of one call share; the registry is loaded once, when first asked for."""

    files: list[Path] = field(factory=list)
    _registry: Any = None

    @property
    def registry(self) -> Registry:
        from scalingar_fw.registry import environment_files, load_registry

        if self._registry is None:
            files = {p.resolve(): p for p in [*environment_files(), *self.files]}
            self._registry = load_registry(list(files.values()))
        return self._registry  # type: ignore[no-any-return]


def app_of(ctx: click.Context) -> App:
    """The call's `App`."""
    return ctx.find_root().ensure_object(App)


def _add_files(ctx: click.Context, _: click.Parameter, files: tuple[Path, ...]) -> None:
    from scalingar_fw.registry import module_name

    app = app_of(ctx)
    app.files.extend(files)
    allow(*(module_name(file) for file in files))
    if files:  # a plugin's command was looked up in a registry without them
        app._registry = None


def _allow(_: click.Context, __: click.Parameter, modules: tuple[str, ...]) -> None:
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")):
            raise click.BadParameter(f"{module!r} is no module: give its dotted name.")
    allow(*modules)


def common_options(function: F) -> F:
    """`--plugin`, `--allow-import` and `--debug`, before the command's name or behind it."""
    # Eager, so that `scalingar --plugin FILE --help` shows the file's commands.
    plugin = click.option(
        "--plugin",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_add_files,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Load a plugin from a Python file (repeatable; also $SCALINGAR_PLUGINS).",
    )
    imports = click.option(
        "--allow-import",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_allow,
        metavar="MODULE",
        help="Let a configuration or a store name this module, installed or in this folder.",
    )
    debug = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        help="Show tracebacks of errors.",
    )
    return plugin(imports(debug(function)))


@contextlib.contextmanager
def ending_tidily() -> Iterator[None]:
    """SIGTERM, which schedulers send, ends the block as an exception, so that it can clean up."""

    def end(*_: Any) -> None:
        raise SystemExit(143)

    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Commands(click.Group):
    """Built-in commands and those that plugins register as kind "command"."""

    def plugin_commands(self, ctx: click.Context) -> dict[str, Entry]:
        """By the name to type: the short one, or `package/name` where that is taken."""
        registry = app_of(ctx).registry
        unique = registry.names("command")
        out: dict[str, Entry] = {}
        for entry in registry.of_kind("command"):
            free = entry.name in unique and entry.name not in BUILT_IN
            out[entry.name if free else entry.full_name] = entry
        return out

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*BUILT_IN, *sorted(self.plugin_commands(ctx))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from scalingar_fw.registry import import_path

        if name in BUILT_IN:
            return import_path(BUILT_IN[name][0])  # type: ignore[no-any-return]
        entry = self.plugin_commands(ctx).get(name)
        if entry is None:
            return None
        command = entry.load()
        if not isinstance(command, click.Command):
            raise ScalingarError(
                f"command {entry.full_name!r} is a {type(command).__name__}, not a click command: "
                "report this to its plugin's author."
            )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from scalingar_fw.errors import did_you_mean

        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            names = self.list_commands(ctx)
            ctx.fail(
                f"Unknown command {args[0]!r}.{did_you_mean(args[0], names)} "
                f"Available: {', '.join(names)}."
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = {name: line for name, (_, line) in BUILT_IN.items()}
        lines |= {n: e.summary or "-" for n, e in sorted(self.plugin_commands(ctx).items())}
        placed = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in lines if name not in placed)
        for heading, names in {**SECTIONS, "Commands of plugins": others}.items():
            rows = [(name, lines[name]) for name in names if name in lines]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nInterrupted: nothing was left half-written.", err=True)
            raise click.exceptions.Exit(130) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and turn what a user can act on into one message and an exit code."""
        argv = args[0] if args else kwargs.get("args")
        words = [str(word) for word in (sys.argv[1:] if argv is None else argv)]
        debug = "--debug" in words
        # What is typed as a flag's value is named by the user; what a file says is not.
        typed = [w for before, w in zip(["", *words], words, strict=False) if _is_value(before, w)]
        with showing_text(), only_named(modules_in(typed)), warnings.catch_warnings():
            warnings.simplefilter("always", PluginWarning)
            warnings.simplefilter("always", ResultWarning)
            original = warnings.showwarning

            def show(message: Any, category: Any, *rest: Any, **more: Any) -> None:
                if issubclass(category, (PluginWarning, ResultWarning)):
                    click.echo(f"Warning: {' '.join(str(message).split())}", err=True)
                else:
                    original(message, category, *rest, **more)

            warnings.showwarning = show
            try:
                return super().main(*args, **kwargs)
            except Exception as error:
                said = None if debug else _message(error)
                if said is None:
                    raise
                click.echo(f"Error: {said[0]}", err=True)
                sys.exit(said[1])


def _is_value(before: str, word: str) -> bool:
    """Whether a word of the command line is (or holds) the value of a flag."""
    return before.startswith("-") and "=" not in before or word.startswith("--")


def _message(error: Exception) -> tuple[str, int] | None:
    """What to say about an error and the exit code; None for a bug of ours, shown in full."""
    if isinstance(error, ScalingarError):
        return str(error), 2
    if isinstance(error, OSError) and error.errno != errno.EPIPE:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{where}", 2
    if isinstance(error, ContractError):
        return f"{error} (--debug shows where)", 1
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "Out of memory: lower -n, use --dtype bfloat16, or --device cpu.", 1
    return None
