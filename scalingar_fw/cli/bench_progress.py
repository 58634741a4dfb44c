"""What `scalingar bench` shows while it runs: a bar on a terminal, lines elsewhere, JSON if asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli.terminal import console, plain
from scalingar_fw.experiments.events import (
    Damaged,
    Ended,
    Event,
    Failed,
    Finished,
    Planned,
    Progress,
    to_data,
)

if TYPE_CHECKING:
    from scalingar_fw.experiments.events import Observer


def make_observer(as_json: bool) -> Observer:
    """JSON lines on stdout, or a bar if stderr is a terminal, else lines."""
    if as_json:
        return JsonLines()
    screen = console(sys.stderr)
    return Bar(screen) if screen.is_terminal else Lines()


class JsonLines:
    """Each event as a line of JSON on stdout."""

    def notify(self, event: Event) -> None:
        click.echo(json.dumps(to_data(event), ensure_ascii=False))

    def close(self) -> None: ...


def plan(event: Planned) -> str:
    """The forecast in a sentence or two."""
    missing = event.units - event.finished
    lines = [
        f"{event.units} units ({', '.join(event.labels)}), {event.finished} finished already",
        f"{missing} to do: at most {event.missing_tokens} tokens (n x T)"
        + ("" if event.seconds is None or not missing else f", about {duration(event.seconds)}"),
    ]
    if event.seconds is None and missing:
        lines.append("how long is known after the first unit")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """ "2 h 05 min", "3 min 20 s", "12 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def accuracies(values: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {100 * value:.1f} %" for label, value in values.items())


def trouble(event: Event) -> str | None:
    """What a user must hear of, whatever else is shown."""
    if isinstance(event, Damaged):
        where = f"; moved to {event.moved_to}" if event.moved_to else ""
        return f"damaged: unit {event.key[:12]} is done again: {event.why}{where}"
    if isinstance(event, Failed):
        return f"failed: {event.label}, unit {event.key[:12]}: {event.error}"
    return None


class _Said:
    """Troubles, each sentence once: a strategy that cannot run fails in every unit."""

    def __init__(self) -> None:
        self._errors: set[str] = set()

    def new(self, event: Event) -> str | None:
        text = trouble(event)
        if isinstance(event, Failed):
            if event.error in self._errors:
                return None
            self._errors.add(event.error)
        return text


class Lines:
    """Plain lines: the forecast, each tenth of the sweep, troubles."""

    def __init__(self) -> None:
        self._said = _Said()
        self._tenth = 0

    def notify(self, event: Event) -> None:
        text = self._said.new(event)
        if text is not None:
            click.echo(text, err=True)
        if isinstance(event, Planned):
            click.echo(plan(event), err=True)
            self._tenth = 10 * event.finished // max(1, event.units)
        elif isinstance(event, Progress) and 10 * event.finished // event.units > self._tenth:
            self._tenth = 10 * event.finished // event.units
            left = "" if event.seconds_left is None else f", {duration(event.seconds_left)} left"
            click.echo(
                f"{10 * self._tenth:3d} %  {event.finished}/{event.units} units, "
                f"{event.tokens} tokens{left}  {accuracies(event.accuracy)}",
                err=True,
            )

    def close(self) -> None: ...


class Bar:
    """A bar with units, tokens, accuracy so far and time left; it is wiped at the end."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._said = _Said()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("loading", total=None, numbers="")
        self._progress.start()

    def notify(self, event: Event) -> None:
        text = self._said.new(event)
        if text is not None:
            self._progress.console.print(plain(text), markup=False, highlight=False)
        if isinstance(event, Planned):
            self._progress.console.print(plain(plan(event)), markup=False, highlight=False)
            self._progress.update(
                self._task, description="units", total=event.units, completed=event.finished
            )
        elif isinstance(event, Finished):
            self._progress.update(self._task, description=plain(event.label))
        elif isinstance(event, Progress):
            left = "" if event.seconds_left is None else f"{duration(event.seconds_left)} left  "
            numbers = f"{event.tokens} tokens  {left}{accuracies(event.accuracy)}"
            self._progress.update(self._task, completed=event.finished, numbers=plain(numbers))
        elif isinstance(event, Ended):
            self._progress.stop()

    def close(self) -> None:
        self._progress.stop()


def summary(event: Ended, out: str) -> list[str]:
    """The last lines on stdout."""
    lines = [
        f"{'units':12}{event.finished} of {event.units}"
        + (f", {event.failed} failed" if event.failed else ""),
        f"{'tokens':12}{event.tokens}",
    ]
    lines += [f"{'accuracy':12}{100 * v:5.1f} %  {label}" for label, v in event.accuracy.items()]
    if event.stopped:
        lines.append(f"{'stopped':12}{event.stopped}: run it again to go on")
    return [*lines, f"{'written':12}{out}"]
