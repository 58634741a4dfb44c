"""A recording from disk: an experiment's store, a run's folder, or a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalingar_analysis.recordings.recording import (
    Asked,
    Candidates,
    Recording,
    check_complete,
    known_signals,
)
from scalingar_fw.config.serialization import build
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.experiments.evaluate import REPLICA_STEP
from scalingar_fw.experiments.layout import STEPS
from scalingar_fw.experiments.store import Store, open_store
from scalingar_fw.experiments.tables import STEP_INDEX, signal_of
from scalingar_fw.files import MARKERS
from scalingar_fw.generation.run_folder import prompt_folders
from scalingar_fw.generation.trace import read_trace
from scalingar_fw.registry import Registry
from scalingar_fw.trust import only_named

if TYPE_CHECKING:
    import pyarrow as pa

#: What `scalingar record` calls its strategy.
LABEL = "record"


def read_recording(
    path: Path | str,
    registry: Registry,
    *,
    label: str | None = None,
    n: int | None = None,
    seed: int | None = None,
) -> Recording:
    """The complete candidates in a folder.

    Args:
        path: of `scalingar record`, `bench --record` or `generate`, or of a trace.
        registry: what the names of the recorded strategy mean.
        label: which strategy's candidates, where a store holds several.
        n: the first `n` candidates of each prompt; all where None.
        seed: those of one seed, where a store holds several; all where None.

    Raises:
        ScalingarError: there is nothing to replay; the message says how to record it.
    """
    path = Path(path)
    if (path / "store.json").is_file():
        recording = _of_store(open_store(path), registry, label, n, seed)
    elif label is not None or seed is not None:
        raise ScalingarError(f"{path} is no store of experiments: leave --recorded and --seed out.")
    else:
        recording = _of_runs(path, registry)
    return recording if n is None else recording.first(n)


def _built(spec: Mapping[str, Any], registry: Registry) -> Strategy | None:
    """The recorded strategy, or None where a plugin of it is not installed any more."""
    try:
        with only_named():  # the folder may be somebody else's, in Python as well
            strategy: Strategy = build("strategy", spec, registry)
    except ScalingarError:
        return None
    return strategy


# --- the folders of `generate` -------------------------------------------------------------------


def _of_runs(path: Path, registry: Registry) -> Recording:
    folders = [path]
    if (path / "index.json").is_file():
        folders = prompt_folders(path)
    elif not any((path / marker).is_file() for marker in MARKERS):
        raise ScalingarError(
            f"{path} holds no recording: name the folder of `scalingar record`, of `scalingar "
            "bench --record`, or of a `scalingar generate` that ended no candidate."
        )
    traces = [read_trace(folder) for folder in folders]
    first = traces[0]
    pools = [
        Candidates(prompt, trace.decoded.of_prompt(place), trace.config.seed, item)
        for item, trace in enumerate(traces)
        for place, prompt in enumerate(trace.prompts)
    ]
    strategy = _built(first.config.strategy, registry)
    return Recording.of(pools, first.grid, first.config.sampling, strategy, str(path))


# --- the experiments' store ----------------------------------------------------------------------


def _of_store(
    store: Store, registry: Registry, label: str | None, n: int | None, seed: int | None
) -> Recording:
    label = _complete_label(store) if label is None else label
    units = store.units(label)
    if any(STEPS not in u.receipt["files"] for u in units):
        raise ScalingarError(
            f"{store.path} holds no steps of {label!r}: record it with `scalingar record`, or run "
            "`scalingar bench` with --record."
        )
    # Fewer candidates are a prefix of more, so the widest pool holds all that were asked for.
    wide = max(u.n for u in units)
    found = [u for u in units if u.n == wide and seed in (None, u.seed)]
    if not found:
        seeds = {str(u.seed) for u in units}
        raise unknown_name(f"seed of {label!r} in {store.path}", str(seed), seeds)
    table = _of(store.candidates(label), wide, seed)
    steps = _of(store.steps(label), wide, seed)
    grid, source = store.grid(label), f"{store.path} ({label})"
    forks = len(table) - table["parent"].null_count
    lengths = table["length"].to_numpy()
    check_complete(forks, int((lengths != grid.size).sum()), len(table), source)
    signals = {
        signal_of(c): _floats(steps[c], len(table))
        for c in steps.column_names
        if c not in STEP_INDEX and not steps[c].null_count
    }
    known_signals(signals, source)
    entries = {(u.seed, e["item"]): e for u in found for e in u.config["items"]}
    keys = list(zip(table["seed"].to_pylist(), table["item"].to_pylist(), strict=True))
    order = list(dict.fromkeys(keys))
    place = {key: number for number, key in enumerate(order)}
    return Recording(
        asked=tuple(_asked(entries[key], *key) for key in order),
        prompt=np.array([place[key] for key in keys], dtype=np.int64),
        candidate=table["candidate"].to_numpy().astype(np.int64),
        tokens=steps["token"].to_numpy().astype(np.int64).reshape(len(table), -1),
        signals=signals,
        scores=table["score"].fill_null(np.nan).to_numpy().astype(np.float64),
        grid=grid,
        sampling=store.sampling(label),
        strategy=_built(found[0].config["strategy"], registry),
        source=source,
    )


def _of(table: pa.Table, n: int, seed: int | None) -> pa.Table:
    """The rows of one n, and of one seed where it is given."""
    import pyarrow.compute as pc

    mask = pc.equal(table["n"], n)
    if seed is not None:
        mask = pc.and_(mask, pc.equal(table["seed"], seed))
    return table.filter(mask).combine_chunks()


def _floats(column: Any, rows: int) -> Array:
    values: Array = column.to_numpy().astype(np.float32).reshape(rows, -1)
    return values


def _asked(entry: Mapping[str, Any], seed: int, item: int) -> Asked:
    prompt = Prompt(entry["text"], entry["class_id"], entry["negative"])
    key = seed + REPLICA_STEP * entry["replica"]
    return Asked(prompt, key, item, entry["task"], entry["cluster"])


def _complete_label(store: Store) -> str:
    """The one strategy of a store whose candidates can be replayed on."""
    labels = store.labels()
    if LABEL in labels:
        return LABEL
    table = store.candidates().select(["strategy", "status"]).to_pydict()
    ended = {
        name
        for name, status in zip(table["strategy"], table["status"], strict=True)
        if status != "completed"
    }
    recorded = [u.label for u in store.units() if STEPS in u.receipt["files"]]
    whole: Sequence[str] = sorted(set(recorded) - ended)
    if len(whole) == 1:
        return whole[0]
    if not whole:
        raise ScalingarError(
            f"{store.path} holds no complete candidates with their steps: record them with "
            "`scalingar record`, or `scalingar bench --record` with a strategy that ends nobody."
        )
    raise ScalingarError(
        f"{store.path} holds complete candidates of several strategies: say --recorded "
        f"{' or --recorded '.join(whole)}."
    )
