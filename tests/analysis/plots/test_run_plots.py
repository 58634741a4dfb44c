"""The two pictures of a run: what they show, and that they show it for every kind of run."""

from __future__ import annotations

import warnings

import matplotlib
import numpy as np
import PIL.Image
import pytest
from attrs import evolve

from scalingar_analysis.plots import contact_sheet, dynamics, steps
from scalingar_analysis.plots.style import axes_or_new, shorten
from scalingar_fw import (
    Confidence,
    ConfidenceEstimator,
    Proposal,
    Sampler,
    Sampling,
    Strategy,
    generate,
)
from scalingar_fw.decoding.components import Termination, Verdict
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import FinalConfidence
from scalingar_fw.testing import ReferenceModel


class Margin(ConfidenceEstimator):
    def init(self, context):
        return None

    def update(self, state, signals, step):
        return Confidence.of(signals.margin), None


class CutTwo(Termination):
    """Ends candidates 0 and 1 at step 5; says that candidate 2 recovered at step 4."""

    def update(self, state, confidence, step):
        who = step.rows.candidate_id
        trace = {
            "threshold": confidence.value * 0 + (0.2 if step.index >= 3 else float("nan")),
            "recovered": ((who == 2) & (step.index == 4)).float(),
        }
        gone = (who < 2) & (step.index == 5) if len(step.rows) > 2 else None
        reason = "confidence {confidence:.3f} below the threshold 0.2 for a long and dull while"
        return Verdict(gone, Status.PRUNED, reason, trace=trace), None


class Fork(Sampler):
    """Row 0 is continued twice at step 3, row 1 not at all: as in beam search."""

    def propose(self, state, guided, confidence, step, sampling):
        import torch

        token = guided.logits.argmax(-1)
        if step.index != 3 or len(token) < 2:
            return Proposal(token), None
        parent = torch.tensor([0, 0, *range(2, len(token))])
        return Proposal(token[parent], parent=parent), None


MODEL = ReferenceModel(grid=Grid(4, 6), preset=Sampling(guidance=1.5))
PRUNING = Strategy("cut", Margin(), termination=CutTwo(), selector=FinalConfidence())


def run(n=4, prompt="a red circle", strategy=PRUNING):
    return generate(prompt, model=MODEL, strategy=strategy, n=n)


@pytest.fixture(scope="module")
def pruned():
    return run()


def texts(figure):
    return [t.get_text() for t in figure.texts]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 16])
def test_both_pictures_come_out_for_any_number_of_candidates(n, tmp_path):
    result = run(n)
    for module in (dynamics, contact_sheet):
        module.write(result, tmp_path / "x.png")
        with PIL.Image.open(tmp_path / "x.png") as image:
            assert min(image.size) > 200


def test_the_same_run_gives_the_same_bytes(pruned, tmp_path):
    for module in (dynamics, contact_sheet):
        module.write(pruned, tmp_path / "a.png")
        with matplotlib.rc_context({"font.size": 20, "axes.grid": False}):  # a user's own style
            module.write(pruned, tmp_path / "b.png")
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_global_settings_of_matplotlib_are_left_alone(pruned, tmp_path):
    before = dict(matplotlib.rcParams)
    dynamics.write(pruned, tmp_path / "x.png")
    contact_sheet.write(pruned, tmp_path / "y.png")
    assert dict(matplotlib.rcParams) == before


def test_the_panels_share_the_step_axis_and_name_their_units(pruned):
    axes = dynamics.figure_of(pruned).axes
    labels = [ax.get_ylabel().split("\n")[0] for ax in axes]
    assert labels == ["entropy / ln V", "confidence C", "guidance scale s", "live candidates"]
    assert {ax.get_xlim() for ax in axes} == {axes[0].get_xlim()}
    assert axes[-1].get_xlabel() == "step (image token)"


def test_the_legend_names_what_is_there_and_lies_above_the_panels(pruned):
    figure = dynamics.figure_of(pruned)
    figure.canvas.draw()
    legend = figure.legends[0]
    words = [t.get_text() for t in legend.get_texts()]
    assert {"answer", "pruned", "recovered", "threshold", "completed"} <= set(words)
    assert legend.get_window_extent().y0 >= max(ax.get_window_extent().y1 for ax in figure.axes)
    plain = dynamics.figure_of(run(1, strategy=Strategy("plain"))).legends[0]
    assert [t.get_text() for t in plain.get_texts()] == ["answer", "base scale"]


