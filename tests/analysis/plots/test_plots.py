"""What each plot says: that it shows what it was given, and refuses what it cannot show."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba

import scalingar_analysis
from scalingar_analysis.plots import bands, comparison, comparison_data, maps, outcomes, ranking
from scalingar_analysis.plots.confidence import plot_confidence, probations
from scalingar_analysis.plots.live import live_of, plot_tokens
from scalingar_analysis.plots.plot_registry import KINDS, figure, plot
from scalingar_analysis.plots.style import (
    DARK,
    LIGHT,
    StandaloneFigure,
    axes_or_new,
    format_of,
    our_style,
    palette_of,
    save,
)
from scalingar_analysis.runs.run import as_run, from_examples
from scalingar_analysis.statistics.intervals import estimate
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError

#: Kinds that show one prompt or many trajectories of any run; the others need scores.
UNJUDGED = (
    "dynamics signals signal confidence guidance live tokens maps map candidates bands rows "
    "columns outcomes"
).split()
#: Needs a sweep in a store.
OF_SWEEPS = ("sensitivity",)


# --- every kind --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNJUDGED)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_kind_of_any_run_can_be_drawn_from_what_generate_returns(kind, dark, generations):
    made = figure(generations, kind, dark)
    background = (DARK if dark else LIGHT).paper
    assert to_rgba(made.get_facecolor()) == to_rgba(background)
    assert made.axes and all(ax.has_data() or ax.texts for ax in made.axes)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in OF_SWEEPS])
def test_every_kind_can_be_drawn_from_a_judged_run(kind, complete):
    assert figure(complete, kind).axes


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(UNJUDGED)))
def test_kinds_that_need_scores_say_so(kind, generations):
    with pytest.raises(ScalingarError, match=r"scores|scored|sweep"):
        figure(generations, kind)


@pytest.mark.parametrize("kind", [k for k, v in KINDS.items() if v.draw and k not in OF_SWEEPS])
def test_a_kind_of_one_panel_is_drawn_into_the_axes_that_it_is_given(kind, complete):
    ax = axes_or_new(None)
    assert plot(complete, kind, ax) is ax
    assert ax.has_data()


def test_kinds_of_several_panels_refuse_an_axes(generations):
    with pytest.raises(ScalingarError, match="leave ax out"):
        plot(generations, "dynamics", axes_or_new(None))


def test_a_figure_shows_itself_in_a_notebook(generations):
    made = scalingar_analysis.plot(generations[0], "confidence")
    assert isinstance(made, StandaloneFigure)
    assert made._repr_png_().startswith(b"\x89PNG")


def test_unknown_kinds_options_and_prompts_are_named(generations):
    with pytest.raises(ScalingarError, match="Did you mean 'pareto'"):
        figure(generations, "paretto")
    with pytest.raises(ScalingarError, match="Did you mean 'signal'"):
        figure(generations, "map", signals="kl")
    with pytest.raises(ScalingarError, match="prompt=9 must be below 4"):
        figure(generations, "live", prompt=9)
    with pytest.raises(ScalingarError, match="candidate=7 is none of this prompt's: 0, 1, 2, 3"):
        figure(generations, "map", candidate=7)
    with pytest.raises(ScalingarError, match="'nope' was not recorded"):
        figure(generations, "map", signal="nope")
    with pytest.raises(ScalingarError, match="by='colour'"):
        figure(generations, "bands", by="colour")


@pytest.mark.parametrize("kind", ["pareto", "budget", "strategies", "bands", "risk", "ladder"])
def test_a_legend_lies_outside_of_the_data(kind, complete):
    made = figure(complete, kind)
    made.canvas.draw()
    ax = made.axes[0]
    if ax.get_legend() is not None:
        box, data = ax.get_legend().get_window_extent(), ax.get_window_extent()
        overlap = (
            min(box.x1, data.x1) - max(box.x0, data.x0),
            min(box.y1, data.y1) - max(box.y0, data.y0),
        )
        assert min(overlap) <= 1


def test_the_gallery_shows_every_kind_with_a_command_that_exists():
    gallery = Path(__file__).parents[3] / "docs" / "gallery.md"
    named = set(re.findall(r"--kind ([a-z]+)", gallery.read_text(encoding="utf-8")))
    assert named == set(KINDS)


# --- style -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_equal_figures_give_equal_bytes_in_every_format(suffix, generations, tmp_path):
    for name in "ab":
        with our_style():
            save(figure(generations, "confidence"), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_formats_that_nobody_writes_are_refused():
    assert format_of("x.SVG") == "svg"
    with pytest.raises(ScalingarError, match=r"\.png, \.svg, \.pdf"):
        format_of("x.jpeg")


def test_colours_follow_the_axes_that_a_plot_is_given():
    with our_style(dark=True):
        assert palette_of(axes_or_new(None)) is DARK
    ax = axes_or_new(None)
    ax.set_facecolor("none")
    assert palette_of(ax) is LIGHT
    ax.figure.set_facecolor("#101010")
    assert palette_of(ax) is DARK


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_contrast_with_the_paper(palette):
    """WCAG: 4.5 for text, 3 for graphics."""

    def luminance(colour):
        parts = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgba(colour)
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    def contrast(colour):
        low, high = sorted([luminance(colour), luminance(palette.paper)])
        return (high + 0.05) / (low + 0.05)

    assert min(map(contrast, (palette.ink, palette.muted))) >= 4.5
    marks = (palette.answer, palette.ended, palette.recovered, palette.flagged)
    assert min(map(contrast, marks)) >= 3
    assert min(map(contrast, palette.series)) >= 2.2  # these have dashes and markers as well


# --- single plots ------------------------------------------------------------------------------


def test_confidence_marks_flags_probations_recoveries_and_prunings(generations):
    ax = plot_confidence(generations[0])
    marks = {
        m: sorted(
            line.get_xdata()[0]
            for line in ax.lines
            if line.get_marker() == m and len(line.get_xdata())
        )
        for m in "v^x"
    }
    assert marks == {"v": [9, 9, 9], "^": [13], "x": [21]}
    wide = sorted(
        tuple(line.get_xdata()[[0, -1]]) for line in ax.lines if line.get_linewidth() == 4.5
    )
    assert wide == [(9, 12), (9, 21), (9, 48)]


@given(st.lists(st.booleans(), max_size=40))
def test_probations_are_the_runs_of_flagged_steps(flags):
    spans = probations(np.array(flags, dtype=float))
    covered = np.zeros(len(flags), bool)
    for first, end in spans:
        assert first < end and not covered[first:end].any()
        covered[first:end] = True
    assert covered.tolist() == flags
    assert all(b[0] > a[1] for a, b in zip(spans, spans[1:], strict=False))


def test_tokens_so_far_end_at_what_was_sampled(generations):
    run = generations[0]
    ax = plot_tokens(run)
    assert ax.lines[1].get_ydata()[-1] == pytest.approx(run.tokens / 48)
    assert live_of(run).sum() == run.tokens


def test_a_map_shows_each_value_in_its_cell_and_nothing_beyond_the_end(generations):
    pruned = generations[0].decoded.trajectories[0]
    cells = maps.grid_of(pruned.signals["entropy"], Grid(6, 8))
    assert np.isfinite(cells).sum() == len(pruned) == 21
    assert cells[1, 3] == pruned.signals["entropy"][11]
    with pytest.raises(ScalingarError, match="do not fit a grid"):
        maps.grid_of(np.zeros(10), Grid(3, 3))


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 5),
    st.floats(0.05, 1.0),
    st.integers(0, 2**32),
)
def test_worst_blocks_are_the_share_with_the_highest_means(rows, cols, block, share, seed):
    """Against a reference that says eq. 6 in loops."""
    cells = np.random.default_rng(seed).random((rows, cols))
    blocks = {
        (r, c): cells[r : r + block, c : c + block].mean()
        for r in range(0, rows, block)
        for c in range(0, cols, block)
    }
    wanted = int(np.ceil(share * len(blocks)))
    found = maps.worst_blocks(cells, block, share)
    assert len(found) == wanted
    floor = sorted(blocks.values(), reverse=True)[wanted - 1]
    assert all(blocks[r, c] >= floor for r, c, _, _ in found)
    lowest = maps.worst_blocks(cells, block, share, lowest=True)
    ceiling = sorted(blocks.values())[wanted - 1]
    assert all(blocks[r, c] <= ceiling for r, c, _, _ in lowest)


def test_blocks_that_were_not_started_are_never_the_worst():
    cells = np.full((8, 8), np.nan)
    cells[0, :4] = 0.1
    assert maps.worst_blocks(cells, 4, 1.0) == [(0, 0, 4, 4)]
    assert maps.worst_blocks(np.full((4, 4), np.nan)) == []


def test_bands_are_the_quantiles_of_the_rows_that_are_there():
    table = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, np.nan], [5.0, np.nan, np.nan]])
    ax = bands.plot_bands({"all": table}, window=1)
    assert ax.lines[0].get_ydata().tolist() == [3.0, 3.0, 3.0]
    low = bands.quantiles(table, [0.25])[0]
    assert low.tolist() == [2.0, 2.5, 3.0]
    with pytest.raises(ScalingarError, match="band="):
        bands.plot_bands({"all": table}, band=(0.9, 0.1))


def test_a_profile_is_the_mean_over_the_other_axis():
    grid, table = Grid(2, 3), np.arange(6.0)[None]
    rows = bands.plot_profile({"a": table}, grid, axis="row").lines[0].get_ydata()
    columns = bands.plot_profile({"a": table}, grid, axis="column").lines[0].get_ydata()
    assert rows.tolist() == [1.0, 4.0] and columns.tolist() == [1.5, 2.5, 3.5]


def test_signals_are_split_by_outcome_task_and_strategy(complete):
    examples = complete.examples()
    scores = np.concatenate([e.scores for e in examples])
    by_outcome = bands.split(examples, "entropy", "outcome")
    assert {k: len(v) for k, v in by_outcome.items()} == {
        "correct": int((scores > 0.5).sum()),
        "incorrect": int((scores <= 0.5).sum()),
    }
    assert set(bands.split(examples, "entropy", "task")) == {"task 0", "task 1"}
    assert set(bands.split(examples, "entropy", "strategy")) == {"plain", "by-margin"}


def test_histograms_are_shares_of_each_group():
    ax = outcomes.plot_distributions({"a": [0.1, 0.2, 0.2], "b": [0.3, np.nan]}, bins=4)
    heights = [patch.get_data().values.sum() for patch in ax.patches]
    assert heights == pytest.approx([1.0] * 4)  # an area and an outline each
    with pytest.raises(ScalingarError, match="no values"):
        outcomes.plot_distributions({"a": [np.nan]})


def test_calibration_has_bins_of_equally_many():
    confidence = np.linspace(0, 1, 100)
    ax = outcomes.plot_calibration(confidence, confidence > 0.5, bins=4)
    line = ax.containers[0].lines[0]
    assert line.get_ydata().tolist() == [0.0, 0.0, 1.0, 1.0]
    with pytest.raises(ScalingarError, match="give one each"):
        outcomes.plot_calibration([0.1], [1, 0])


def bars(ax):
    """Lower and upper ends of the calibration's error bars."""
    (segments,) = (c.get_segments() for c in ax.containers[0].lines[2])
    return np.array([[s[0][1], s[1][1]] if len(s) else [np.nan, np.nan] for s in segments])


