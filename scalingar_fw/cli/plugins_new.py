"""`scalingar plugins new NAME`: a small installable project whose tests pass as they are."""

from __future__ import annotations

import keyword
import re
import sys
from importlib import resources
from pathlib import Path

import click

from scalingar_fw.cli.group import common_options
from scalingar_fw.cli.listing import plugins
from scalingar_fw.errors import ScalingarError

#: Where each template goes.
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "init.py.txt": "src/{{package}}/__init__.py",
    "confidence.py.txt": "src/{{package}}/confidence.py",
    "test_conformance.py.txt": "tests/test_conformance.py",
}


@plugins.command("new")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The project's folder (default: NAME).",
)
@common_options
def new(name: str, out: Path | None) -> None:
    """Write a plugin project NAME: component, pyproject, conformance test, README."""
    folder = Path(name) if out is None else out
    for path in write_project(name, folder):
        click.echo(path)
    click.echo(f"Next: cd {folder} && pip install -e '.[testing]' && pytest", err=True)


def write_project(name: str, folder: Path) -> list[Path]:
    """The files written; refuses a folder that holds anything."""
    package = package_of(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ScalingarError(f"{str(folder)!r} exists already: choose another --out.")
    words = {
        "name": name,
        "package": package,
        "Class": "".join(word.capitalize() for word in re.split(r"[-_.]+", name)),
    }
    source = resources.files("scalingar_fw.templates") / "plugin"
    written = []
    for template, place in _FILES.items():
        path = folder / _filled(place, words)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (source / template).read_text(encoding="utf-8")
        path.write_text(_filled(text, words), encoding="utf-8")
        written.append(path)
    return written


def package_of(name: str) -> str:
    """The import name; raises for a name that no package can have."""
    package = re.sub(r"[-.]+", "_", name)
    taken = package in sys.stdlib_module_names or package.startswith("scalingar_fw")
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", name) or keyword.iskeyword(package):
        raise ScalingarError(
            f"name={name!r} must be lower-case words joined by hyphens, such as my-confidence."
        )
    if taken:
        raise ScalingarError(f"name={name!r} is taken by another package: choose another.")
    return package


def _filled(text: str, words: dict[str, str]) -> str:
    for key, value in words.items():
        text = text.replace("{{" + key + "}}", value)
    return text


__all__ = ["new", "package_of", "plugins", "write_project"]