def test_prunings_and_recoveries_are_marked_where_they_happened(pruned):
    ax = dynamics.plot_confidence(pruned)
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [tuple(line.get_xdata()) for line in crosses] == [(6,), (6,)]
    recovered = [line for line in ax.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert [tuple(line.get_xdata()) for line in recovered] == [(5,)]


def test_the_area_of_live_candidates_is_the_number_of_tokens(pruned):
    title = dynamics.plot_live(pruned).get_title(loc="right")
    assert title.startswith(f"{pruned.tokens} of {pruned.full_tokens} tokens")


def test_a_strategy_without_confidence_is_told_so():
    ax = dynamics.plot_confidence(run(strategy=Strategy("plain")))
    assert [t.get_text() for t in ax.texts] == ["this strategy estimates no confidence"]
    titles, lines = zip(
        *(contact_sheet.caption(c, False) for c in run(strategy=Strategy("plain")).candidates),
        strict=True,
    )
    assert titles[0] == "#0  answer" and not any(lines)


@pytest.mark.parametrize("name", ["entropy", "confidence", "guidance", "live"])
def test_a_panel_is_drawn_into_the_axes_that_it_is_given_and_returned(name, pruned):
    plot = getattr(dynamics, f"plot_{name}")  # the panels of the artefact
    ax = axes_or_new(None)
    assert plot(pruned, ax) is ax
    assert plot(pruned).figure is not ax.figure


def test_a_trace_can_be_drawn_as_well_as_a_run(pruned):
    assert len(dynamics.plot_entropy(pruned.trace).lines) == len(
        dynamics.plot_entropy(pruned).lines
    )


def test_forks_are_drawn_from_where_they_left_and_the_answer_from_its_start(tmp_path):
    forked = run(3, strategy=evolve(PRUNING, sampler=Fork()))
    parents = [c for c in forked.candidates if c.trajectory.parent is not None]
    assert parents, "the sampler forked"
    starts = sorted(line.get_xdata()[0] for line in dynamics.plot_entropy(forked).lines[:4])
    assert starts[0] == 1
    dropped = [c for c in forked.candidates if c.status is Status.DROPPED]
    assert contact_sheet.caption(dropped[0])[0] == "#1  dropped at token 3"
    contact_sheet.write(forked, tmp_path / "x.png")


def test_undecoded_cells_are_the_rest_of_the_row_and_all_rows_below():
    grid = Grid(4, 5)
    assert contact_sheet.undecoded(20, grid) == []
    assert contact_sheet.undecoded(10, grid) == [(0.0, 0.5, 1.0, 0.5)]
    first, rest = contact_sheet.undecoded(7, grid)
    assert np.allclose(first, (0.4, 0.25, 0.6, 0.25)) and rest == (0.0, 0.5, 1.0, 0.5)
    for tokens in range(21):
        area = sum(w * h for _, _, w, h in contact_sheet.undecoded(tokens, grid))
        assert np.isclose(area, 1 - tokens / 20)


def test_the_sheet_says_status_reason_and_confidence_and_marks_the_answer(pruned):
    said = " ".join(" ".join(texts(contact_sheet.figure_of(pruned))).split())
    assert "#0 pruned at token 6" in said and "below the threshold" in said
    assert f"#{pruned.answer.id} answer" in said
    assert f"confidence {pruned.answer.confidence:.3f}" in said


def test_of_hundreds_of_branches_the_longest_are_shown(pruned):
    many = [evolve_candidate(pruned.candidates[i % 4], i) for i in range(100)]
    shown = contact_sheet.pick(many, 10)
    assert len(shown) == 10 and [c.id for c in shown] == sorted(c.id for c in shown)
    assert all(c.completed for c in shown)


def evolve_candidate(candidate, number):
    return evolve(candidate, trajectory=evolve(candidate.trajectory, candidate=number))


@pytest.mark.parametrize(
    "prompt", ["costs $5 and $6 $", "红色的圆 🟥", "x" * 500, "a\nb\t_{^}\\frac"]
)
def test_any_prompt_can_be_a_title(prompt, tmp_path):
    result = run(2, prompt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynamics.write(result, tmp_path / "x.png")
        contact_sheet.write(result, tmp_path / "y.png")


def test_text_is_shortened_to_its_limit_on_one_line():
    assert shorten("a  b\nc", 10) == "a b c"
    assert shorten("abcdef", 4) == "abc…"


def test_smoothing_leaves_out_gaps_and_keeps_the_length():
    values = np.array([1.0, np.nan, 3.0, 5.0])
    assert np.array_equal(steps.smooth(values, 1), values, equal_nan=True)
    assert np.allclose(steps.smooth(values, 3), [1.0, 2.0, 4.0, 4.0])
    assert len(steps.smooth(np.array([1.0, 2.0]), 9)) == 2


def test_the_median_counts_live_candidates_only(pruned):
    pairs = steps.pairs_of(pruned)
    median = steps.median_over_live(pairs, "entropy", 24)
    late = [c.signals["entropy"][10] for c in pruned.candidates if len(c.tokens) > 10]
    assert np.isclose(median[10], np.median(late))
