"""Tables of documents that are bound to CSV files: the file holds the numbers, the document shows them.

A Markdown table belongs to a file by the comment above it, with a path relative to the document:

    <!-- table: results/overall.csv -->
    | strategy | accuracy |
    | --- | --- |
    | `base` | 0.588 [0.529, 0.645] |

The file begins with comment lines that say where its numbers come from and how they are shown:

    # command: scalingar compare runs/test --csv overall.csv
    # seeds: 0
    # weights: 3f0c... (sha256)
    # show: strategy = `{strategy}`
    # show: accuracy = {accuracy:.3f} [{low:.3f}, {high:.3f}] or {accuracy:.3f}
    # rows: task = overall
    strategy,accuracy,low,high,task
    base,0.5883,0.529,0.645,overall

`show` lines are the columns in their order. An alternative after " or " is taken where a field of
the one before is empty; where all are, the cell is empty. Beside Python's own formats there are
`:p` (a probability: "< 0.001", which a field may say itself), `:si` (FLOPs, "1.70 G") and `:+.1pct` (a share in per cent). `rows`
keeps the rows whose field has that value; several lines must all hold. `show NAME:` and `rows NAME:`
belong to the view NAME of the file, which the comment asks for as `<!-- table: FILE NAME -->`.

    python -m scalingar_analysis.tables.published docs/*.md           # exit 1 if one differs
    python -m scalingar_analysis.tables.published --write docs/*.md   # draw them anew
"""

from __future__ import annotations

import csv
import io
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from attrs import field, frozen

from scalingar_analysis.tables.render import engineering, markdown_table, probability
from scalingar_fw.errors import ScalingarError

#: What a file must say of its numbers.
REQUIRED = ("command", "seeds", "weights")

MARKER = re.compile(r"^<!-- table: (?P<file>\S+?)(?: (?P<view>\S+))? -->$")


@frozen
class View:
    """How a document shows a file: columns as (heading, format), and which rows."""

    columns: tuple[tuple[str, str], ...]
    where: tuple[tuple[str, str], ...]


@frozen
class Published:
    """A file of numbers: `about`, its comment lines by key; `rows`, as text by column."""

    path: Path
    about: Mapping[str, Sequence[str]] = field(repr=False)
    columns: tuple[str, ...] = field(repr=False)
    rows: tuple[Mapping[str, str], ...] = field(repr=False)

    @property
    def views(self) -> set[str]:
        """Names of its views; "" is the one without a name."""
        return {k.removeprefix("show").strip() for k in self.about if k.split()[0] == "show"}

    def view(self, name: str) -> View:
        key = f" {name}" if name else ""
        pairs = []
        for kind in ("show", "rows"):
            lines = self.about.get(kind + key, ())
            pairs.append(tuple(_pair(self.path, kind, line) for line in lines))
        if not pairs[0]:
            known = ", ".join(sorted(v or "(no name)" for v in self.views)) or "none"
            raise ScalingarError(f"{self.path} has no view {name!r} ({known}): add `# show{key}:`.")
        return View(*pairs)

    def table(self, name: str = "") -> str:
        """The Markdown table of a view.

        Raises:
            ScalingarError: a format names no column, or no row is left.
        """
        view = self.view(name)
        for key, _ in view.where:
            if key not in self.columns:
                raise ScalingarError(f"{self.path}: `# rows` names {key!r}, which is no column.")
        kept = [row for row in self.rows if all(row[k] == v for k, v in view.where)]
        if not kept:
            raise ScalingarError(f"{self.path}: no row has {dict(view.where)}.")
        cells = [[self._cell(fmt, row) for _, fmt in view.columns] for row in kept]
        return markdown_table([heading for heading, _ in view.columns], cells)

    def _cell(self, form: str, row: Mapping[str, str]) -> str:
        for choice in form.split(" or "):
            shown = self._filled(choice, row)
            if shown is not None:
                return shown
        return ""

    def _filled(self, form: str, row: Mapping[str, str]) -> str | None:
        """The text; None where a field that it names is empty."""
        out = []
        for literal, name, spec, _ in string.Formatter().parse(form):
            out.append(literal)
            if name is None:
                continue
            if name not in row:
                raise ScalingarError(
                    f"{self.path}: `# show` names {name!r}; its columns are {', '.join(row)}."
                )
            if row[name] == "":
                return None
            out.append(_formatted(self.path, name, row[name], spec or ""))
        return "".join(out)


