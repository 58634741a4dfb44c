"""What a user installs: fast to import, complete, and nothing beside it."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="needs tomli before Python 3.11")

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ["scalingar_analysis", "scalingar_fw", "scalingar_plugins", "scalingar_strategies"]


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module}, of the extra dev")


# --- import ------------------------------------------------------------------------------------

HEAVY = ["torch", "matplotlib", "pyarrow", "PIL", "transformers", "pytest", "hypothesis"]


@pytest.mark.parametrize(
    "code",
    [
        "import scalingar_fw",
        "import scalingar_fw; scalingar_fw.__version__; dir(scalingar_fw)",
        "import scalingar_fw.cli",
        "import scalingar_plugins, scalingar_strategies, scalingar_analysis",
    ],
)
def test_importing_the_packages_imports_nothing_heavy(code: str) -> None:
    loaded = python(f"{code}; import sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_every_public_name_can_be_imported() -> None:
    code = "import scalingar_fw as s; print(len([getattr(s, name) for name in s.__all__]))"
    assert int(python(code)) > 20


def test_type_checkers_and_python_find_a_public_name_in_the_same_place() -> None:
    """The table that names are loaded by, the imports that type checkers read, and `__all__`."""
    import scalingar_fw

    tree = ast.parse(Path(scalingar_fw.__file__).read_text(encoding="utf-8"))
    (typing,) = (node for node in tree.body if isinstance(node, ast.If))
    shown = {
        alias.name: node.module.removeprefix("scalingar_fw.")
        for node in typing.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
        if alias.name == alias.asname
    }
    assert shown == scalingar_fw._HOME
    assert sorted(scalingar_fw.__all__) == sorted({*shown, "__version__"})


def modules_of(name: str) -> list[str]:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def test_every_module_of_the_core_can_be_imported_first() -> None:
    """None leans on another one having been imported before it."""
    modules = modules_of("scalingar_fw")
    assert len(modules) > 20
    python(
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    for loaded in [m for m in sys.modules if m.startswith('scalingar')]:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )


@pytest.mark.parametrize("name", PACKAGES[:1] + PACKAGES[2:])
def test_every_module_can_be_imported_without_its_extras(name: str) -> None:
    python(f"import importlib\nfor name in {modules_of(name)}: importlib.import_module(name)")


def test_imports_point_downwards() -> None:
    needs("importlinter")
    done = subprocess.run(
        ["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


# --- metadata ----------------------------------------------------------------------------------


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["project"]["version"]
    assert importlib.metadata.version("scalingar-fw") == version
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)
    assert released[0] == version


def test_the_citation_names_the_paper_and_its_authors() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (paper,) = citation["references"]
    assert "Scaling Confidence for Autoregressive Image Generation" in paper["title"]
    assert paper["identifiers"][0]["value"] == "arXiv:2509.26376"
    assert len(paper["authors"]) == 7


def test_each_package_registers_through_its_own_line() -> None:
    points = importlib.metadata.entry_points(group="scalingar_fw")
    own = {p.name: p.value for p in points if p.dist and p.dist.name == "scalingar-fw"}
    assert own == {
        "plugins": "scalingar_plugins",
        "strategies": "scalingar_strategies",
        "analysis": "scalingar_analysis",
    }
    for point in points:
        assert hasattr(point.load(), "scalingar_register")


def test_the_command_is_installed() -> None:
    (point,) = importlib.metadata.entry_points(group="console_scripts", name="scalingar")
    assert callable(point.load())


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_says_that_it_is_typed(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    assert (Path(spec.submodule_search_locations[0]) / "py.typed").is_file()


# --- pins --------------------------------------------------------------------------------------


def pins() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        requirement = Requirement(line)
        found.setdefault(canonical(requirement.name), []).append(requirement)
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    # Some dependencies of wandb exist as pre-releases only.
    line = r'[a-z0-9-]+==[0-9][0-9.]*((a|b|rc)[0-9]+)?( ; python_version (<|>=) "3\.\d+")?'
    for entry in text.splitlines():
        assert re.fullmatch(line, entry), entry
    assert text.splitlines() == sorted(text.splitlines(), key=lambda e: e.split("==")[0])


def test_every_package_that_any_extra_brings_is_pinned() -> None:
    """Walks the requirements of what is installed, from ours down, extras included."""
    pinned = pins()
    missing, absent, seen = set(), set(), set()
    extras = list(PROJECT["project"]["optional-dependencies"])
    queue = [Requirement(f"scalingar-fw[{','.join(extras)}]")]
    while queue:
        requirement = queue.pop()
        key = canonical(requirement.name), frozenset(requirement.extras)
        if key in seen:
            continue
        seen.add(key)
        if key[0] != "scalingar-fw" and not _applies(pinned.get(key[0], [])):
            missing.add(key[0])
        try:
            wanted = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            absent.add(key[0])
            continue
        for text in wanted:
            child = Requirement(text)
            marker = child.marker
            environments = [{"extra": e} for e in requirement.extras] or [{"extra": ""}]
            if marker is None or any(marker.evaluate(e) for e in environments):
                queue.append(child)
    # A GPU build of torch brings its own libraries, which its version alone decides.
    unpinned = {m for m in missing if not re.match(r"nvidia|cuda|triton", m)}
    assert not unpinned
    if absent:
        pytest.skip(f"checked without what is not installed: {', '.join(sorted(absent))}")


def _applies(pinned: list[Requirement]) -> bool:
    return any(p.marker is None or p.marker.evaluate() for p in pinned)


# --- the wheel ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    needs("build")
    needs("hatchling")
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_four_packages_and_no_fifth_name(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_no_tests_caches_or_notes(wheel: zipfile.ZipFile) -> None:
    odd = [n for n in wheel.namelist() if re.search(r"/tests?/|__pycache__|\.pyc$|\.ipynb", n)]
    assert odd == []


def test_the_wheel_is_complete(wheel: zipfile.ZipFile) -> None:
    """Every file of the source packages that git knows is in the wheel: weights and cards too."""
    listed = subprocess.run(
        ["git", "ls-files", "scalingar_fw", "plugins", "strategies", "analysis"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    expected = {re.sub(r"^(plugins|strategies|analysis)/", "", n) for n in listed.stdout.split()}
    assert expected - set(wheel.namelist()) == set()
    assert {f"{name}/py.typed" for name in PACKAGES} <= set(wheel.namelist())


def test_the_wheel_is_small_enough_to_download_in_a_moment(wheel: zipfile.ZipFile) -> None:
    assert sum(entry.compress_size for entry in wheel.infolist()) < 20 << 20