def test_calibration_bars_count_clusters_and_not_images():
    rng = np.random.default_rng(0)
    confidence = rng.random(240)
    luck = np.repeat(rng.random(30) < 0.5, 8).astype(float)  # pools that are all right or all wrong
    homes = np.repeat(np.arange(30), 8).astype(str)
    alone = bars(outcomes.plot_calibration(confidence, luck, bins=1))
    own = bars(outcomes.plot_calibration(confidence, luck, bins=1, clusters=homes))
    found = estimate(luck, ["all"] * 240, homes.tolist())
    assert own[0] == pytest.approx([found.low, found.high])
    assert np.diff(own[0]) > 2 * np.diff(alone[0])


def test_calibration_of_few_clusters_has_no_bars():
    confidence = np.linspace(0, 1, 32)
    ax = outcomes.plot_calibration(confidence, confidence > 0.4, clusters=["a", "b"] * 16, bins=2)
    assert np.isnan(bars(ax)).all()


def points():
    P = comparison.Point
    return [
        P("cheap", 1, 1.0, 0.4),
        P("dear", 8, 8.0, 0.6),
        P("beaten", 4, 4.0, 0.3),
        P("oracle", 8, 8.0, 0.9, oracle=True),
    ]


def test_the_frontier_leaves_out_oracles_and_what_is_beaten():
    assert [p.name for p in comparison.frontier(points())] == ["cheap", "dear"]


