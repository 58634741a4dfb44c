"""What a file may import, and plugins that misbehave while they are imported."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scalingar_fw import Strategy
from scalingar_fw.config.serialization import build, import_named
from scalingar_fw.errors import PluginWarning, ScalingarError
from scalingar_fw.experiments.worker import Setup
from scalingar_fw.generation.plan import find_model
from scalingar_fw.registry import Registry, load_registry
from scalingar_fw.trust import ForeignExit, allow, allowed, foreign_code, modules_in, only_named


@pytest.fixture
def registry() -> Registry:
    return Registry(modules={"scalingar_plugins"})


@pytest.mark.parametrize(
    "path",
    [
        "builtins:exit",
        "torch.hub:load",
        "scalingar_fw.files:shutil.rmtree",  # out of an allowed module through what it imports
        "scalingar_fw.files:sha256_of.__globals__",
        "scalingar_fw.trust:re",
        "scalingar_fw_elsewhere:thing",
        "scalingar_fw.registry:import_module.__self__",
        "scalingar_fw.errors:Iterable",  # of another module, in an allowed one's names
    ],
)
def test_a_file_names_objects_of_the_framework_and_of_plugins_alone(
    registry: Registry, path: str
) -> None:
    with only_named(), pytest.raises(ScalingarError, match=r"comes from a file|could not be imp"):
        import_named(path, "strategy", registry)


def test_a_refusal_imports_nothing_and_names_key_and_remedy(registry: Registry) -> None:
    sys.modules.pop("this", None)  # printing when it is imported is all that it does
    with only_named(), pytest.raises(ScalingarError) as caught:
        find_model("this:s", registry)
    assert "this" not in sys.modules
    assert str(caught.value).startswith("model='this:s'")
    assert "--allow-import this" in str(caught.value)


def test_what_the_user_named_is_imported_and_what_lies_below_it(registry: Registry) -> None:
    with only_named(["json"]):
        assert import_named("json.decoder:JSONDecoder", "x", registry) is json.JSONDecoder
        allow("textwrap")
        assert callable(import_named("textwrap:dedent", "x", registry))
        assert allowed() == ("json", "textwrap")


def test_plugins_and_the_framework_are_what_a_file_may_name(registry: Registry) -> None:
    with only_named():
        assert build("sampler", "scalingar_fw.decoding.strategy:Multinomial", registry)
        assert build("guidance", "scalingar_plugins.guidance.schedules:CosineGuidance", registry)
        with pytest.raises(ScalingarError, match="comes from a file"):
            build("guidance", "scalingar_plugins.guidance.schedules:CosineGuidance", Registry())


def test_python_is_free(registry: Registry) -> None:
    assert import_named("json:JSONDecoder", "x", registry) is json.JSONDecoder
    assert allowed() is None


def test_words_of_a_command_line_that_name_modules() -> None:
    words = ["a.b:load", "--model=c:d", "selector.reward.scorer=e.f:g", "16:9", "a: b", "cuda:1"]
    assert modules_in(words) == {"a.b", "c", "e.f"}


def test_a_worker_elsewhere_is_told_what_its_driver_allows() -> None:
    setup = Setup(model="shapes", root=".", executor="local", imports=("mine",))
    travelled = json.loads(json.dumps(setup.to_data()))
    assert Setup.from_data(travelled) == setup
    code = (
        "import json, sys; from scalingar_fw.experiments.worker import Setup, Worker; "
        "from scalingar_fw import trust; "
        "Worker(Setup.from_data(json.loads(sys.argv[1]))); print(trust.allowed())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(travelled)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "('mine',)", done.stderr


# --- what is asked for, before it is called ----------------------------------------------------


def never() -> Strategy:
    raise AssertionError("called")


def gives_text() -> str:
    raise AssertionError("called")


def needs_more(thing: Any) -> Strategy:
    raise AssertionError("called")


@pytest.mark.parametrize(
    ("kind", "path", "why"),
    [
        ("strategy", "builtins:exit", "it is a"),
        ("strategy", "os:getcwd", "builtin"),
        ("strategy", "pathlib:Path", "the class Path is none"),
        ("strategy", f"{__name__}:gives_text", "the function gives a str"),
        ("strategy", f"{__name__}:needs_more", "takes no arguments"),
        ("sampler", "pathlib:Path", "the class Path is none"),
        ("sampler", "scalingar_fw.decoding.strategy:NoConfidence", "NoConfidence is none"),
        ("sampler", "math:pi", "it is a float"),
    ],
)
def test_an_object_of_another_kind_is_never_called(
    registry: Registry, kind: str, path: str, why: str
) -> None:
    with pytest.raises(ScalingarError) as caught:
        build(kind, path, registry)
    assert path in str(caught.value) and why in str(caught.value)


@pytest.mark.parametrize("path", ["torch.hub:load", "os:abort", "math:pi", f"{__name__}:never"])
def test_what_does_not_take_a_device_is_no_loader(registry: Registry, path: str) -> None:
    with pytest.raises(ScalingarError, match=r"no loader of a model|is no ModelAdapter"):
        find_model(path, registry)


# --- plugins while they are imported -----------------------------------------------------------


def plugin_file(tmp_path: Path, text: str, name: str = "odd.py") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


GOOD = "def scalingar_register(registry): registry.add('strategy', 'good', 'json:loads')\n"


@pytest.fixture(autouse=True)
def none_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "none")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("class Out(BaseException): ...\nraise Out('no')", "Out: no"),
        ("def scalingar_register(registry): raise SystemExit", "SystemExit"),
        (
            "def scalingar_register(registry): registry.add('strategy', 'x', 'a:b', summary=7)",
            "summary=7 must be text",
        ),
        (
            "def scalingar_register(registry): registry.add('strategy', 'x\\x1b[2J', 'a:b')",
            "must be text",
        ),
        ("def scalingar_register(registry): registry.add('strategy', 7, 'a:b')", "name=7"),
    ],
)
def test_a_plugin_that_wants_out_is_skipped_and_the_others_load(
    tmp_path: Path, text: str, said: str
) -> None:
    files = [plugin_file(tmp_path, text), plugin_file(tmp_path, GOOD, "good.py")]
    with pytest.warns(PluginWarning, match="odd.py' is skipped"):
        registry = load_registry(files)
    assert registry.names("strategy") == ["good"]
    assert said in str(registry.plugins[0].error)
    assert registry.modules == {"scalingar_plugin_good"}


def test_what_a_plugin_prints_while_it_is_imported_goes_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_registry([plugin_file(tmp_path, "print('hello')\n" + GOOD)])
    assert capsys.readouterr() == ("", "hello\n")


def test_what_a_lazy_target_prints_or_raises_is_isolated_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_exit.py").write_text("print('late')\nraise SystemExit(0)\n")
    registry = Registry()
    registry.add("strategy", "late", "late_exit:thing")
    with pytest.raises(ScalingarError, match=r"'local/late' could not be loaded .*SystemExit: 0"):
        registry.get("strategy", "late")
    assert capsys.readouterr() == ("", "late\n")


def test_a_key_that_somebody_presses_still_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), foreign_code():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ForeignExit), foreign_code():
        raise KeyboardInterrupt


def test_a_plugin_that_only_observes_is_loaded(tmp_path: Path) -> None:
    registry = load_registry([plugin_file(tmp_path, "def on_token(event): ...\n")])
    assert [p.error for p in registry.plugins] == [None]
    assert len(registry.observers) == 1


def test_thousands_of_names_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = "def scalingar_register(registry):\n for i in range(2000): registry.add('strategy', f's{i}', 'a:b')\n"
    registry = load_registry([plugin_file(tmp_path, many)])
    asked = []
    of_kind = Registry.of_kind

    def counted(self: Registry, *kinds: str) -> Any:
        asked.append(kinds)
        return of_kind(self, *kinds)

    monkeypatch.setattr(Registry, "of_kind", counted)
    from scalingar_fw.cli.listing import rows

    assert len(rows(registry, "strategies")) == 2000
    assert len(asked) < 10, "the work grows with the square of the names"
