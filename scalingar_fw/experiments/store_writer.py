"""Writing a store: a unit's folder is written beside, renamed in, and its receipt comes last.

Nothing waits for the disk: what a power cut tears does not match its receipt, and is redone.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.condition import describe_files, trouble
from scalingar_fw.experiments.documents import LabelFile
from scalingar_fw.experiments.layout import CANDIDATES, FORMAT, SCHEMA, STEPS, UNIT, Layout
from scalingar_fw.experiments.store import open_store, strategy_content
from scalingar_fw.experiments.tables import candidates_table, steps_table
from scalingar_fw.files import slug, write_json
from scalingar_fw.reading import read_record

if TYPE_CHECKING:
    from scalingar_fw.decoding.state import Grid
    from scalingar_fw.experiments.evaluate import ItemResult
    from scalingar_fw.experiments.unit import Unit

#: What of a unit's images is kept.
IMAGES = ("none", "chosen", "all")


def create_store(root: Path | str) -> Layout:
    """The store at `root`, made if there is none.

    Raises:
        ScalingarError: the folder holds something else, or a store of a newer version.
    """
    layout = Layout(Path(root))
    if layout.manifest.is_file():
        open_store(layout.root)  # refuses a newer one
    elif layout.root.exists() and (not layout.root.is_dir() or _foreign(layout.root)):
        raise ScalingarError(
            f"{layout.root} exists and is no experiment's folder: choose another --out."
        )
    there = layout.manifest.is_file()
    with may_be_read_only() if there else contextlib.nullcontext():
        for folder in (layout.receipts, layout.claims, layout.partial, layout.labels):
            folder.mkdir(parents=True, exist_ok=True)
    if not there:
        replace_json(layout.manifest, {"format": FORMAT, "schema": SCHEMA})
    layout.check_here()
    return layout


@contextlib.contextmanager
def may_be_read_only() -> Iterator[None]:
    """What a finished store does not need may fail where nothing can be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise


def _foreign(root: Path) -> bool:
    """Whether a folder holds what is none of ours: Slurm's logs come before the first unit."""
    ours = {"slurm", "receipts", "claims", "partial", "labels"}
    names = (p.name for p in root.iterdir() if not p.name.startswith(".store.json."))
    return any(name not in ours for name in names)


def replace_json(path: Path, data: Any) -> None:
    """`replace_text` of a file of JSON."""
    replace_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write beside and rename: readers see the old file or the new one, never half of it. The same
    text is not written again."""
    with contextlib.suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == text:
            return
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def claim_label(layout: Layout, label: str, strategy: Mapping[str, Any]) -> None:
    """Record what a label means in this store.

    Raises:
        ScalingarError: it means another strategy already.
    """
    digest = hashlib.sha256(label.encode()).hexdigest()[:8]
    path = layout.labels / f"{slug(label)}-{digest}.json"
    if not path.exists():
        replace_json(path, {"label": label, "strategy": dict(strategy)})
    known = read_record(path, LabelFile)
    if strategy_content(known["strategy"]) != strategy_content(strategy):
        raise ScalingarError(
            f"{label!r} is another configuration in {layout.root}: give this one a `name:` of its "
            "own, or choose another --out."
        )


@contextlib.contextmanager
def writing_place(layout: Layout, key: str) -> Iterator[Path]:
    """A folder for a unit's files that is gone when the block ends, unless it was renamed in."""
    layout.check_here()
    layout.partial.mkdir(exist_ok=True)
    place = layout.partial / f"{key}.{secrets.token_hex(4)}"
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_unit(
    place: Path,
    unit: Unit,
    results: Sequence[ItemResult],
    *,
    grid: Grid,
    oracle: bool,
    flops: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write a unit's files into `place`; the content's part of its receipt.

    `results`: of one batch, so that all share one ledger. Nothing in the files depends on the
    clock, so the same unit gives the same bytes.
    """
    import pyarrow.parquet as pq

    config = unit.config
    table = candidates_table(unit.key, unit.label, config, oracle, results)
    pq.write_table(table, place / CANDIDATES, compression="zstd")
    rows = {"candidates": len(table)}
    if config["record"]:
        steps = steps_table(results, config["seed"])
        pq.write_table(steps, place / STEPS, compression="zstd")
        rows["steps"] = len(steps)
    _write_images(place / "images", config["images"], config["seed"], results)
    document = {
        "schema": SCHEMA,
        "key": unit.key,
        "label": unit.label,
        "config": dict(config),
        "grid": [grid.rows, grid.cols],
        "total_tokens": grid.size,
        "oracle": oracle,
        "ledger": results[0].ledger.counts(),
        **({} if flops is None else {"flops": dict(flops)}),
    }
    write_json(place / UNIT, document)
    tasks: dict[str, list[float]] = {}
    for result in results:
        score = result.score
        if score == score:  # NaN where an official evaluator has to judge
            tasks.setdefault(result.item.task, []).append(score)
    return {
        "schema": SCHEMA,
        "key": unit.key,
        "files": describe_files(place),
        "rows": rows,
        "tokens": results[0].ledger.tokens,
        "answers": {task: [len(s), sum(s)] for task, s in tasks.items()},
    }


def _write_images(folder: Path, which: str, seed: int, results: Sequence[ItemResult]) -> None:
    if which == "none":
        return
    from PIL import Image

    folder.mkdir()
    for result in results:
        completed = [i for i, t in enumerate(result.trajectories) if t.completed]
        for place, image in zip(completed, result.images, strict=True):
            if which == "all" or place == result.chosen:
                candidate = result.trajectories[place].candidate
                name = f"{result.index}-{seed}-{candidate}.png"
                Image.fromarray(image).save(folder / name)


def put(layout: Layout, key: str, place: Path, receipt: Mapping[str, Any]) -> bool:
    """Rename `place` in as unit `key` and write its receipt; False where it was finished already.

    `receipt`: what `write_unit` gave, with whatever the clock said. Two workers that finish the
    same unit leave it once, whoever is first.
    """
    layout.check_here()
    target = layout.unit(key)
    for folder in (target.parent.parent, target.parent):
        folder.mkdir(exist_ok=True)
    for _ in range(3):
        try:
            place.rename(target)
            break
        except OSError:
            if not target.exists():
                raise
        if trouble(layout, key) is None:
            return False
        # There is a folder without a receipt that fits: its writer was killed between the two.
        # Where it holds what we have, only the receipt is missing.
        if describe_files(target) == receipt["files"]:
            break
        set_aside(layout, key, "it does not hold what the same unit gave when it was done again")
    else:
        raise ScalingarError(f"{target} cannot be replaced: remove it and run again.")
    layout.receipts.mkdir(exist_ok=True)
    replace_json(layout.receipt(key), dict(receipt))
    return True


def set_aside(layout: Layout, key: str, why: str) -> Path:
    """Move a unit and its receipt to `damaged/`, with a note that says why; where it went."""
    layout.check_here()
    layout.damaged.mkdir(exist_ok=True)
    target = layout.damaged / f"{key}.{secrets.token_hex(4)}"
    target.mkdir()
    # The receipt first: without it the unit does not count, whatever happens next.
    for source, name in ((layout.receipt(key), "receipt.json"), (layout.unit(key), "unit")):
        with contextlib.suppress(FileNotFoundError):
            source.rename(target / name)
    (target / "why.txt").write_text(f"{why}\n", encoding="utf-8")
    return target


def timestamp() -> str:
    """Now, in UTC, as ISO 8601 to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
