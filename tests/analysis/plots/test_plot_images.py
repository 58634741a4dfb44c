"""The main plots look as they did when somebody looked at them.

Marks alone are compared: text and legends are taken off, and the Axes has a fixed place, so that
neither a font nor a layout decides. `python tests/analysis/plots/test_plot_images.py` draws the baselines
anew; look at each before committing it.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from attrs import make_class
from matplotlib.text import Text

from scalingar_analysis.plots import bands, comparison, maps, outcomes, ranking, signals
from scalingar_analysis.plots.confidence import plot_confidence
from scalingar_analysis.plots.guidance import plot_guidance
from scalingar_analysis.plots.live import plot_live, plot_tokens
from scalingar_analysis.plots.style import new_figure, our_style, save
from scalingar_analysis.runs.example import Example
from scalingar_analysis.statistics.intervals import Estimate
from scalingar_fw.config.run_config import RunConfig
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Decoded, Ledger, Status, Trajectory
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid

BASELINES = Path(__file__).with_name("baselines")
#: Root mean square of grey levels (0 to 255) in tiles of 4 x 4 pixels.
TOLERANCE = 3.0
GRID = Grid(6, 8)
T = GRID.size


def rng(*key):
    return np.random.Generator(np.random.Philox(key=np.array([*key, 7][:2], dtype=np.uint64)))


def trajectory(candidate, length, status=Status.COMPLETED):
    noise, steps = rng(candidate, 1), np.arange(length)
    level = 0.5 + 0.25 * np.tanh(steps / 9) + 0.03 * candidate
    flagged = np.zeros(length)
    if status is Status.PRUNED:
        flagged[-7:] = 1
    if candidate == 2:
        flagged[20:24] = 1
    named = {
        "entropy": 0.5 * np.exp(-steps / 12) + 0.08 * noise.random(length),
        "margin": 1 - 0.6 * np.exp(-steps / 10) * noise.random(length),
        "kl": 0.2 * noise.random(length),
        "confidence": level + 0.01 * noise.standard_normal(length),
        "scale": 1.5 + 0.3 * np.exp(-steps / 20) * (candidate % 3 - 1),
        "threshold": np.where(steps >= 6, 0.62 + 0.001 * steps, np.nan),
        "flagged": flagged,
        "recovered": ((candidate == 2) & (steps == 24)).astype(float),
    }
    values = {k: v.astype(np.float32) for k, v in named.items()}
    return Trajectory(0, candidate, status, status.sentence, np.zeros(length, np.int64), values)


def example():
    ts = [
        trajectory(0, 22, Status.PRUNED),
        trajectory(1, T),
        trajectory(2, T),
        trajectory(3, 35, Status.PRUNED),
    ]
    config = RunConfig(
        "toy", {"name": "toy"}, (Prompt("a"),), 4, 0, Sampling(guidance=1.5), "cpu", "-"
    )
    return Example(Decoded((Prompt("a"),), ts, [2], Ledger(), T, 4), config, GRID, "toy")


def image():
    y, x = np.mgrid[0:48, 0:64]
    ring = (abs(np.hypot(y - 24, x - 30) - 14) < 5)[..., None]
    return np.where(ring, [230, 60, 40], [30, 40, 90]).astype(np.uint8)


def tables():
    noise = rng(3, 3)
    decay = 0.4 * np.exp(-np.arange(T) / 15)
    return {
        "correct": decay + 0.05 * noise.random((30, T)),
        "incorrect": decay + 0.1 + 0.08 * noise.random((20, T)),
    }


POINTS = [
    comparison.Point("base", 1, 1.0, 0.40, 0.36, 0.44),
    comparison.Point("best-of-n", 4, 4.0, 0.52, 0.48, 0.56),
    comparison.Point("best-of-n", 8, 8.0, 0.58, 0.54, 0.62),
    comparison.Point("scalingar", 8, 2.6, 0.50, 0.46, 0.54),
    comparison.Point("oracle", 4, 4.0, 0.74, 0.70, 0.78, oracle=True),
    comparison.Point("oracle", 8, 8.0, 0.83, 0.79, 0.87, oracle=True),
]
Auroc = make_class("Auroc", ["value", "low", "high"])
Rung = make_class("Rung", ["k", "oracle", "selected"])
Ladder = make_class("Ladder", ["random", "rungs"])


def estimate(mean):
    return Estimate(mean, mean - 0.04, mean + 0.04, 100, 20)


def ladder(ax):
    rungs = [
        Rung(k, estimate(0.4 + 0.14 * np.log2(k)), {"entropy": estimate(0.4 + 0.05 * np.log2(k))})
        for k in range(1, 9)
    ]
    return comparison.plot_ladder(Ladder(estimate(0.4), rungs), ax)


def curves(ax):
    shares = np.linspace(0.1, 1, 10)
    found = {
        "entropy": [Auroc(0.5 + 0.2 * s, 0.45 + 0.2 * s, 0.55 + 0.2 * s) for s in shares],
        "kl": [Auroc(0.5 - 0.1 * s, 0.45 - 0.1 * s, 0.55 - 0.1 * s) for s in shares],
    }
    return ranking.plot_auroc(found, shares, ax)


def risks(ax):
    coverage = np.linspace(0.02, 1, 50)
    both = {"good": (coverage, 0.5 * coverage), "none": (coverage, np.full(50, 0.5))}
    return ranking.plot_risk_coverage(both, ax)


def histogram(ax):
    noise = rng(5, 5)
    groups = {"correct": 0.7 + 0.1 * noise.random(200), "incorrect": 0.62 + 0.1 * noise.random(150)}
    return outcomes.plot_distributions(groups, ax)


def calibration(ax):
    noise = rng(6, 6)
    confidence = noise.random(400)
    return outcomes.plot_calibration(confidence, noise.random(400) < confidence, ax)


def heat(ax):
    table = np.linspace(0.3, 0.8, 12).reshape(3, 4)
    table[0, 3] = np.nan
    return comparison.plot_sensitivity(table, [1, 2, 3], [1, 2, 3, 4], ax, marked=(1, 2))


def over_image(ax):
    e = example()
    return maps.plot_map(e.decoded.trajectories[0], GRID, image(), ax, colorbar=False)


PLOTS = {
    "signal": lambda ax: signals.plot_entropy(example(), ax),
    "confidence": lambda ax: plot_confidence(example(), ax),
    "guidance": lambda ax: plot_guidance(example(), ax),
    "live": lambda ax: plot_live(example(), ax),
    "tokens": lambda ax: plot_tokens(example(), ax),
    "map": over_image,
    "bands": lambda ax: bands.plot_bands(tables(), ax),
    "rows": lambda ax: bands.plot_profile(tables(), GRID, ax),
    "outcomes": histogram,
    "calibration": calibration,
    "auroc": curves,
    "risk": risks,
    "pareto": lambda ax: comparison.plot_pareto(POINTS, ax),
    "budget": lambda ax: comparison.plot_budget(POINTS, ax),
    "strategies": lambda ax: comparison.plot_strategies(POINTS, ax),
    "sensitivity": heat,
    "ladder": ladder,
}
DARK = ("confidence", "pareto", "map")
CASES = [*PLOTS, *(f"{name}-dark" for name in DARK)]


def drawn(case, change=None):
    """A plot's marks as grey levels in tiles, and as a PNG."""
    name, _, dark = case.partition("-")
    with our_style(bool(dark)):
        figure = new_figure(3.2, 2.0)
        ax = figure.add_axes((0.05, 0.05, 0.9, 0.9))
        PLOTS[name](ax)
        if change is not None:
            change(ax)
        for each in figure.axes:
            if each.get_legend() is not None:
                each.get_legend().remove()
        figure.axes[0].set_position((0.05, 0.05, 0.9, 0.9))
        for extra in figure.axes[1:]:  # colour bars
            extra.remove()
        for text in figure.findobj(Text):
            text.set_visible(False)
        buffer = io.BytesIO()
        save(figure, buffer, dpi=100)
    return buffer.getvalue()


