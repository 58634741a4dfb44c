"""The site is built from the documents without a warning, and asks nobody else's server for anything."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed: the extra docs")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


def pages(site: Path) -> list[Path]:
    """The pages of prose: without the source files, which are shown as they are."""
    found = [p for p in site.rglob("*.html") if "source" not in p.relative_to(site).parts[:1]]
    assert len(found) > 20
    return found


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    """No fonts, scripts or pictures of other servers: it works offline, and tells nobody."""
    loads = re.compile(
        r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)"
    )
    for page in pages(site):
        assert loads.findall(page.read_text(encoding="utf-8")) == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_lists_and_tables_come_out_as_such(site: Path) -> None:
    """Forges are more lenient than the site: a list needs an empty line before it here."""
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        for paragraph in re.findall(r"<p>(.*?)</p>", text, flags=re.DOTALL):
            assert not re.search(r"^(- |\* |\d+\. |\|)", paragraph, flags=re.MULTILINE), (
                f"{page.relative_to(site)}: {html.unescape(paragraph)[:300]}"
            )
        assert "<!-- ci:" not in text and "```" not in re.sub(r"<code>.*?</code>", "", text)


def test_the_search_index_finds_words_of_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    text = {d["location"]: d["title"] + d["text"] for d in index["docs"]}
    assert any("Satterthwaite" in t for t in text.values())
    assert not any(location.startswith("source/") for location in text)


def test_code_that_a_page_names_is_a_click_away(site: Path) -> None:
    page = (site / "architecture" / "index.html").read_text(encoding="utf-8")
    targets = re.findall(r'href="(\.\./source/[^"#]+)#([\w.]+)"', page)
    assert ("../source/scalingar_fw/decoding/loop.py/", "decode") in targets
    for place, symbol in targets:
        there = (site / "architecture" / place / "index.html").resolve()
        assert f'id="{symbol}"' in there.read_text(encoding="utf-8"), (place, symbol)
