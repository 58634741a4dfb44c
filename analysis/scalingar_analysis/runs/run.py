"""A run as the plots and the report take it: a folder of `generate`, a trace, or a store of `bench`.

    run = open_run("runs/...")
    run.examples()       # prompts with their trajectories
    run.table()          # a row for each candidate, as columns

Nothing is read before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, evolve, field

from scalingar_analysis.runs.example import Example, Picture
from scalingar_fw.config.run_config import RunConfig
from scalingar_fw.decoding.result import Array, Decoded, Ledger
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.generation.generation import Generation
from scalingar_fw.generation.run_folder import RunFile, prompt_folders
from scalingar_fw.generation.trace import MANIFEST, Trace, read_trace
from scalingar_fw.reading import read_record, read_text

Table = dict[str, Array]

#: Where `generate` saves the candidates' images, small enough for a report.
THUMBNAILS = "thumbnails"


@define(eq=False)
class Run:
    """`about`: what a summary says, label to text. `config`: YAML. `grid`: cells of its images."""

    source: Path | None
    strategies: list[str]
    about: dict[str, str]
    config: str
    _load: Callable[[str], list[Example]] = field(repr=False)
    _table: Callable[[], Table] | None = field(default=None, repr=False)
    judged: bool = False
    _examples: dict[str, list[Example]] = field(factory=dict, repr=False)
    _rows: Table | None = field(default=None, repr=False)

    def examples(self, strategy: str | None = None) -> list[Example]:
        """Prompts with their trajectories, of one strategy or of all."""
        if strategy is not None and strategy not in self.strategies:
            raise unknown_name("strategy", strategy, self.strategies)
        wanted = self.strategies if strategy is None else [strategy]
        for name in wanted:
            if name not in self._examples:
                self._examples[name] = self._load(name)
        return [e for name in wanted for e in self._examples[name]]

    def table(self) -> Table:
        """A row for each candidate, by column: strategy, n, seed, item, task, cluster, prompt,
        candidate, length, tokens, status, chosen, score, oracle, confidence, total (T)."""
        if self._rows is None:
            self._rows = self._table() if self._table is not None else rows_of(self.examples())
        return self._rows

    @property
    def name(self) -> str:
        return "this run" if self.source is None else self.source.name


def rows_of(examples: Sequence[Example]) -> Table:
    """The table of examples."""
    columns: dict[str, list[Any]] = {}
    for e in examples:
        for place, t in enumerate(e.decoded.trajectories):
            row = {
                "strategy": e.strategy,
                "n": e.n,
                "seed": e.config.seed,
                "item": e.item,
                "task": e.task or "",
                "cluster": e.cluster or "",
                "prompt": e.prompt.label,
                "candidate": t.candidate,
                "length": len(t),
                "tokens": len(t) - t.forked_at,
                "status": t.status.value,
                "chosen": place == e.decoded.chosen[0],
                "score": e.score(place),
                "oracle": False,
                "confidence": t.final("confidence"),
                "total": e.decoded.total_tokens,
            }
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in columns.items()}


def as_run(source: Any) -> Run:
    """A `Run` from itself, a path, a `Generation`, a `Trace`, an `Example`, or a list of such."""
    if isinstance(source, Run):
        return source
    if isinstance(source, (str, Path)):
        return open_run(source)
    things = source if isinstance(source, (list, tuple)) else [source]
    if not things:
        raise ScalingarError("There is no run to look at: the list is empty.")
    examples = [e for thing in things for e in _examples_of(thing)]
    examples = [evolve(e, item=i) for i, e in enumerate(examples)]
    return from_examples(examples)


def from_examples(examples: Sequence[Example], source: Path | None = None) -> Run:
    """A run of what is in memory."""
    labels = list(dict.fromkeys(e.strategy for e in examples))
    first = examples[0].config
    about = {
        "prompts": str(len(examples)),
        "model": first.model,
        "strategies": ", ".join(labels),
        "candidates": str(first.n),
        "seed": str(first.seed),
        "tokens": _tokens(examples),
    }
    config = first.to_yaml() if isinstance(first, RunConfig) else ""
    return Run(
        source=source,
        strategies=labels,
        about=about,
        config=config,
        load=lambda label: [e for e in examples if e.strategy == label],
        judged=any(e.scores is not None for e in examples),
    )


def _tokens(examples: Sequence[Example]) -> str:
    used = sum(e.tokens for e in examples)
    full = sum(e.n * e.decoded.total_tokens for e in examples)
    return f"{used} of {full} (N x T), {100 * used / full:.0f} %"


def _examples_of(thing: Any) -> list[Example]:
    if isinstance(thing, Example):
        return [thing]
    if isinstance(thing, Trace):
        return _of_trace(thing)
    if isinstance(thing, Generation):
        thing.decode_pixels()
        pictures = {c.id: c.pixels for c in thing.candidates}
        name = thing.config.strategy["name"]
        return [Example(thing.decoded, thing.config, thing.grid, name, pictures=pictures)]
    raise ScalingarError(
        f"A {type(thing).__name__} is no run: give a folder, a Generation, a Trace or an Example."
    )


def _of_trace(trace: Trace, pictures: dict[int, Picture] | None = None) -> list[Example]:
    """An example for each prompt of a trace."""
    decoded, out = trace.decoded, []
    for place, prompt in enumerate(decoded.prompts):
        mine = [i for i, t in enumerate(decoded.trajectories) if t.prompt == place]
        own = evolve(
            decoded,
            prompts=(prompt,),
            trajectories=[evolve(decoded.trajectories[i], prompt=0) for i in mine],
            chosen=[mine.index(decoded.chosen[place])],
        )
        name = trace.config.strategy["name"]
        out.append(
            Example(own, trace.config, trace.grid, name, item=place, pictures=pictures or {})
        )
    return out


def open_run(path: Path | str) -> Run:
    """The run in a folder.

    Raises:
        ScalingarError: it holds none, or a damaged one; the message names the file.
    """
    path = Path(path)
    if (path / "store.json").is_file():
        return _of_store(path)
    if (path / "index.json").is_file():
        return _of_folder(path, prompt_folders(path))
    if (path / MANIFEST).is_file() or (path / "trace" / MANIFEST).is_file():
        return _of_folder(path, [path])
    raise ScalingarError(
        f"{path} holds no run: name a folder that `scalingar generate` or `scalingar bench` wrote."
    )


def _of_folder(path: Path, folders: list[Path]) -> Run:
    examples: list[Example] = []
    for folder in folders:
        trace = read_trace(folder)
        found = _of_trace(trace)
        if len(found) == 1:
            found = [evolve(found[0], pictures=_pictures(folder, found[0]))]
        examples += [evolve(e, item=len(examples) + i) for i, e in enumerate(found)]
    run = from_examples(examples, path)
    config = path / "config.yaml"
    if config.is_file():
        run.config = read_text(config)
    if (path / "run.json").is_file():
        run.about |= _about(path / "run.json")
    return run


def _pictures(folder: Path, example: Example) -> dict[int, Picture]:
    found: dict[int, Picture] = {}
    for t in example.decoded.trajectories:
        file = folder / THUMBNAILS / f"{t.candidate}.png"
        if file.is_file():
            found[t.candidate] = file
    if (folder / "image.png").is_file():
        found[example.answer.id] = folder / "image.png"
    return found


def _about(path: Path) -> dict[str, str]:
    """What `run.json` says of cost and surroundings."""
    data = read_record(path, RunFile)
    ledger = data["ledger"]
    rows = ledger["prefill_rows"] + ledger["decode_rows"] + ledger.get("scored_rows", 0)
    return {
        "model calls": str(ledger["model_calls"]),
        "forward rows": str(rows),
        "seconds": f"{data['seconds']['total']:.1f}",
        "peak memory": f"{data['peak_bytes'] / 2**20:.0f} MiB",
        "created": data["created"],
        "versions": ", ".join(f"{k} {v}" for k, v in data["versions"].items()),
    }


# --- stores ------------------------------------------------------------------------------------


def _of_store(path: Path) -> Run:
    from scalingar_fw.experiments import open_store

    store = open_store(path)
    labels = store.labels()
    if not labels:
        raise ScalingarError(f"{path} has no finished unit yet: let its sweep run on.")
    sweep = store.layout.sweep
    return Run(
        source=path,
        strategies=labels,
        about=_about_store(store),
        config=read_text(sweep) if sweep.is_file() else "",
        load=lambda label: _store_examples(store, label),
        table=lambda: _store_table(store),
        judged=True,
    )


def _about_store(store: Any) -> dict[str, str]:
    units = store.units()
    config = units[0].config

    def several(values: Any) -> str:
        return ", ".join(str(v) for v in sorted(set(values)))

    seconds = sum(float(v) for u in units for v in u.receipt.get("seconds", {}).values())
    return {
        "benchmark": f"{config.get('benchmark')}, {config.get('split')}",
        "items": str(len({i for u in units for i in u.items})),
        "models": several(u.model for u in units),
        "strategies": ", ".join(store.labels()),
        "candidates": several(u.n for u in units),
        "seeds": several(u.seed for u in units),
        "units": str(len(units)),
        "tokens": str(sum(u.ledger["tokens"] for u in units)),
        "seconds, all units": f"{seconds:.1f}",
    }


def _store_table(store: Any) -> Table:
    data = store.candidates()
    names = ("strategy", "n", "seed", "item", "task", "cluster", "prompt", "candidate", "length")
    out = {
        name: np.array(data[name].to_pylist())
        for name in (*names, "tokens", "status", "chosen", "oracle")
    }
    for name in ("score", "confidence"):
        out[name] = np.array(
            [np.nan if v is None else v for v in data[name].to_pylist()], dtype=np.float64
        )
    total = {label: store.grid(label).size for label in store.labels()}
    out["total"] = np.array([total[s] for s in out["strategy"]], dtype=np.int64)
    return out


def _store_examples(store: Any, label: str) -> list[Example]:
    units = store.units(label)
    grid, sampling = store.grid(label), store.sampling(label)
    folders = {
        (u.n, u.seed, i): store.layout.unit(u.key) / "images" for u in units for i in u.items
    }
    first = units[0].config
    out = []
    for pool in store.trajectories(label):
        config = RunConfig(
            model=first["model"],
            strategy={**first["strategy"], "name": label},
            prompts=(pool.prompt,),
            n=pool.n,
            seed=pool.seed,
            sampling=sampling,
            device=str(first.get("device", "cpu")),
            dtype=str(first.get("dtype", "float32")),
        )
        trajectories = [evolve(t, prompt=0) for t in pool.trajectories]
        decoded = Decoded(
            prompts=(pool.prompt,),
            trajectories=trajectories,
            chosen=[pool.chosen],
            ledger=Ledger(),
            total_tokens=grid.size,
            n=pool.n,
        )
        folder = folders[pool.n, pool.seed, pool.item]
        files = {
            t.candidate: folder / f"{pool.item}-{pool.seed}-{t.candidate}.png" for t in trajectories
        }
        out.append(
            Example(
                decoded,
                config,
                grid,
                label,
                item=pool.item,
                task=pool.task,
                cluster=pool.cluster,
                scores=np.asarray(pool.scores, dtype=np.float64),
                pictures={k: v for k, v in files.items() if v.is_file()},
            )
        )
    return out