def tiles(png):
    with PIL.Image.open(io.BytesIO(png)) as image:
        grey = np.asarray(image.convert("L"), dtype=float)
    rows, cols = grey.shape[0] // 4, grey.shape[1] // 4
    return grey[: rows * 4, : cols * 4].reshape(rows, 4, cols, 4).mean((1, 3))


def distance(a, b):
    return float(np.sqrt(np.mean((tiles(a) - tiles(b)) ** 2)))


@pytest.mark.parametrize("case", CASES)
def test_a_plot_looks_as_its_baseline(case, tmp_path):
    expected = (BASELINES / f"{case}.png").read_bytes()
    found = drawn(case)
    (tmp_path / f"{case}.png").write_bytes(found)
    far = distance(found, expected)
    assert far < TOLERANCE, (
        f"{case}: {far:.1f}; compare {tmp_path / f'{case}.png'} with its baseline"
    )


@pytest.mark.parametrize("case", ["confidence", "bands", "pareto", "risk"])
def test_a_missing_or_a_moved_mark_is_noticed(case):
    """The comparison is fine enough to be worth anything."""
    expected = (BASELINES / f"{case}.png").read_bytes()

    def lift(ax):
        for line in ax.lines:
            line.set_ydata(np.asarray(line.get_ydata(), dtype=float) * 1.15)

    def bare(ax):
        for artist in [*ax.lines, *ax.collections]:
            artist.set_visible(False)

    for change in (lift, bare):
        assert distance(drawn(case, change), expected) > TOLERANCE


def test_light_and_dark_differ():
    assert distance(drawn("confidence"), drawn("confidence-dark")) > 50


if __name__ == "__main__":
    BASELINES.mkdir(exist_ok=True)
    for case in CASES:
        (BASELINES / f"{case}.png").write_bytes(drawn(case))
