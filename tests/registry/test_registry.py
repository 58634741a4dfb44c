"""Names for text: found lazily, refused helpfully, and never broken by somebody else's plugin."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from scalingar_fw.decoding.strategy import NeverTerminate
from scalingar_fw.errors import PluginWarning, ScalingarError
from scalingar_fw.registry import KINDS, Entry, Registry, import_path, load_registry


class Plugin:
    """A plugin whose registration is a function."""

    def __init__(self, register: Any) -> None:
        self.register = register

    def scalingar_register(self, registry: Registry) -> None:
        self.register(registry)


def offering(*names: str, kind: str = "strategy", target: Any = "json:loads") -> Plugin:
    return Plugin(lambda registry: [registry.add(kind, name, target) for name in names])


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(offering("base", "scalingar"), "builtin")
    return registry


def test_a_name_is_found_short_or_in_full(registry: Registry) -> None:
    assert registry.find("strategy", "base") is registry.find("strategy", "builtin/base")
    assert registry.find("strategy", "base").package == "builtin"


def test_a_target_is_imported_when_it_is_used_and_not_before() -> None:
    registry = Registry()
    registry.register(offering("absent", target="no_such_module:thing"), "builtin")
    assert registry.names("strategy") == ["absent"]
    assert registry.find("strategy", "absent").path == "no_such_module:thing"
    expected = (
        r"strategy 'builtin/absent' could not be loaded from 'no_such_module:thing': "
        r"ModuleNotFoundError: .* Fix or uninstall its plugin\."
    )
    with pytest.raises(ScalingarError, match=expected):
        registry.get("strategy", "absent")


def test_an_object_is_its_own_target() -> None:
    registry = Registry()
    registry.add("termination", "never", NeverTerminate)
    assert registry.get("termination", "never") is NeverTerminate
    assert registry.name_of("termination", NeverTerminate) == "local/never"
    assert (
        registry.find("termination", "never").path
        == "scalingar_fw.decoding.strategy:NeverTerminate"
    )
    assert (
        Entry("x", "y", "z", NeverTerminate()).path
        == "scalingar_fw.decoding.strategy:NeverTerminate"
    )


def test_a_class_knows_its_registered_name_through_its_path(registry: Registry) -> None:
    path = "scalingar_fw.decoding.strategy:NeverTerminate"
    registry.register(offering("never", kind="termination", target=path), "other")
    assert registry.name_of("termination", NeverTerminate) == "other/never"
    assert registry.name_of("termination", Plugin) is None


def test_a_miss_suggests_and_lists(registry: Registry) -> None:
    expected = (
        r"Unknown strategy 'scalinga'. Did you mean 'scalingar'\? Available: base, scalingar\."
    )
    with pytest.raises(ScalingarError, match=expected):
        registry.get("strategy", "scalinga")


def test_a_name_of_two_plugins_must_be_said_in_full(registry: Registry) -> None:
    registry.register(offering("base", target="json:dumps"), "theirs")
    expected = r"'base' is offered by several plugins: say 'builtin/base' or 'theirs/base'"
    with pytest.raises(ScalingarError, match=expected):
        registry.find("strategy", "base")
    assert registry.get("strategy", "theirs/base").__name__ == "dumps"
    assert registry.names("strategy") == ["builtin/base", "scalingar", "theirs/base"]


def test_the_same_name_may_mean_different_things_in_different_kinds(registry: Registry) -> None:
    registry.register(offering("base", kind="model", target="json:dumps"), "builtin")
    assert registry.get("model", "base").__name__ == "dumps"
    assert registry.get("strategy", "base").__name__ == "loads"
    assert {e.kind for e in registry.of_kind("model", "strategy")} == {"model", "strategy"}


@pytest.mark.parametrize("name", ["", "a/b", " a", "a "])
def test_a_name_that_could_not_be_typed_is_refused(name: str) -> None:
    with pytest.raises(ScalingarError, match="must be text without '/' or outer spaces"):
        Registry().add("strategy", name, "json:loads")


def test_an_unknown_kind_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ScalingarError, match=r"kind of plugin 'strategies'. Did you mean 'str"):
        Registry().add("strategies", "x", "json:loads")


def test_a_plugin_that_fails_half_way_leaves_nothing_behind(registry: Registry) -> None:
    def half(registry: Registry) -> None:
        registry.add("strategy", "new", "json:loads")
        registry.add("strategy", "new", "json:loads")

    before = dict(registry.entries)
    with pytest.raises(ScalingarError, match="'theirs/new' is registered twice: rename one"):
        registry.register(Plugin(half), "theirs")
    assert registry.entries == before
    registry.add("strategy", "mine", "json:loads")
    assert registry.find("strategy", "mine").package == "local", "the package is forgotten too"


@pytest.mark.parametrize("path", ["json", "json:", ":loads", ""])
def test_a_path_without_module_or_attribute_is_refused(path: str) -> None:
    with pytest.raises(ScalingarError, match=r"must have the form package\.module:name"):
        import_path(path)


def test_a_path_may_be_dotted_on_both_sides() -> None:
    assert import_path("importlib.metadata:EntryPoint.load") is EntryPoint.load


# --- loading -----------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Entry points by name, as text of modules; fill it, then load."""
    modules: dict[str, str] = {}

    def entry_points(group: str) -> list[EntryPoint]:
        assert group == "scalingar_fw"
        for name, text in modules.items():
            (tmp_path / f"installed_{name}.py").write_text(textwrap.dedent(text))
        return [EntryPoint(name, f"installed_{name}", group) for name in modules]

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    monkeypatch.delenv("SCALINGAR_LOAD_PLUGINS", raising=False)
    yield modules  # type: ignore[misc]
    for name in modules:
        sys.modules.pop(f"installed_{name}", None)


