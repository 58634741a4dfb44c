"""Nothing that a file or an argument holds reaches the terminal as anything but text."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_fw.cli.terminal import Shown, plain

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"
HOSTILE = "\x1b[2J\x1b[31mred\x07\x9b2J\x1b]0;title\x07\u202edlrow"


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def written(text: str, terminal: bool = True) -> str:
    stream = Stream(terminal)
    Shown(stream).write(text)
    return stream.getvalue()


@given(st.text() | st.text(alphabet="\x1b[]0123;mJHK\x07\x9b\r\nab"))
def test_only_bold_dim_and_back_are_let_through(text: str) -> None:
    out = written("-" + text)
    for style in ("\x1b[0m", "\x1b[1m", "\x1b[2m"):
        out = out.replace(style, "")
    assert all(c == "\n" or c == "\t" or c.isprintable() or c > "\xa0" for c in out)
    assert "\x1b" not in written("-" + text, terminal=False)


@given(st.text())
def test_json_stays_json_and_means_the_same(text: str) -> None:
    line = json.dumps({"label": text}, ensure_ascii=False)
    assert json.loads(written(line)) == {"label": text}


def test_what_is_shown_looks_like_what_it_was() -> None:
    assert plain("a\x1b[2J") == "a\\u001b[2J"
    assert plain("一只猫\tü\n") == "一只猫\tü\n"
    assert written("\r\x1b[K3/4") == "\r\x1b[K3/4", "a line that is written over"
    assert written("a\rb") == "a\\u000db"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "bench", tmp_path / "s")
    for path in (tmp_path / "s" / "labels").glob("*.json"):
        label = json.loads(path.read_text())
        path.write_text(json.dumps({**label, "label": HOSTILE + label["label"]}))
    return tmp_path / "s"


@pytest.mark.parametrize(
    "words", [("compare",), ("compare", "--json"), ("plot", "--kind", "nothing")]
)
def test_a_label_of_a_store_is_shown_as_text(
    store: Path, cli: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALINGAR_LOAD_PLUGINS", "plugins,strategies,analysis")
    result = cli(words[0], store, *words[1:])
    said = result.stdout + result.stderr
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)
    if words[0] == "compare":
        assert result.exit_code == 0 and "\\u001b[2J\\u001b[31mred\\u0007" in said
    if "--json" in words:
        json.loads(result.stdout)


def test_a_word_of_the_command_line_is_shown_as_text(cli: Any) -> None:
    result = cli("show", HOSTILE)
    assert result.exit_code == 2
    assert not {"\x1b", "\x07", "\x9b"} & set(result.stderr)


@pytest.mark.parametrize("name", ["a\udcff", "../x", "a\nb", "\x1b[2J", ".x", "a\\b", ""])
def test_an_export_is_called_by_a_name_that_every_system_can_hold(
    store: Path, cli: Any, name: str
) -> None:
    result = cli("export", "geneval", store, store.parent / "out", "--name", name)
    assert result.exit_code == 2 and "becomes the name of a folder" in result.stderr
    assert not (store.parent / "out").exists()


@pytest.mark.parametrize("words", [("--option", "x=\udcff"), ("--set", "x=\udcff")])
def test_an_argument_that_no_file_can_hold_is_refused(cli: Any, words: tuple[str, ...]) -> None:
    result = cli("generate", "a circle", *words)
    assert result.exit_code == 2 and "not text in UTF-8" in result.stderr