def _formatted(path: Path, name: str, text: str, spec: str) -> str:
    if not spec or (spec == "p" and text.startswith("<")):
        return text
    try:
        value = float(text)
    except ValueError as error:
        raise ScalingarError(
            f"{path}: {name}={text!r} must be a number to be shown as {spec!r}."
        ) from error
    if spec == "p":
        return probability(value)
    if spec == "si":
        return engineering(value)
    if spec.endswith("pct"):
        return _signless(format(100 * value, spec.removesuffix("pct") + "f"))
    return _signless(format(value, spec))


def _signless(text: str) -> str:
    """What rounds to 0 has no minus."""
    return text.replace("-", "") if re.fullmatch(r"-0(\.0*)?", text) else text


def _pair(path: Path, kind: str, line: str) -> tuple[str, str]:
    left, equals, right = line.partition(" = ")
    if not equals:
        raise ScalingarError(f"{path}: `# {kind}: {line}` must be NAME = VALUE.")
    return left.strip(), right


def read(path: Path) -> Published:
    """A file of numbers.

    Raises:
        ScalingarError: it cannot be read, lacks one of `REQUIRED`, or a row has another length.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScalingarError(f"{path} cannot be read: {error}.") from error
    about: dict[str, list[str]] = {}
    body = [line for line in lines if not line.startswith("#")]
    for line in lines:
        if line.startswith("#"):
            key, colon, value = line[1:].partition(":")
            if not colon:
                raise ScalingarError(f"{path}: `{line}` must be `# KEY: VALUE`.")
            about.setdefault(" ".join(key.split()), []).append(value.strip())
    lacking = [key for key in REQUIRED if key not in about]
    if lacking:
        raise ScalingarError(
            f"{path} does not say its {', '.join(lacking)}: begin it with `# {lacking[0]}: ...`."
        )
    table = list(csv.reader(body))
    if len(table) < 2:
        raise ScalingarError(f"{path} holds no row.")
    columns, *rows = table
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise ScalingarError(
                f"{path}: row {number} has {len(row)} fields, the header {len(columns)}."
            )
    found = tuple(dict(zip(columns, row, strict=True)) for row in rows)
    return Published(path, about, tuple(columns), found)


def write(path: Path, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of numbers; `about`: a text, or several for repeated keys."""
    out = io.StringIO()
    for key, value in about.items():
        for one in [value] if isinstance(value, str) else value:
            out.write(f"# {key}: {one}\n")
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(out.getvalue(), encoding="utf-8", newline="\n")


@frozen
class Place:
    """A bound table in a document: lines [start, end) hold it, below the marker's line."""

    file: str
    view: str
    start: int
    end: int


def places(lines: Sequence[str]) -> list[Place]:
    """The bound tables of a document, none inside of a code block."""
    out, fenced = [], False
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        found = None if fenced else MARKER.match(line)
        if found is None:
            continue
        start = end = number + 1
        while end < len(lines) and lines[end].startswith("|"):
            end += 1
        out.append(Place(found["file"], found["view"] or "", start, end))
    return out


def drawn(document: Path) -> str:
    """The document with every bound table as its file has it.

    Raises:
        ScalingarError: a file is not there or not right; names document and line.
    """
    lines = document.read_text(encoding="utf-8").splitlines(keepends=True)
    for place in reversed(places([line.rstrip("\n") for line in lines])):
        try:
            table = read(document.parent / place.file).table(place.view)
        except ScalingarError as error:
            raise ScalingarError(f"{document}, line {place.start}: {error}") from error
        lines[place.start : place.end] = [table + "\n"]
    return "".join(lines)


@click.command(help=__doc__)
@click.argument("documents", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--write", "overwrite", is_flag=True, help="Draw the tables anew.")
def main(documents: tuple[Path, ...], overwrite: bool) -> None:
    stale = []
    for document in documents:
        try:
            text = drawn(document)
        except ScalingarError as error:
            raise click.UsageError(str(error)) from error
        if text != document.read_text(encoding="utf-8"):
            stale.append(document)
            if overwrite:
                document.write_text(text, encoding="utf-8")
    for document in stale:
        click.echo(f"{document}: {'drawn anew' if overwrite else 'differs from its CSV files'}")
    if stale and not overwrite:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
