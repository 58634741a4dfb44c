"""Families that are more than a file: words of a command line, and a plugin's source."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner
from families import FIXTURES, TEXTS, Family, sometimes_damaged
from hypothesis import strategies as st

from scalingar_fw import PluginWarning, load_registry
from scalingar_fw.cli import main

# --- command lines -------------------------------------------------------------------------------

#: None of these decodes: what does is tried by the tests of `generate` and `bench`.
COMMANDS = st.sampled_from(
    [
        ["list", "strategies"],
        ["list"],
        ["show", "scalingar"],
        ["show"],
        ["plugins"],
        ["compare", "store"],
        ["compare"],
        ["export", "geneval", "store", "out"],
        ["import", "geneval", "store", "store/store.json"],
        ["score", "store"],
        ["generate", "--model", "nowhere"],
        ["generate", "--model", "nowhere", "--config", "store/sweep.yaml"],
        ["bench", "--out", "out", "--model", "nowhere"],
        ["bench", "--out", "out", "--config", "store/store.json"],
        [],
    ]
)
FLAGS = st.sampled_from(
    "--json --set --option --strategy -n --seed --batch --guidance --temperature --top-k --top-p "
    "--device --dtype --out --weights --prompts --config --name --partial --kind --help --version "
    "--max-memory --benchmark-option --overwrite --images".split()
)
ARGUMENTS = st.lists(FLAGS | TEXTS, max_size=5)
WORDS = st.builds(lambda command, rest: json.dumps([*command, *rest]).encode(), COMMANDS, ARGUMENTS)


@contextlib.contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_command(data: bytes, folder: Path) -> None:
    words = [str(word).replace("\0", "") for word in json.loads(data)]
    shutil.copytree(FIXTURES / "bench", folder / "store")
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    with standing_in(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner(**apart).invoke(main, words, prog_name="scalingar")
    said = result.stdout + result.stderr
    assert result.exit_code in (0, 2), (words, result.exit_code, result.exception, said[-500:])
    assert isinstance(result.exception, (SystemExit, type(None))), (words, result.exception)
    assert "Traceback" not in said, words
    assert not {"\x1b", "\x07", "\x9b"} & set(said), words
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    helped = not errors and result.stderr.startswith("Usage: ")  # a group without a command
    assert len(errors) == (result.exit_code == 2) or helped, (words, result.stderr)
    if result.exit_code == 0 and "--json" in words and "--help" not in words:
        with contextlib.suppress(IndexError):
            if words[0] in ("list", "compare") and "--version" not in words:
                json.loads(result.stdout)


# --- plugins -------------------------------------------------------------------------------------

HEAD = "from scalingar_fw import *\nfrom scalingar_fw import hookimpl\n"
STATEMENTS = st.sampled_from(
    [
        "print('hello')",
        "import sys; sys.stdout.write('hello')",
        "raise SystemExit(0)",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "class Odd(BaseException):\n    pass\nraise Odd",
        "import nowhere_at_all",
        "1 / 0",
        "exit()",
        "x = [",
        "def scalingar_register(registry): registry.add('strategy', 'x', 'y')",
        "__name__ = 3",
        "@hookimpl\ndef on_token(event):\n    raise SystemExit",
        "@hookimpl\ndef nowhere(event):\n    pass",
    ]
)
BODIES = st.sampled_from(
    [
        "pass",
        "return 1",
        "raise SystemExit(1)",
        "raise ValueError('no')",
        "print('hello')",
        "registry.add('strategy', 'odd', 'nowhere:nothing', 'a summary')",
        "registry.add('strategy', 'odd', object())",
        "registry.add('strategy', 1, 2, 3)",
        "registry.add('nothing', 'odd', 'a:b')",
        "registry.add('model', '', 'a:b')",
        "registry.add('model', 'a/b/c', 'a:b', None)",
        "registry.add('strategy', 'odd', 'a:b', '\\x1b[2J')",
        "[registry.add('strategy', f'odd{i}', 'a:b') for i in range(50)]",
        "registry.entries.clear()",
        "del registry.entries",
    ]
)


def source(statements: list[str], bodies: list[str]) -> str:
    hook = "@hookimpl\ndef scalingar_register(registry):\n"
    hook += "\n".join(f"    {body}" for body in bodies or ["pass"])
    return "\n".join([HEAD, *statements[:1], hook, *statements[1:], ""])


SOURCES = st.builds(source, st.lists(STATEMENTS, max_size=2), st.lists(BODIES, max_size=3))


def load_plugin(data: bytes, folder: Path) -> None:
    path = folder / "fuzzed_plugin.py"
    path.write_bytes(data)
    known, paths = set(sys.modules), list(sys.path)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore", PluginWarning)
            registry = load_registry([path])
            for name in registry.names("strategy"):
                assert isinstance(name, str)
    finally:
        for name in set(sys.modules) - known:
            if "fuzzed_plugin" in name:
                del sys.modules[name]
        sys.path[:] = paths


PROGRAMS: dict[str, Family] = {
    "commands": Family(run_command, WORDS, 0.03),
    "plugins": Family(load_plugin, sometimes_damaged(SOURCES.map(str.encode)), 0.07),
}
