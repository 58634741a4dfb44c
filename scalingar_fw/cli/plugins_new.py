"""`scalingar plugins new NAME`: a small installable project whose tests pass as they are."""

from __future__ import annotations

import keyword
import re
import sys
from importlib import resources
from pathlib import Path

import click
from attrs import frozen

from scalingar_fw.cli.group import common_options
from scalingar_fw.cli.listing import plugins
from scalingar_fw.errors import ScalingarError


@frozen
class _Template:
    """What is written for a kind.

    `noun`, `summary`: in the README, and in the registration. `use`: a command that uses it.
    `bad`: a setting out of its range, whose refusal is tested; "" where there is no setting.
    `test`: the template of its tests.
    """

    noun: str
    summary: str
    use: str
    bad: str = ""
    test: str = "test_conformance.py.txt"


_GENERATE = 'scalingar generate "a red circle" '
_KINDS = {
    "confidence": _Template(
        "A confidence estimator",
        "the mean margin so far",
        _GENERATE
        + "--strategy best-of-n --set confidence={{name}} --set selector=final-confidence",
        "rate=0.0",
    ),
    "guidance": _Template(
        "A guidance schedule",
        "linear from a share of the base scale",
        _GENERATE + "--set guidance={{name}}",
        "start=2.0",
    ),
    "termination": _Template(
        "A termination policy",
        "ends the worse half, once",
        _GENERATE + "-n 4 --set confidence=log-prob --set termination={{name}}",
        "at=1.0",
    ),
    "sampler": _Template(
        "A sampler", "min-p sampling", _GENERATE + "--set sampler={{name}}", "share=0.0"
    ),
    "selector": _Template(
        "A selector",
        "the candidate nearest to all others",
        _GENERATE + "--strategy best-of-n --set selector={{name}}",
    ),
    "reward": _Template(
        "A reward",
        "how much brightness varies",
        _GENERATE + "--strategy best-of-n --set selector.reward={{name}}",
    ),
    "strategy": _Template(
        "A strategy", "the highest mean margin of n", _GENERATE + "--strategy {{name}}"
    ),
    "model": _Template(
        "A model adapter",
        "random weights, to be replaced",
        _GENERATE + "--model {{name}}",
        test="test_model.py.txt",
    ),
    "benchmark": _Template(
        "A benchmark",
        "is what should be red, red?",
        "scalingar bench --benchmark {{name}} --strategy base --out runs/{{name}}",
        test="test_benchmark.py.txt",
    ),
    "observer": _Template("An observer", "", _GENERATE + "-n 4", test="test_observer.py.txt"),
}

_REFUSED = """

def test_a_setting_out_of_range_is_refused():
    with pytest.raises(ScalingarError, match="{{bad}}"):
        {{Class}}({{bad}})"""


@plugins.command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(list(_KINDS)),
    default="confidence",
    help="What it adds (default: confidence, a confidence estimator).",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The project's folder (default: NAME).",
)
@common_options
def new(name: str, kind: str, out: Path | None) -> None:
    """Write a plugin project NAME: component, pyproject, conformance test, README."""
    folder = Path(name) if out is None else out
    for path in write_project(name, folder, kind):
        click.echo(path)
    click.echo(f"Next: cd {folder} && pip install -e '.[testing]' && pytest", err=True)


def write_project(name: str, folder: Path, kind: str = "confidence") -> list[Path]:
    """The files written; refuses a folder that holds anything."""
    package = package_of(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ScalingarError(f"{str(folder)!r} exists already: choose another --out.")
    template = _KINDS[kind]
    source = resources.files("scalingar_fw.templates") / "plugin"
    written = []
    words = _words(name, package, kind, template)
    for place, file in _files(kind, template).items():
        path = folder / _filled(place, words)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = _filled((source / file).read_text(encoding="utf-8"), words)
        path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        written.append(path)
    return written


def _files(kind: str, template: _Template) -> dict[str, str]:
    """Where each file goes, and the template that it is made from."""
    observer = kind == "observer"
    return {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        "src/{{package}}/__init__.py": "init_observer.py.txt" if observer else "init.py.txt",
        f"src/{{{{package}}}}/{kind}.py": f"{kind}.py.txt",
        "tests/test_conformance.py": template.test,
    }


def _words(name: str, package: str, kind: str, template: _Template) -> dict[str, str]:
    cls = "".join(word.capitalize() for word in re.split(r"[-_.]+", name))
    target = f"{package}.{kind}:{cls}"
    checked = {
        "strategy": f"scalingar check {package}.{kind}:make_{package}",
        "benchmark": "scalingar show {{name}}",
        "observer": f"scalingar check src/{package}/observer.py",
    }
    return {
        # Phrases first: they hold words that come after them.
        "refused": _REFUSED if template.bad else "",
        "use": template.use,
        "check": checked.get(kind, f"scalingar check {target}"),
        "imports": ", ScalingarError" if template.bad else "",
        "noun": template.noun,
        "summary": template.summary,
        "bad": template.bad,
        "kind": kind,
        "object": f"make_{package}" if kind == "strategy" else cls,
        "function": f"make_{package}",
        "Class": cls,
        "name": name,
        "package": package,
    }


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
