"""A run's answers laid out for an official evaluator, and its results brought back.

An export notes which image is which candidate's, in the exported folder and in the run: results
name images by place, and a place alone would mean another candidate once seeds are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import frozen

from scalingar_fw.benchmark import Benchmark, OfficialFiles, Sample
from scalingar_fw.errors import ContractError, ScalingarError
from scalingar_fw.experiments.documents import ExportFile
from scalingar_fw.experiments.scores import add_scores
from scalingar_fw.experiments.store import Store, UnitRecord
from scalingar_fw.files import new_folder, sha256_of, slug, write_json
from scalingar_fw.reading import read_record

FORMAT = "scalingar-export"
SCHEMA = 1
MANIFEST = "manifest.json"


@frozen
class Exported:
    """What an export wrote: images, prompts, those of the split that it lacks, and what to do."""

    folder: Path
    label: str
    n: int
    images: int
    prompts: int
    missing: int
    instructions: str


def official(benchmark: Benchmark) -> OfficialFiles:
    """The benchmark's official layout, or `ScalingarError` where it has none."""
    if not isinstance(benchmark, OfficialFiles):
        raise ScalingarError(
            f"Benchmark {benchmark.name!r} has no official evaluator: it is scored as it runs."
        )
    return benchmark


def export(
    store: Store,
    benchmark: Benchmark,
    folder: Path,
    *,
    label: str | None = None,
    n: int | None = None,
    name: str | None = None,
    partial: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write the chosen images of one strategy and n, one sample for each seed.

    Args:
        store: the run.
        benchmark: the one that the run used, with its official layout.
        folder: where to; made whole or not at all.
        label: the strategy, where the run has several.
        n: the number of candidates, where the run has several.
        name: what the evaluator shall call the model; default: model, strategy and n.
        partial: allow prompts that have no image yet, which evaluators leave out silently.
        overwrite: replace an earlier export in `folder`.

    Raises:
        ScalingarError: another benchmark's run, several strategies, images that were not kept or
            are not there yet.
    """
    rules = official(benchmark)
    units = _group(store, benchmark, label, n)
    first = units[0]
    split = first.config["split"]
    rows = _answers(store, units)
    items = benchmark.items(split)
    seeds = sorted({row["seed"] for row in rows})
    samples = []
    for row in rows:
        item = items[row["item"]] if row["item"] < len(items) else None
        if item is None or item.prompt.label != row["prompt"]:
            raise ScalingarError(
                f"{store.path} has {row['prompt']!r} as prompt {row['item']} of {split!r}, the "
                f"benchmark's files have another: give the files that the run was made with."
            )
        number = seeds.index(row["seed"])
        samples.append(Sample(row["item"], item, row["seed"], number, len(seeds)))
    missing = len(items) * len(seeds) - len(rows)
    if missing and not partial:
        raise ScalingarError(
            f"{missing} of {len(items) * len(seeds)} images of split {split!r} are not in "
            f"{store.path}: finish the run, or add --partial and say so beside the scores "
            "(evaluators leave out silently what is not there)."
        )
    model = name or slug(f"{first.model}-{first.label}-n{first.n}", 80)
    by_key = {unit.key: unit for unit in units}
    with new_folder(folder, overwrite) as place:
        images: dict[str, dict[str, Any]] = {}
        for row, sample in zip(rows, samples, strict=True):
            where = _inside(rules.place(split, sample, model), benchmark)
            if where in images:
                raise ContractError(f"Benchmark {benchmark.name!r} puts two images at {where}.")
            data = _image(store, by_key[row["unit"]], row)
            _write(place, where, data)
            images[where] = {k: row[k] for k in ("unit", "item", "seed", "candidate")}
        for text_place, text in rules.companions(split, samples, model).items():
            _write(place, _inside(text_place, benchmark), text.encode("utf-8"))
        manifest = {
            "format": FORMAT,
            "schema": SCHEMA,
            "benchmark": benchmark.name,
            "split": split,
            "strategy": first.label,
            "n": first.n,
            "name": model,
            "seeds": seeds,
            "missing": missing,
            "images": images,
            "files": sorted(p.name for p in place.iterdir()),
        }
        write_json(place / MANIFEST, manifest)
    _remember(store, manifest)
    return Exported(
        folder,
        first.label,
        first.n,
        len(rows),
        len({row["item"] for row in rows}),
        missing,
        rules.instructions(folder.resolve(), model),
    )


def import_results(
    store: Store, benchmark: Benchmark, results: Path, images: Path | None = None
) -> dict[str, Any]:
    """Bring an official evaluator's results back, beside the units of the run.

    Args:
        store: the run.
        benchmark: the one that it used.
        results: what the evaluator wrote.
        images: the exported folder that it judged; needed where the run was exported several
            times.

    Returns:
        `judged`, `left_out` (exported, but without a result) and `accuracy`, the plain mean.

    Raises:
        ScalingarError: results of images that were not exported, or of another run.
    """
    scores = official(benchmark).read_results(results)
    manifest = _manifest(store, benchmark, images)
    known = manifest["images"]
    foreign = sorted(set(scores) - set(known))
    if foreign:
        raise ScalingarError(
            f"{results} judges {foreign[0]!r} ({len(foreign)} such), which the export of "
            f"{manifest['strategy']!r} does not hold: name the folder that was judged with "
            "--images DIR."
        )
    finished = {unit.key for unit in store.units()}
    rows = [{**known[where], "score": score} for where, score in scores.items()]
    lost = sum(row["unit"] not in finished for row in rows)
    if lost:
        raise ScalingarError(f"{lost} judged images are of units that {store.path} does not have.")
    digest = sha256_of(results)[:12] if results.is_file() else ""
    add_scores(store.layout, benchmark.name, rows, f"import {results.name} {digest}".strip())
    return {
        "strategy": manifest["strategy"],
        "n": manifest["n"],
        "judged": len(rows),
        "left_out": len(known) - len(rows),
        "accuracy": sum(scores.values()) / len(scores),
    }


def _group(
    store: Store, benchmark: Benchmark, label: str | None, n: int | None
) -> list[UnitRecord]:
    """The units of one strategy and n; an error lists the choices where there are several."""
    units = [u for u in store.units(label) if n in (None, u.n)]
    if not units:
        raise ScalingarError(f"{store.path} has no finished unit" + (f" with n={n}." if n else "."))
    wrong = {u.config["benchmark"] for u in units} - {benchmark.name}
    if wrong:
        raise ScalingarError(
            f"{store.path} is a run of benchmark {min(wrong)!r}, not of {benchmark.name!r}."
        )
    groups = sorted({(u.label, u.n) for u in units})
    if len(groups) > 1:
        listed = ", ".join(f"--strategy {one!r} -n {count}" for one, count in groups)
        raise ScalingarError(f"{store.path} has several: choose one of {listed}.")
    return units


def _answers(store: Store, units: Sequence[UnitRecord]) -> list[dict[str, Any]]:
    columns = ["unit", "n", "seed", "item", "candidate", "chosen", "prompt"]
    rows = store.candidates(units[0].label).select(columns).to_pylist()
    return [row for row in rows if row["chosen"] and row["n"] == units[0].n]


def _image(store: Store, unit: UnitRecord, row: Mapping[str, Any]) -> bytes:
    name = f"images/{row['item']}-{row['seed']}-{row['candidate']}.png"
    if name not in unit.receipt["files"]:
        raise ScalingarError(
            f"{store.path} holds no images: run again with `images: chosen` (--images chosen)."
        )
    return store.file(unit, name)


def _inside(where: str, benchmark: Benchmark) -> str:
    """`where` if it stays in the exported folder: official files are strangers' text."""
    path = PurePosixPath(where)
    odd = path.is_absolute() or ".." in path.parts or "\\" in where or not path.name
    if odd or path.parts[0] == MANIFEST:
        raise ContractError(f"Benchmark {benchmark.name!r} wants to write to {where!r}.")
    return path.as_posix()


def _write(place: Path, where: str, data: bytes) -> None:
    path = place / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _remember(store: Store, manifest: Mapping[str, Any]) -> None:
    """A copy of the manifest in the run, so that results can come without their images."""
    text = f"{manifest['strategy']}/{manifest['n']}/{manifest['split']}/{manifest['name']}"
    name = f"{slug(manifest['benchmark'])}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    store.layout.check_here()
    store.layout.exports.mkdir(exist_ok=True)
    beside = store.layout.exports / f".{name}.partial"
    write_json(beside, manifest)
    beside.replace(store.layout.exports / name)


def _manifest(store: Store, benchmark: Benchmark, images: Path | None) -> dict[str, Any]:
    """The export that results are of."""
    if images is not None:
        found = [read_record(images / MANIFEST, ExportFile)]
    else:
        paths = sorted(store.layout.exports.glob("*.json"))
        known_all = [read_record(p, ExportFile) for p in paths]
        found = [m for m in known_all if m["benchmark"] == benchmark.name]
    if len(found) != 1:
        known = ", ".join(f"{m['strategy']!r} with n={m['n']}" for m in found)
        raise ScalingarError(
            f"{store.path} was exported for {benchmark.name!r} {len(found)} times"
            + (f" ({known})" if known else "")
            + ": name the folder that was judged with --images DIR."
        )
    (manifest,) = found
    if manifest.get("format") != FORMAT or manifest.get("benchmark") != benchmark.name:
        raise ScalingarError(f"{images} is no export for {benchmark.name!r}.")
    return manifest


__all__ = ["Exported", "export", "import_results", "official"]
