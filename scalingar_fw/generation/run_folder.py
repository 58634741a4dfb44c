"""A run's folder: image, plots, trace, and a record of what was done and what it cost."""

from __future__ import annotations

import datetime
import errno
import math
import platform
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from attrs import asdict

from scalingar_fw.config.run_config import describe_sampling
from scalingar_fw.decoding.components import HasSettings
from scalingar_fw.decoding.result import Status
from scalingar_fw.decoding.strategy import NeverTerminate, NoConfidence
from scalingar_fw.errors import PluginWarning, ScalingarError
from scalingar_fw.files import new_folder, slug, write_json
from scalingar_fw.generation.generation import Generation
from scalingar_fw.generation.pictures import png_bytes
from scalingar_fw.generation.plan import Plan
from scalingar_fw.generation.trace import library_versions
from scalingar_fw.reading import read_record

if TYPE_CHECKING:
    from scalingar_fw.registry import Entry

#: Version of `run.json` and `index.json`.
SCHEMA = 1
_RESERVED = ("image.png", "run.json", "config.yaml", "trace")


class _Row(TypedDict):
    folder: str


class IndexFile(TypedDict):
    """What `index.json` must hold to be read."""

    prompts: list[_Row]


class _Ledger(TypedDict):
    prefill_rows: int
    decode_rows: int
    model_calls: int


class _Seconds(TypedDict):
    total: float


class RunFile(TypedDict):
    """What `run.json` must hold to be read."""

    seconds: _Seconds
    ledger: _Ledger
    peak_bytes: int
    created: str
    versions: dict[str, str]


def prompt_folders(path: Path) -> list[Path]:
    """The prompts' folders of a `generate --prompts`, which lie in `path`.

    Raises:
        ScalingarError: `index.json` is damaged, or names what is none of its folders.
    """
    index = path / "index.json"
    names = [row["folder"] for row in read_record(index, IndexFile)["prompts"]]
    for name in names:
        if Path(name).name != name or name in ("", ".", "..") or "\0" in name:
            raise ScalingarError(f"{index} is damaged: {name!r} is no folder of it.")
    if not names:
        raise ScalingarError(f"{path} holds no prompt.")
    return [path / name for name in names]


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else round(value, 6)


def confidence_of(run: Generation) -> float | None:
    """The answer's confidence, or None for a strategy that estimates none."""
    if isinstance(run.strategy.confidence, NoConfidence):
        return None
    return number(run.answer.confidence)


def notes(run: Generation) -> list[str]:
    """What a reader should know before trusting the numbers."""
    out = []
    if run.strategy.oracle:
        out.append(
            "An oracle chose: it looks at what is being measured, an upper bound, no method."
        )
    policy = run.strategy.termination
    ended = any(t.status is not Status.COMPLETED for t in run.decoded.trajectories)
    if not isinstance(policy, NeverTerminate) and run.decoded.n > 1 and not ended:
        name = str(run.config.strategy["termination"]["name"]).split("/")[-1]
        back = run.decoded.recoveries
        cleared = f" ({back} flagged, all recovered)" if back else ""
        out.append(
            f"The termination policy {name!r} never ended a candidate{cleared}: no tokens were "
            "saved."
        )
    floored = run.ledger.floored_logits
    if floored:
        out.append(f"{floored} logits of one branch were -inf and were floored.")
    return out


def report(run: Generation, total_seconds: float | None = None) -> dict[str, Any]:
    """Everything about one prompt's run as plain data: the content of `run.json`."""
    answer, ledger, config = run.answer, run.ledger, run.config
    candidates = [
        {
            "candidate": c.id,
            "status": c.status.value,
            "reason": c.reason,
            "tokens": len(c.tokens),
            "confidence": number(c.confidence),
            "parent": c.trajectory.parent,
            "forked_at": c.trajectory.forked_at,
        }
        for c in run.candidates
    ]
    seconds = {"load": run.load_seconds, **ledger.seconds}
    seconds["total"] = sum(seconds.values()) if total_seconds is None else total_seconds
    return {
        "schema": SCHEMA,
        "prompt": run.prompt.label,
        "index": run.index,
        "answer": {"candidate": answer.id, "confidence": confidence_of(run)},
        "tokens": {
            "sampled": run.tokens,
            "complete": run.full_tokens,
            "per_candidate": run.decoded.total_tokens,
        },
        "statuses": {s.value: run.decoded.count(s) for s in Status if run.decoded.count(s)},
        "prunings": run.decoded.count(Status.PRUNED),
        "recoveries": run.decoded.recoveries,
        "notes": notes(run),
        "seconds": {k: round(v, 4) for k, v in seconds.items()},
        "peak_bytes": ledger.peak_bytes,
        "ledger": ledger.counts(),
        "batch": {"place": run.batch_place, "prompts": run.batch_prompts},
        "sampling": {
            **describe_sampling(config.sampling),
            "noise": run.strategy.sampler.noise,
        },
        "model": {
            "name": config.model,
            "hash": config.model_hash,
            "device": config.device,
            "dtype": config.dtype,
            "grid": [run.grid.rows, run.grid.cols],
            "vocab_size": run.model.vocab_size,
            "settings": dict(run.model.settings) if isinstance(run.model, HasSettings) else {},
        },
        "candidates": candidates,
        "key": config.key(),
        "config": config.to_data(),
        **environment(run.registry.plugins),
    }