def test_a_comparison_names_every_strategy_and_marks_oracles():
    ax = comparison.plot_pareto(points())
    words = [t.get_text() for t in ax.get_legend().get_texts()]
    assert words == ["cheap", "dear", "beaten", "oracle (oracle)", "frontier"] or set(words) == {
        "frontier", "cheap", "dear", "beaten", "oracle (oracle)",
    }  # fmt: skip
    ladder = comparison.plot_strategies(points())
    assert [t.get_text() for t in ladder.get_yticklabels()] == [
        "beaten, n=4", "cheap, n=1", "dear, n=8", "oracle, n=8 (oracle)",
    ]  # fmt: skip


def test_a_heat_map_writes_each_number_and_leaves_gaps_empty():
    table = np.array([[0.1, np.nan], [0.3, 0.4]])
    ax = comparison.plot_sensitivity(table, [1, 2], ["a", "b"], marked=(0, 0))
    assert sorted(t.get_text() for t in ax.texts) == ["0.100", "0.300", "0.400"]
    with pytest.raises(ScalingarError, match="no 3 rows"):
        comparison.plot_sensitivity(table, [1, 2, 3], [1, 2])


def test_risk_ends_at_the_share_of_wrong_answers():
    ax = ranking.plot_risk_coverage({"a": (np.array([0.5, 1.0]), np.array([0.0, 0.25]))})
    assert ax.lines[0].get_ydata()[-1] == 0.25
    assert ax.lines[1].get_ydata()[0] == 0.25  # dotted: the risk of answering everything