GOOD = """
def scalingar_register(registry):
    registry.add("strategy", "good", "json:loads", "works")
"""


def test_installed_plugins_register_themselves(installed: dict[str, str]) -> None:
    installed["good"] = GOOD
    registry = load_registry()
    assert registry.find("strategy", "good").summary == "works"
    assert [(p.name, p.error) for p in registry.plugins] == [("good", None)]
    assert registry.plugins[0].registered == (("strategy", "good/good"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def scalingar_register(registry): 1 / 0", "ZeroDivisionError"),
        ("x = 1", r"ScalingarError: it defines no scalingar_register\(registry\)"),
        ("def scalingar_register(): ...", "TypeError"),
        (
            "def scalingar_register(registry): registry.add('strategi', 'x', 'y:z')",
            "Did you mean 'strategy'",
        ),
    ],
)
def test_a_broken_plugin_is_skipped_reported_and_recorded(
    installed: dict[str, str], text: str, expected: str
) -> None:
    installed["broken"] = text
    installed["good"] = GOOD
    with pytest.warns(PluginWarning, match=f"Plugin 'broken' is skipped: .*{expected}"):
        registry = load_registry()
    assert registry.names("strategy") == ["good"]
    broken, good = registry.plugins
    assert broken.error is not None
    assert good.error is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("one", ["one"]), ("two, one", ["one", "two"]), ("none", []), ("", [])],
)
def test_the_environment_says_which_plugins_load(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch, value: str, expected: list[str]
) -> None:
    installed["one"] = GOOD.replace("good", "one")
    installed["two"] = GOOD.replace("good", "two")
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", value)
    assert load_registry().names("strategy") == expected


def test_a_plugin_asked_for_by_a_wrong_name_is_an_error(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed["one"] = GOOD
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "on")
    expected = r"Unknown plugin in SCALINGAR_LOAD_PLUGINS 'on'. Did you mean 'one'\?"
    with pytest.raises(ScalingarError, match=expected):
        load_registry()


def test_a_plugin_may_be_a_file(installed: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\n"
        "import dataclasses\n"
        "@dataclasses.dataclass\n"
        "class Thing:\n"
        "    size: int = 3\n"
        "def scalingar_register(registry):\n"
        "    registry.add('strategy', 'thing', Thing)\n"
    )
    registry = load_registry([path])
    thing = registry.get("strategy", "mine/thing")
    assert thing().size == 3
    assert import_path(registry.find("strategy", "thing").path) is thing


def test_a_plugin_file_that_does_not_exist_is_reported(
    installed: dict[str, str], tmp_path: Path
) -> None:
    with pytest.warns(PluginWarning, match=r"plugin file '.*none\.py' does not exist"):
        load_registry([tmp_path / "none.py"])


# --- what is shipped ---------------------------------------------------------------------------


def test_every_shipped_entry_has_a_summary_and_a_lazy_target() -> None:
    registry = load_registry()
    assert [p.error for p in registry.plugins if p.distribution == "scalingar-fw"] == [None] * 3
    own = [e for e in registry.entries.values() if e.package == "scalingar-fw"]
    assert len(own) > 20
    for entry in own:
        assert entry.kind in KINDS
        assert entry.summary, entry.full_name
        assert isinstance(entry.target, str), f"{entry.full_name} is imported at start-up"


def test_listing_every_name_imports_no_torch() -> None:
    code = (
        "import sys; from scalingar_fw.registry import load_registry; "
        "assert load_registry().names('strategy'); "
        "print([m for m in ('torch', 'matplotlib', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
