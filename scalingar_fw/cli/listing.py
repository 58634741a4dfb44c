"""`scalingar list`, `show` and `plugins`."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli import completion
from scalingar_fw.cli.group import app_of, common_options
from scalingar_fw.errors import ScalingarError, did_you_mean
from scalingar_fw.registry import KINDS

if TYPE_CHECKING:
    from scalingar_fw.registry import Entry, Registry

_LISTS = {
    "models": ("model",),
    "strategies": ("strategy",),
    "components": KINDS[: KINDS.index("strategy")],
    "benchmarks": ("benchmark",),
}


def _shown(registry: Registry, entry: Entry) -> str:
    """The name to type."""
    return entry.name if entry.name in registry.names(entry.kind) else entry.full_name


def columns(rows: Sequence[tuple[str, ...]], indent: str = "") -> str:
    """Rows of text with aligned columns; the last is free."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append((indent + "  ".join([*cells, row[-1]])).rstrip())
    return "\n".join(lines)


@click.command("list")
@click.argument("kind", type=click.Choice(list(_LISTS)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def list_(ctx: click.Context, kind: str, as_json: bool) -> None:
    """List what is registered: models, strategies, components or benchmarks."""
    registry = app_of(ctx).registry
    found = rows(registry, kind)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        click.echo(f"No {kind} are registered: see `scalingar plugins`.", err=True)
    names = ("kind", "name") if len(_LISTS[kind]) > 1 else ("name",)
    click.echo(columns([(*(r[n] for n in names), r["summary"] or "-") for r in found]))


def rows(registry: Registry, kind: str) -> list[dict[str, str]]:
    """What `list` prints, a mapping for each thing; plugins may register thousands."""
    out = []
    for one in _LISTS[kind]:
        short = set(registry.names(one))
        out += [
            {
                "kind": e.kind,
                "name": e.name if e.name in short else e.full_name,
                "full_name": e.full_name,
                "summary": e.summary,
                "target": e.path,
            }
            for e in registry.of_kind(one)
        ]
    return out


@click.command()
@click.argument("name", shell_complete=completion.names())
@common_options
@click.pass_context
def show(ctx: click.Context, name: str) -> None:
    """Describe a model, strategy, component or benchmark by NAME.

    For components and strategies: every setting with its default, what it accepts, and the
    equation or table that it comes from; a strategy's are written as `--set` wants them.
    """
    registry = app_of(ctx).registry
    found = [e for e in registry.entries.values() if name in (e.name, e.full_name)]
    if not found:
        raise _nothing_like(name, {_shown(registry, e) for e in registry.entries.values()})
    failures = []
    for place, entry in enumerate(found):
        try:
            text = _page(registry, entry)
        except ScalingarError as error:
            failures.append(error)
            continue
        click.echo(("\n" if place else "") + text)
    if len(failures) == len(found):
        raise failures[0]
    for failure in failures:
        click.echo(f"Warning: {failure}", err=True)


def _nothing_like(name: str, names: set[str]) -> ScalingarError:
    """What to say where `show` finds nothing: everything that is registered would be a screen."""
    import difflib

    close = difflib.get_close_matches(name, sorted(names), n=5, cutoff=0.6)
    close += sorted(n for n in names if name in n and n not in close)[: 5 - len(close)]
    near = f" Did you mean {', '.join(map(repr, close))}?" if close else did_you_mean(name, names)
    return ScalingarError(f"Unknown name {name!r}.{near} See `scalingar list {'|'.join(_LISTS)}`.")


def _page(registry: Registry, entry: Entry) -> str:
    target = entry.load()
    lines = [
        f"{entry.kind} {click.style(_shown(registry, entry), bold=True)}  "
        f"({entry.full_name}, {entry.path})",
    ]
    if entry.summary:
        lines.append(_wrap(entry.summary, "  "))
    made = target
    if entry.kind == "strategy" and not _is_strategy(target) and callable(target):
        made = target()
    # An object's own text, not that of the class it is an instance of.
    own = target if isinstance(target, type) or inspect.isroutine(target) else None
    doc = inspect.getdoc(own) if own is not None else None
    if doc:
        lines += ["", textwrap.indent(doc, "  ")]
    if entry.kind in ("strategy", *_LISTS["components"]):
        lines += ["", *_settings(registry, made)]
    elif entry.kind == "benchmark":
        lines += ["", *_benchmark(registry, entry)]
    elif entry.kind == "model" and inspect.isroutine(target):
        options = ", ".join(inspect.signature(target).parameters)
        lines += ["", f"  Loaded by {entry.path}({options})"]
    return "\n".join(lines)


def _benchmark(registry: Registry, entry: Entry) -> list[str]:
    """Splits with their prompts and tasks, and who judges; or what is missing to tell."""
    from scalingar_fw.benchmark import judged_elsewhere, make_benchmark

    made = make_benchmark(registry, entry.full_name)
    lines: list[str] = []
    missing: dict[str, list[str]] = {}
    for split in made.splits:
        try:
            items = made.items(split)
        except ScalingarError as error:  # official files that only the user has
            missing.setdefault(str(error), []).append(split)
            continue
        tasks = Counter(item.task for item in items)
        shown = ", ".join(f"{task} {count}" for task, count in tasks.items())
        lines.append(f"  {click.style(split, bold=True)}: {len(items)} prompts")
        lines.append(_wrap(f"{len(tasks)} tasks: {shown}", "      "))
    for why, splits in missing.items():
        lines.append(f"  {click.style(', '.join(splits), bold=True)}: not available")
        lines.append(_wrap(why, "      "))
    lines.append(_wrap(judged_elsewhere(made) or "Judged by its own scorer.", "  "))
    return lines


def _is_strategy(target: Any) -> bool:
    from scalingar_fw.decoding.strategy import Strategy

    return isinstance(target, Strategy)


def _settings(registry: Registry, target: Any) -> list[str]:
    from scalingar_fw.config.parts import is_component
    from scalingar_fw.config.serialization import describe
    from scalingar_fw.config.settings import settings_of
    from scalingar_fw.decoding.params import rules

    if isinstance(target, type):
        try:
            target = target()
        except TypeError:  # a wrapper that needs to be told what it wraps
            return [f"  {n} (required): {rule.doc}" for n, rule in rules(target).items()]
    settings = settings_of(target)
    if not settings:
        return ["  It has no settings."]
    lines = []
    for key, (rule, value) in settings.items():
        part = is_component(value)
        shown = describe(value, registry)["name"] if part else _value(value)
        accepts = "a component" if part else _accepts(rule)
        lines.append(
            f"  {click.style(key, bold=True)} = {shown}    {click.style(accepts, dim=True)}"
        )
        said = "; ".join(text for text in (rule.doc, rule.source) if text)
        if said:
            lines.append(_wrap(said, "      "))
    return lines


def _accepts(rule: Any) -> str:
    text = "true or false" if rule.kind is bool else "any value"
    if rule.kind is str and rule.choices is None:
        text = "text"
    elif rule.kind in (int, float) or rule.choices is not None:
        text = rule.interval()
        if rule.kind is int and rule.choices is None:
            text = f"whole, {text}" if text[0] in "[(" else "a whole number"
    return text + (", or none" if rule.optional else "")


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrap(text: str, indent: str) -> str:
    return click.wrap_text(text, 100, indent, indent)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List plugins: distribution, version, what each registers, and what failed and why."""
    if ctx.invoked_subcommand is not None:
        return
    registry = app_of(ctx).registry
    if as_json:
        rows = [
            {
                "name": p.name,
                "distribution": p.distribution,
                "version": p.version,
                "error": p.error,
                "registered": [{"kind": k, "name": n} for k, n in p.registered],
            }
            for p in registry.plugins
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not registry.plugins:
        click.echo("No plugins are loaded ($SCALINGAR_LOAD_PLUGINS selects them).", err=True)
    for plugin in registry.plugins:
        title = f"{plugin.distribution} {plugin.version}"
        click.echo(f"{click.style(plugin.name, bold=True)}  ({title})")
        if plugin.error is not None:
            click.echo(_wrap(f"failed: {plugin.error}", "  "))
        by_kind: dict[str, list[str]] = {}
        for kind, name in plugin.registered:
            by_kind.setdefault(kind, []).append(name.split("/", 1)[1])
        rows_ = [(kind, ", ".join(names)) for kind, names in by_kind.items()]
        if rows_:
            click.echo(columns(rows_, "  "))
