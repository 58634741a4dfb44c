"""Tables of documents and the CSV files that hold their numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.tables.published import MARKER, drawn, main, read, write
from scalingar_fw.errors import ScalingarError

ROOT = Path(__file__).parents[3]
BOUND = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = sorted((ROOT / "docs" / "results").rglob("*.csv"))

FILE = """# command: scalingar compare runs/x
# seeds: 0
# weights: abc
# show: strategy = `{strategy}`
# show: accuracy = {accuracy:.3f} [{low:.3f}, {high:.3f}] or {accuracy:.3f}
# show: p = {p:p}
# show: change = {change:+.1pct} % or -
# show: FLOPs = {flops:si}
# show tokens: strategy = {strategy}
# show tokens: T = {tokens:.2f}
# rows tokens: strategy = base
strategy,accuracy,low,high,p,change,flops,tokens
base,0.5883,0.529,0.645,,,1.7e9,1
plus,0.6483,,,0.0004,0.102,4.53e9,3.001
"""
DOCUMENT = """# Results

<!-- table: results/x.csv -->
| old |
| --- |
| 1 |

Words.

<!-- table: results/x.csv tokens -->

```text
<!-- table: results/absent.csv -->
```
"""
SHOWN = """<!-- table: results/x.csv -->
| strategy | accuracy | p | change | FLOPs |
| --- | --- | --- | --- | --- |
| `base` | 0.588 [0.529, 0.645] |  | - | 1.70 G |
| `plus` | 0.648 | < 0.001 | +10.2 % | 4.53 G |

Words.

<!-- table: results/x.csv tokens -->
| strategy | T |
| --- | --- |
| base | 1.00 |

```text"""


@pytest.fixture
def document(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.csv").write_text(FILE, encoding="utf-8")
    path = tmp_path / "d.md"
    path.write_text(DOCUMENT, encoding="utf-8")
    return path


def test_a_document_shows_what_its_files_hold(document):
    text = drawn(document)
    assert SHOWN in text and text.startswith("# Results\n") and text.endswith("```\n")
    document.write_text(text, encoding="utf-8")
    assert drawn(document) == text


def test_the_command_checks_and_writes(document):
    runner = CliRunner()
    before = document.read_text(encoding="utf-8")
    found = runner.invoke(main, [str(document)])
    assert found.exit_code == 1 and "differs" in found.output
    assert document.read_text(encoding="utf-8") == before
    assert runner.invoke(main, ["--write", str(document)]).exit_code == 0
    assert runner.invoke(main, [str(document)]).exit_code == 0
    assert SHOWN in document.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("# seeds: 0\n", ""), "does not say its seeds"),
        (("{accuracy:.3f} [", "{acuracy:.3f} ["), "names 'acuracy'"),
        (("base,0.5883", "base,half"), "accuracy='half' must be a number"),
        (("plus,0.6483,,,", "plus,0.6483,,"), "row 2 has 7 fields"),
        (("strategy = base", "strategi = base"), "'strategi', which is no column"),
        (("strategy = base", "strategy = nobody"), "no row has"),
        (("# show: p = {p:p}", "# show: p"), "must be NAME = VALUE"),
        (("# show: p = {p:p}", "# a remark"), "must be `# KEY: VALUE`"),
        (("show tokens:", "show token:"), "no view 'tokens'"),
    ],
)
def test_a_file_that_is_not_right_is_named_with_the_line_of_the_document(document, change, words):
    file = document.parent / "results" / "x.csv"
    file.write_text(FILE.replace(*change), encoding="utf-8")
    with pytest.raises(ScalingarError, match="d.md, line") as caught:
        drawn(document)
    assert words in str(caught.value)
    assert CliRunner().invoke(main, [str(document)]).exit_code == 2


def test_a_file_that_is_not_there_is_named(document):
    (document.parent / "results" / "x.csv").unlink()
    with pytest.raises(ScalingarError, match=r"x\.csv cannot be read"):
        drawn(document)


@given(
    st.lists(
        st.tuples(st.text("ab,\"'| é", max_size=6), st.floats(-1e3, 1e3)), min_size=1, max_size=5
    )
)
def test_what_is_written_is_read_again(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "x.csv"
    about = {"command": "x", "seeds": "0", "weights": "w", "show": ["a = {a}", "b = {b:.3f}"]}
    write(path, about, [{"a": a, "b": b} for a, b in rows])
    found = read(path)
    assert [(r["a"], float(r["b"])) for r in found.rows] == rows
    assert found.view("").columns == (("a", "{a}"), ("b", "{b:.3f}"))
    assert found.table().count("\n") == len(rows) + 1


# --- the repository's own ----------------------------------------------------------------------


@pytest.mark.parametrize("path", BOUND, ids=lambda p: p.name)
def test_the_numbers_of_a_document_are_those_of_its_files(path):
    """`python -m scalingar_analysis.tables.published --write README.md docs/*.md` draws them."""
    assert drawn(path) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(p.parts[-2:]))
def test_every_view_of_every_file_is_shown_in_a_document(path):
    found = read(path)
    for view in found.views:
        place = path.relative_to(ROOT / "docs").as_posix()
        marker = f"{place}{' ' + view if view else ''} -->"
        assert any(marker in p.read_text(encoding="utf-8") for p in BOUND), marker


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(p.parts[-2:]))
def test_every_file_names_the_weights_by_their_hash_or_says_that_there_are_none(path):
    (weights,) = read(path).about["weights"]
    assert re.search(r"\b[0-9a-f]{64}\b", weights) or weights.startswith("none: ")


@pytest.mark.parametrize(
    "page, begins", [("results.md", "## Measured"), ("results_0_1.md", "# Results")]
)
def test_every_table_of_measured_results_is_bound_to_a_file(page, begins):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    lines = text[text.index(begins) :].splitlines()
    first = [i for i, line in enumerate(lines) if line.startswith("|") and lines[i - 1][:1] != "|"]
    assert first and all(MARKER.match(lines[i - 1]) for i in first)
