"""`scalingar check`: does a component keep what it promises to its users?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli.documents import document as as_document
from scalingar_fw.cli.group import app_of, common_options
from scalingar_fw.cli.terminal import console, plain

if TYPE_CHECKING:
    from scalingar_fw.testing.running import Outcome

_SIGNS = {"passed": "✓", "failed": "✗", "same-cause": "↳", "skipped": "–", "expected-failure": "≈"}
_STYLES = {
    "passed": "green",
    "failed": "bold red",
    "same-cause": "red",
    "skipped": "dim",
    "expected-failure": "yellow",
}


@click.command()
@click.argument("target")
@click.option("--kind", metavar="KIND", help="Where a name is several things: confidence, ...")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Check it with another setting: recovery_window=0; a model's: weights=DIR (repeatable).",
)
@click.option(
    "--expect",
    multiple=True,
    metavar="ID=REASON",
    help="A check that it fails by design, and why (repeatable).",
)
@click.option("--only", multiple=True, metavar="ID", help="Only this check (repeatable).")
@click.option(
    "--examples",
    type=click.IntRange(0),
    default=50,
    help="Cases looked for, for each check, beyond those that it always tries (50).",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where counter-examples are written (default: .scalingar/counterexamples).",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Try one written counter-example again, nothing else.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print a table with a badge, for a README.")
@common_options
@click.pass_context
def check(
    ctx: click.Context,
    target: str,
    kind: str | None,
    settings: tuple[str, ...],
    expect: tuple[str, ...],
    only: tuple[str, ...],
    examples: int,
    out: Path | None,
    replay: Path | None,
    as_json: bool,
    markdown: bool,
) -> None:
    """Check TARGET: a registered name, package.module:Object, file.py:Object, or file.py (hooks).

    Looks for inputs on which a confidence estimator, guidance schedule, policy, sampler, selector,
    reward, strategy, observer or model breaks a contract, and writes the smallest that it finds.
    Exits with 1 if one is broken.
    """
    from scalingar_fw.cli.generate import parse_set

    registry = app_of(ctx).registry
    # torch is imported from here on
    from scalingar_fw.decoding.components import ModelAdapter
    from scalingar_fw.testing import running
    from scalingar_fw.testing.catalogue import kind_of_object
    from scalingar_fw.testing.targets import resolve, with_settings

    component = resolve(target, registry, kind, parse_set(settings))
    if replay is not None:
        outcomes = [running.replay(with_settings(component, parse_set(settings), registry), replay)]
    elif kind_of_object(component) is None and isinstance(component, ModelAdapter):
        outcomes = _adapter(component, only, parse_set(expect))
    else:
        component = with_settings(component, parse_set(settings), registry)
        checks = running.checks_for(
            component,
            expected_failures=parse_set(expect),
            examples=examples,
            folder=running.FOLDER if out is None else out,
            only=only,
        )
        outcomes = _run(checks)
    if as_json:
        document = {
            "target": target,
            "component": repr(component),
            "kind": kind_of_object(component) or "model",
            "ok": all(o.ok for o in outcomes),
            "checks": [running.as_data(o) for o in outcomes],
        }
        click.echo(as_document(document))
    elif markdown:
        click.echo(as_markdown(target, outcomes))
    else:
        _table(target, outcomes)
    if not all(o.ok for o in outcomes):
        ctx.exit(1)


def _run(checks: list[Any]) -> list[Outcome]:
    """Run them, with a line of progress on a terminal."""
    outcomes = []
    live = sys.stderr.isatty()
    for number, bound in enumerate(checks, 1):
        if live:
            click.echo(f"\r\033[K{number}/{len(checks)} {bound.id}", nl=False, err=True)
        outcomes.append(bound.run())
    if live:
        click.echo("\r\033[K", nl=False, err=True)
    return outcomes


def _adapter(model: Any, only: tuple[str, ...], expected: dict[str, str]) -> list[Outcome]:
    """A model adapter's checks, which need no cases: it is followed for some steps."""
    from scalingar_fw.errors import unknown_name
    from scalingar_fw.testing.adapters import CHECKS, check_adapter
    from scalingar_fw.testing.running import EXPECTED, FAILED, PASSED, Outcome

    known = [c.id for c in CHECKS]
    for name in (*only, *expected):
        if name not in known:
            raise unknown_name("check", name, known)
    outcomes = []
    for found in check_adapter(model, only=only):
        check, why = found.check, expected.get(found.check.id)
        if why is None:
            status, said = (PASSED, "") if found.passed else (FAILED, found.detail)
        elif found.passed:
            status, said = FAILED, f"declared as an expected failure ({why}), but it passes"
        else:
            status, said = EXPECTED, f"{why} ({found.detail})"
        outcomes.append(Outcome(check.id, check.sentence, status, said, examples=1))
    return outcomes


def counts(outcomes: list[Outcome]) -> dict[str, int]:
    """How many checks ended how."""
    return {status: sum(o.status == status for o in outcomes) for status in _SIGNS}


def _table(target: str, outcomes: list[Outcome]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(plain(f"scalingar check {target}")),
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("")
    table.add_column("check", no_wrap=True)
    table.add_column("")
    echoes: dict[str | None, list[str]] = {}
    for o in outcomes:
        if o.status == "same-cause":
            echoes.setdefault(o.cause, []).append(o.id)
    for o in outcomes:
        if o.status == "same-cause" or o.untried:
            continue
        said = Text(plain(o.title if o.status == "passed" else (o.message or o.title)))
        if o.status == "failed":
            first, *rest = map(plain, o.sentences())
            if o.id in echoes:
                rest.append(f"For the same reason, probably: {', '.join(echoes[o.id])}")
            said = Text(first, style="bold")
            for line in rest:
                said.append(f"\n{line}", style="not bold")
        table.add_row(Text(_SIGNS[o.status], style=_STYLES[o.status]), Text(o.id), said)
    screen = console(sys.stdout, None if sys.stdout.isatty() else 120)
    screen.print(table)
    screen.print(Text(_summary(outcomes)))


def _summary(outcomes: list[Outcome]) -> str:
    untried = sum(o.untried for o in outcomes)
    number = counts(outcomes)
    number["skipped"] -= untried
    number["not tried"] = untried
    return ", ".join(f"{n} {status}" for status, n in number.items() if n)


def as_markdown(target: str, outcomes: list[Outcome]) -> str:
    """A badge and a table, for a plugin's README."""
    number = counts(outcomes)
    applied = len(outcomes) - number["skipped"]
    colour = (
        "red" if number["failed"] else "yellow" if number["expected-failure"] else "brightgreen"
    )
    label = f"{number['passed']}%2F{applied}"
    badge = f"https://img.shields.io/badge/scalingar__fw_contracts-{label}-{colour}"
    lines = [
        f"![contracts kept: {number['passed']} of {applied}]({badge})",
        "",
        f"`scalingar check {target}`: {_summary(outcomes)}",
        "",
        "| | check | what holds |",
        "| --- | --- | --- |",
    ]
    for o in outcomes:
        said = o.title if o.status == "passed" else f"{o.title} {o.status}: {o.message}"
        said = said.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {_SIGNS[o.status]} | `{o.id}` | {said} |")
    return "\n".join(lines)
