"""Names for the command line and for configuration files: a lazy table, filled by plugins.

Code passes objects; only text needs names. A registered target is a string `module:attribute`
that is imported when it is used, so listing everything imports nothing. Full names are
`distribution/name`; the short name works where it is unique.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from scalingar_fw.errors import PluginWarning, ScalingarError, shown, unknown_name
from scalingar_fw.hooks import EVENTS, make_hooks
from scalingar_fw.hookspecs import PROJECT
from scalingar_fw.trust import check_walk, described, foreign_code

KINDS = (
    "confidence",
    "guidance",
    "termination",
    "sampler",
    "selector",
    "reward",
    "strategy",
    "model",
    "benchmark",
    "command",
    "artefact",
)
#: The kinds that a strategy is composed of (a reward is a part of a selector).
COMPONENTS = KINDS[:5]

ENTRY_POINTS = PROJECT
#: Comma-separated entry-point names to load, or "none"; unset loads all.
LOAD_VARIABLE = "SCALINGAR_LOAD_PLUGINS"
#: Plugin files to load beside the installed ones, separated as in PATH.
FILES_VARIABLE = "SCALINGAR_PLUGINS"


@frozen
class Entry:
    """One registered thing. `target`: `module:attribute`, or the object itself."""

    kind: str
    name: str
    package: str
    target: Any
    summary: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.package}/{self.name}"

    @property
    def path(self) -> str:
        """`module:qualified name` of the target, without importing it."""
        if isinstance(self.target, str):
            return self.target
        owner = self.target if hasattr(self.target, "__qualname__") else type(self.target)
        return f"{owner.__module__}:{owner.__qualname__}"

    def load(self) -> Any:
        """Import and return the target; `ScalingarError` says which plugin is at fault."""
        if not isinstance(self.target, str):
            return self.target
        try:
            with foreign_code():
                found = import_path(self.target)
        except Exception as error:
            raise ScalingarError(
                f"{self.kind} {self.full_name!r} could not be loaded from {self.target!r}: "
                f"{described(error)}. Fix or uninstall its plugin."
            ) from error
        _check_target(self.kind, self.full_name, found)
        return found


def _check_target(kind: str, name: str, target: Any) -> None:
    """Refuse what cannot be a component of its kind, with the line to write; other kinds are
    checked by whoever makes them."""
    if kind not in (*COMPONENTS, "reward"):
        return
    # torch is imported from here on: a target that is no text has done so, or will.
    from scalingar_fw.decoding.components import check_target

    try:
        check_target(kind, target)
    except ScalingarError as error:
        raise ScalingarError(f"{kind} {name!r}: {error}") from None


def import_path(path: str, what: str | None = None) -> Any:
    """The object at `module:attribute` (attribute may be dotted).

    `what`: the key that holds the path, where it may come from a file (see trust.py).
    """
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise ScalingarError(f"{path!r} must have the form package.module:name.")
    found = importlib.import_module(module)
    for name in attribute.split("."):
        owner, found = found, getattr(found, name)
        if what is not None:
            check_walk(found, owner, name, path, what)
    return found


@frozen
class Plugin:
    """A loaded (or failed) entry point; `registered`: the (kind, full name) of what it added."""

    name: str
    distribution: str
    version: str
    error: str | None = None
    registered: tuple[tuple[str, str], ...] = ()


@define
class Registry:
    """What plugins registered. `add` is the hook's; `get` and `names` are everyone's.

    `observers`: plugins that also hear decoding events (see hookspecs.py), of every run.
    `modules`: the packages of loaded plugins, which a file may name as `module:attribute`.
    """

    entries: dict[tuple[str, str], Entry] = field(factory=dict)
    plugins: list[Plugin] = field(factory=list)
    observers: list[Any] = field(factory=list)
    modules: set[str] = field(factory=set)
    _package: str = "local"

    def add(self, kind: str, name: str, target: Any, summary: str = "") -> None:
        """Register `target` (an object or `"module:attribute"`) as `name`.

        Args:
            kind: one of `KINDS`.
            name: the short name; the full one is `package/name`.
            target: strings are imported at first use: prefer them, they keep start-up fast.
            summary: one line for listings (no import is made to find one).
        """
        if kind not in KINDS:
            raise unknown_name("kind of plugin", kind, KINDS)
        plain = isinstance(name, str) and name.isprintable() and name == name.strip()
        if not plain or not name or "/" in name:
            raise ScalingarError(f"name={name!r} must be text without '/' or outer spaces.")
        if not isinstance(summary, str):
            raise ScalingarError(
                f"{kind} {name!r}: summary={shown(summary)} must be text, one line for listings."
            )
        if not isinstance(target, str):
            _check_target(kind, name, target)
        entry = Entry(kind, name, self._package, target, summary)
        key = (kind, entry.full_name)
        if key in self.entries:
            raise ScalingarError(f"{kind} {entry.full_name!r} is registered twice: rename one.")
        self.entries[key] = entry

    def of_kind(self, *kinds: str) -> list[Entry]:
        return [e for e in self.entries.values() if e.kind in kinds]

    def names(self, kind: str) -> list[str]:
        """Short names where unique, full names elsewhere; sorted."""
        entries = self.of_kind(kind)
        short = Counter(e.name for e in entries)
        return sorted(e.name if short[e.name] == 1 else e.full_name for e in entries)

    def find(self, kind: str, name: str) -> Entry:
        """The entry by short or full name; raises with suggestions on a miss or an ambiguity."""
        matches = [e for e in self.of_kind(kind) if name in (e.name, e.full_name)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            full = " or ".join(repr(e.full_name) for e in matches)
            raise ScalingarError(f"{kind} {name!r} is offered by several plugins: say {full}.")
        raise unknown_name(kind, name, self.names(kind))

    def get(self, kind: str, name: str) -> Any:
        """The registered object, imported if need be."""
        return self.find(kind, name).load()

    def name_of(self, kind: str, target: Any) -> str | None:
        """The full name under which a class or function is registered, or None."""
        path = f"{target.__module__}:{target.__qualname__}"
        for entry in self.of_kind(kind):
            if entry.path == path:
                return entry.full_name
        return None

    def register(self, plugin: Any, package: str) -> None:
        """Let one plugin (an object or module with `scalingar_register`) add its entries.

        All or nothing: a plugin that fails half-way leaves no entry behind.
        """
        before, self._package = dict(self.entries), package
        try:
            if hasattr(plugin, "scalingar_register"):
                plugin.scalingar_register(registry=self)
            if any(hasattr(plugin, event) for event in EVENTS):
                make_hooks([plugin])  # a hook that does not fit is refused here, not in a run
                self.observers.append(plugin)
        except BaseException:
            self.entries = before
            raise
        finally:
            self._package = "local"


def _selected(names: Iterable[str]) -> set[str]:
    """The entry points to load, by `SCALINGAR_LOAD_PLUGINS`."""
    wanted = os.environ.get(LOAD_VARIABLE)
    everything = set(names)
    if wanted is None:
        return everything
    chosen = {w.strip() for w in wanted.split(",") if w.strip()} - {"none"}
    missing = chosen - everything
    if missing:
        raise unknown_name(f"plugin in {LOAD_VARIABLE}", min(missing), everything)
    return chosen


def load_registry(files: Sequence[Path] = ()) -> Registry:
    """A registry with every installed plugin and those of `files`.

    A plugin that fails is recorded in `registry.plugins`, reported as a `PluginWarning` and
    skipped; it never stops the others.
    """
    registry = Registry()
    points = list(importlib.metadata.entry_points(group=ENTRY_POINTS))
    selected = _selected(p.name for p in points)
    for point in points:
        if point.name not in selected:
            continue
        distribution = point.dist.name if point.dist is not None else point.name
        version = point.dist.version if point.dist is not None else "unknown"
        _register(registry, point.load, point.name, distribution, version)
    for path in files:
        _register(registry, functools.partial(_import_file, path), str(path), path.stem, "file")
    return registry


def _register(registry: Registry, load: Any, name: str, distribution: str, version: str) -> None:
    error, before = None, set(registry.entries)
    try:
        with foreign_code():  # it may be a script that was never meant to be imported
            plugin = load()
            if not any(hasattr(plugin, name) for name in ("scalingar_register", *EVENTS)):
                raise ScalingarError(
                    "it defines no scalingar_register(registry), and hears no event"
                )
            registry.register(plugin, distribution)
        owner = getattr(plugin, "__name__", type(plugin).__module__)
        registry.modules.add(str(owner).partition(".")[0])
    except Exception as problem:
        error = described(problem)
        warnings.warn(f"Plugin {name!r} is skipped: {error}", PluginWarning, stacklevel=3)
    added = tuple(key for key in registry.entries if key not in before)
    registry.plugins.append(Plugin(name, distribution, version, error, added))


def module_name(path: Path) -> str:
    """What the module of a plugin file is called in this process."""
    return f"scalingar_plugin_{path.stem}"


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise ScalingarError(f"plugin file {str(path)!r} does not exist")
    spec = importlib.util.spec_from_file_location(module_name(path), path)
    if spec is None or spec.loader is None:
        raise ScalingarError(f"plugin file {str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Found by `module:Class` paths, pickle and dataclasses, which all look here for a module.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def environment_files() -> list[Path]:
    """The plugin files that `SCALINGAR_PLUGINS` names."""
    listed = os.environ.get(FILES_VARIABLE, "").split(os.pathsep)
    return [Path(name.strip()) for name in listed if name.strip()]


@functools.cache
def default_registry() -> Registry:
    """The installed plugins and those of `SCALINGAR_PLUGINS`, loaded once per process; what names
    mean where no registry is passed."""
    return load_registry(environment_files())