# --- tables ------------------------------------------------------------------------------------


def test_points_have_the_cost_and_the_task_mean_of_the_answers(complete):
    table = complete.table()
    for p in comparison_data.points(complete):
        inside = table["strategy"] == p.name
        chosen = inside & table["chosen"]
        tasks = [table["score"][chosen & (table["task"] == t)].mean() for t in ("task 0", "task 1")]
        assert p.accuracy == pytest.approx(np.mean(tasks))
        assert p.cost == pytest.approx(table["tokens"][inside].sum() / 48 / 6)
        assert p.low <= p.accuracy <= p.high


def test_pools_that_are_not_complete_are_refused(complete):
    first = complete.examples()[0]
    from attrs import evolve

    gap = evolve(first, scores=np.where(np.arange(6) == 2, np.nan, first.scores))
    with pytest.raises(ScalingarError, match="all complete and scored"):
        figure([gap], "ladder")


def test_the_table_of_a_run_has_a_row_for_each_candidate(generations):
    table = as_run(generations).table()
    assert len(table["n"]) == 16 and table["tokens"].sum() == sum(g.tokens for g in generations)
    assert set(table["status"]) == {"completed", "pruned"} and np.isnan(table["score"]).all()


def test_confidences_of_different_strategies_are_never_pooled(complete):
    # The second strategy's confidence lies elsewhere.
    estimating = [
        evolve(
            e,
            decoded=evolve(
                e.decoded,
                trajectories=[
                    evolve(t, signals={**t.signals, "confidence": t.signals["confidence"] + shift})
                    for t in e.decoded.trajectories
                ],
            ),
        )
        for e in complete.examples()
        for shift in [5.0 if e.strategy == "by-margin" else 0.0]
    ]
    both = from_examples(estimating)
    ax = plot(both, "calibration").axes[0]
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"plain", "by-margin"}
    curves = [c.lines[0].get_xdata() for c in ax.containers]
    assert max(curves[0]) < min(curves[1])  # no bin holds both
    labels = [t.get_text() for t in plot(both, "outcomes").axes[0].get_legend().get_texts()]
    assert {label.split(":")[0] for label in labels} == {"plain", "by-margin"}