def environment(plugins: Iterable[Any]) -> dict[str, Any]:
    """Where and with what: versions, plugins, platform, time. Differs between equal runs."""
    return {
        "versions": library_versions(),
        "plugins": [{k: v for k, v in asdict(p).items() if k != "registered"} for p in plugins],
        "platform": platform.platform(),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def write_run(
    run: Generation, place: Path, *, config: bool = True, since: float | None = None
) -> dict[str, Any]:
    """Write one prompt's files into `place`, which is there and empty; returns its report.

    Args:
        run: what to write.
        place: a folder nobody reads yet (see `files.new_folder`).
        config: whether to write `config.yaml` (a run of many prompts has one for all).
        since: `time.perf_counter()` when the command began, for the total of seconds.
    """
    (place / "image.png").write_bytes(png_bytes(run.pixels))
    made = list(write_artefacts(run, place))
    (place / "trace").mkdir()
    run.trace.write_into(place / "trace")
    files = ["image.png", *made, "trace"]
    if config:
        # Where prompts shared a batch, only the whole run repeats to the byte.
        whole = run.config if run.batch_prompts == 1 else run.run
        (place / "config.yaml").write_text(whole.to_yaml(), encoding="utf-8", newline="\n")
        files.append("config.yaml")
    data = report(run, None if since is None else time.perf_counter() - since)
    data["files"] = files
    write_json(place / "run.json", data)
    return data


def save_run(run: Generation, folder: Path, overwrite: bool = False) -> Path:
    """Write one prompt's run as `folder`, whole or not at all; the folder."""
    with new_folder(folder, overwrite) as place:
        write_run(run, place)
    return folder


def write_artefacts(run: Generation, place: Path) -> Iterator[str]:
    """Every registered artefact; one that fails is a warning, since the image is what counts."""
    for entry in run.registry.of_kind("artefact"):
        name = _file_name(entry, run.registry.names("artefact"))
        free = not name.startswith(".") and name not in _RESERVED and Path(name).name == name
        path = place / name
        try:
            if not free:
                raise ValueError(f"{name!r} is no name for a file here")
            entry.load()(run, path)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            if free:
                _remove(path)
            warnings.warn(
                f"Artefact {entry.full_name!r} failed and is left out: "
                f"{type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=2,
            )
            continue
        if path.exists():
            yield name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _file_name(entry: Entry, names: list[str]) -> str:
    return entry.name if entry.name in names else f"{entry.package}-{entry.name}"


def prompt_folder(index: int, total: int, text: str) -> str:
    """`0007-a-red-circle`: sorted as the prompts, never equal, never outside its parent."""
    digits = max(4, len(str(total - 1)))
    return f"{index:0{digits}d}-{slug(text)}"


def default_folder(plan: Plan, source: Path | None = None) -> Path:
    """`runs/<slug>-<strategy>-<seed>-<hash6>`; the slug is the prompt's, or the prompts file's."""
    text = plan.prompts[0].label if source is None else source.stem
    config = plan.config
    return Path("runs") / f"{slug(text)}-{slug(plan.strategy.name)}-{config.seed}-{config.hash6}"


def write_many(
    plan: Plan, runs: Iterable[Generation], place: Path, since: float | None = None
) -> Iterator[tuple[Generation, dict[str, Any]]]:
    """A subfolder for each prompt as it is done, and at the end `index.json`, totals, config.

    Yields each result with its report, so that a caller can show how far it is; nothing is kept
    in memory.
    """
    rows: list[dict[str, Any]] = []
    sums = {"tokens": 0, "complete_tokens": 0, "prunings": 0, "recoveries": 0}
    ledgers: dict[str, float] = {}
    peak = 0
    for run in runs:
        folder = prompt_folder(run.index, len(plan.prompts), run.prompt.label)
        (place / folder).mkdir()
        data = write_run(run, place / folder, config=False)
        rows.append(
            {
                "index": run.index,
                "prompt": run.prompt.label,
                "folder": folder,
                **data["answer"],
                "tokens": run.tokens,
            }
        )
        sums["tokens"] += run.tokens
        sums["complete_tokens"] += run.full_tokens
        sums["prunings"] += data["prunings"]
        sums["recoveries"] += data["recoveries"]
        if run.batch_place == 0:  # a batch's ledger is shared by its prompts
            parts = {f"seconds.{k}": v for k, v in run.ledger.seconds.items()}
            for name, value in {**run.ledger.counts(), **parts}.items():
                ledgers[name] = ledgers.get(name, 0) + value
        peak = max(peak, run.ledger.peak_bytes)
        yield run, data
    write_json(place / "index.json", {"schema": SCHEMA, "prompts": rows})
    (place / "config.yaml").write_text(plan.config.to_yaml(), encoding="utf-8", newline="\n")
    seconds = {"load": plan.load_seconds}
    seconds |= {k.removeprefix("seconds."): v for k, v in ledgers.items() if "seconds." in k}
    seconds["total"] = sum(seconds.values()) if since is None else time.perf_counter() - since
    write_json(
        place / "run.json",
        {
            "schema": SCHEMA,
            "prompts": len(rows),
            **sums,
            "seconds": {k: round(v, 4) for k, v in seconds.items()},
            "peak_bytes": peak,
            "ledger": {k: int(v) for k, v in ledgers.items() if "seconds." not in k},
            "key": plan.config.key(),
            **environment(plan.registry.plugins),
            "files": ["index.json", "config.yaml", *(r["folder"] for r in rows)],
        },
    )
