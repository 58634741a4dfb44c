"""The report as a file: whole, escaped, within its limits; test_report_in_browser.py opens it."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re

import numpy as np
import pytest
from attrs import evolve

from scalingar_analysis.report import pictures
from scalingar_analysis.report.page import _spread, page
from scalingar_analysis.report.viewer import events, viewer_data
from scalingar_analysis.runs.run import as_run, from_examples
from scalingar_fw.decoding.state import Grid


@pytest.fixture(scope="module")
def text(report):
    return report


@pytest.fixture(scope="module")
def judged(complete):
    """The page of runs with scores."""
    return page(complete)


class Reader(html.parser.HTMLParser):
    """Tags, attributes and text, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.scripts, self._script = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self._script = len(self.scripts)
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] += data


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, flags=re.DOTALL)[1])


def test_nothing_in_it_points_to_a_network(text):
    for tag, attributes in Reader(text).tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                assert value.startswith(("data:image/", "#")), (tag, name, value)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_its_policy_allows_our_script_and_nothing_else(text):
    reader = Reader(text)
    (policy,) = [a["content"] for t, a in reader.tags if t == "meta" and "http-equiv" in a]
    data, script = reader.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert not [a for _, a in reader.tags for name in a if name.startswith("on")]


def test_prompts_cannot_break_out_whatever_they_hold(text, generations):
    reader = Reader(text)
    assert sum(tag == "script" for tag, _ in reader.tags) == 2
    assert "alert(" not in reader.scripts[1]
    assert [e["prompt"] for e in data_of(text)["examples"]] == [g.prompt.label for g in generations]


def test_ids_are_unique(text):
    ids = [a["id"] for _, a in Reader(text).tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_equal_runs_give_equal_pages(text, generations):
    assert page(as_run(generations)) == text


def test_the_viewer_has_what_was_recorded(generations):
    (example,) = as_run(generations[0]).examples()
    data = viewer_data(example)
    assert (data["rows"], data["cols"], data["total"]) == (6, 8, 48)
    for mine, theirs in zip(data["candidates"], example.decoded.trajectories, strict=True):
        np.testing.assert_allclose(mine["confidence"], theirs.signals["confidence"], atol=1e-4)
        levels = np.frombuffer(base64.b64decode(mine["maps"]["entropy"]), np.uint8)
        low, high = data["maps"]["entropy"]["low"], data["maps"]["entropy"]["high"]
        back = low + levels / 255 * (high - low)
        np.testing.assert_allclose(
            back, theirs.signals["entropy"], atol=0.003 * (high - low) + 1e-4
        )
    assert data["threshold"][:6] == [None] * 6 and data["threshold"][6] == 0.25


def test_events_are_in_order_and_complete(generations):
    (example,) = as_run(generations[0]).examples()
    assert [(e["step"], e["candidate"], e["kind"]) for e in events(example)] == [
        (9, 0, "flagged"), (9, 1, "flagged"), (9, 2, "flagged"), (13, 1, "recovered"),
        (21, 0, "pruned"),
    ]  # fmt: skip


def test_a_judged_run_has_its_comparison_and_its_figures(judged):
    for heading in ("Accuracy against tokens", "From random to oracle", "Entropy by row"):
        assert heading in judged
    assert "plain" in judged and "task 1" in judged and "to " in judged
    assert "Not drawn (1)" in judged and "is no sweep" in judged


def test_a_hundred_prompts_of_the_size_of_shapes_stay_below_ten_megabytes(generations):
    """Eight candidates of 144 tokens and 48 x 48 pixels, half of them noise that no PNG can pack:
    more than pictures of shapes take."""
    (one,) = as_run(generations[0]).examples()
    noise = np.random.default_rng(0)
    trajectories = []
    for k in range(8):
        first = one.decoded.trajectories[1]
        values = {n: noise.random(144, dtype=np.float32) for n in first.signals}
        values["recovered"] = (values["recovered"] < 0.05).astype(np.float32)
        values["flagged"] = np.repeat(values["flagged"][:12] < 0.5, 12).astype(np.float32)
        trajectories.append(
            evolve(first, candidate=k, tokens=np.zeros(144, np.int64), signals=values)
        )
    decoded = evolve(one.decoded, trajectories=trajectories, chosen=[0], total_tokens=144, n=8)

    def picture():
        pixels = np.zeros((48, 48, 3), np.uint8)
        pixels[:24] = noise.integers(0, 256, (24, 48, 3))
        return pixels

    examples = [
        evolve(
            one,
            decoded=decoded,
            grid=Grid(12, 12),
            item=i,
            pictures={k: picture() for k in range(8)},
        )
        for i in range(100)
    ]
    text = page(from_examples(examples))
    assert len(text.encode()) < 10 * 10**6
    shown = len(data_of(text)["examples"])
    assert shown == 100


def test_beyond_its_budget_prompts_are_sampled_evenly_and_it_says_so(complete, judged):
    whole = data_of(judged)["examples"]
    text = page(complete, budget=60_000)
    shown = data_of(text)["examples"]
    assert 0 < len(shown) < len(whole)
    assert f"{len(shown)} of {len(whole)} are shown" in text


@pytest.mark.parametrize("count", [1, 2, 7, 16, 100])
def test_every_beginning_of_a_spread_covers_the_whole(count):
    order = _spread(range(count))
    assert sorted(order) == list(range(count))
    for k in range(2, count):
        gaps = np.diff(sorted([*order[:k], count]))
        assert gaps.max() <= 2 * -(-count // (1 << (k.bit_length() - 1)))


def test_large_images_become_thumbnails_and_tiny_ones_stay_exact():
    import io

    import PIL.Image

    tiny = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with PIL.Image.open(
        io.BytesIO(base64.b64decode(pictures.data_uri(tiny).split(",")[1]))
    ) as image:
        assert np.array_equal(np.asarray(image), tiny)
    large = np.zeros((1024, 512, 3), np.uint8)
    with PIL.Image.open(
        io.BytesIO(base64.b64decode(pictures.data_uri(large).split(",")[1]))
    ) as image:
        assert image.size == (80, 160)
