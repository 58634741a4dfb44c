"""Any list of prompts as a benchmark: JSON Lines, CSV, Parquet, plain text, or a hub's dataset.

`scalingar bench --benchmark my.jsonl` is short for `--benchmark prompts --benchmark-option
file=my.jsonl`. A column of tags gives tasks, a pattern names exported images, and a scorer judges.
"""

from __future__ import annotations

import csv
import functools
import json
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from scalingar_fw.benchmark import PROMPT_FILES, Item, Sample, with_replicas
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError, did_you_mean
from scalingar_fw.files import sha256_of
from scalingar_fw.reading import read_table, read_text
from scalingar_plugins.benchmarks.user_files import read_lines

#: What a name of exported images may be made of.
FIELDS = ("index", "number", "seed", "task")
#: The task of prompts without a tag.
UNTAGGED = "all"
RESULTS = "scores.csv"


@frozen
class PromptFileBenchmark:
    """Your own prompts: a JSON Lines, CSV, Parquet or text file, or a dataset of the hub.

    Options: `file`, the file (text: a prompt on each line), or `dataset`, a Hugging Face dataset
    (`org/name`, package datasets), whose split is `--split`; `subset`, its configuration; `prompt`,
    the column of the prompts; `tags`, the column whose values are the tasks; `negative`, a column
    of negative prompts; `images`, the pattern of exported images' names; `scorer`, who judges:
    `module:function` called as function(prompts, images) with scores in [0, 1].
    """

    file: str | None = None
    dataset: str | None = None
    subset: str | None = None
    prompt: str = "prompt"
    tags: str | None = None
    negative: str | None = None
    images: str = "{index:05d}-{number}.png"
    scorer_path: str = field(default="", alias="scorer")
    name: str = field(default="prompts", init=False)

    def __attrs_post_init__(self) -> None:
        if self.file is not None and self.dataset is not None:
            raise ScalingarError("Benchmark 'prompts' takes file=PATH or dataset=NAME, not both.")
        try:
            used = {part for _, part, _, _ in string.Formatter().parse(self.images) if part}
            made = self.images.format(index=0, number=0, seed=0, task="a")
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ScalingarError(
                f"images={self.images!r} is no pattern of {', '.join(FIELDS)} ({error}): such as "
                "{index:05d}-{number}.png."
            ) from error
        parts = Path(made).parts
        if not made.endswith(".png") or Path(made).is_absolute() or ".." in parts:
            raise ScalingarError(f"images={self.images!r} must name PNG files in the export.")
        if "index" not in used:
            raise ScalingarError(f"images={self.images!r} must hold {{index}}: names would repeat.")

    @property
    def splits(self) -> Sequence[str]:
        """A file is one split; which ones a dataset has, its own page says."""
        return ("test",) if self.dataset is None else ("test", "validation", "train")

    @property
    def scorer(self) -> str:
        """Who judges: part of a unit's identity."""
        return self.scorer_path

    @property
    def judged_elsewhere(self) -> str:
        if self.scorer_path:
            return ""
        return (
            "Nothing here judges these images: give scorer=module:function, or export them "
            f"(scalingar export prompts RUN DIR), fill in {RESULTS} and import it."
        )

    def items(self, split: str) -> Sequence[Item]:
        return _items(
            self.file, self.dataset, self.subset, split, self.prompt, self.tags, self.negative
        )

    def score(self, items: Sequence[Item], images: Array) -> Sequence[float]:
        if not self.scorer_path:
            return [float("nan")] * len(items)
        from scalingar_plugins.rewards.images import checked, load_scorer

        judge, what = load_scorer(self.scorer_path), f"scorer {self.scorer_path!r}"
        found = checked(judge([i.prompt.label for i in items], images), len(items), what)
        outside = found[(found < 0) | (found > 1)]
        if len(outside):
            raise ScalingarError(
                f"{what} gave {outside[0]:g}: a benchmark's scores lie in [0, 1] (1 is correct)."
            )
        return [float(value) for value in found]

    # -- who judges elsewhere ------------------------------------------------------------------

    def place(self, split: str, sample: Sample, model: str) -> str:
        task = "".join(c if c.isalnum() or c in "-_" else "-" for c in sample.item.task)
        return self.images.format(
            index=sample.index, number=sample.number, seed=sample.seed, task=task
        )

    def companions(self, split: str, samples: Sequence[Sample], model: str) -> Mapping[str, str]:
        lines = [
            {
                "image": self.place(split, s, model),
                "prompt": s.item.prompt.text,
                "tag": s.item.task,
                "index": s.index,
                "seed": s.seed,
            }
            for s in samples
        ]
        return {"prompts.jsonl": "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines)}

    def instructions(self, folder: Path, model: str) -> str:
        return (
            f"prompts.jsonl in {folder} says which image belongs to which prompt. Write\n"
            f"  {folder / RESULTS} with the columns image and score (0 to 1)"
        )

    def read_results(self, path: Path) -> Mapping[str, float]:
        path = path / RESULTS if path.is_dir() else path
        scores: dict[str, float] = {}
        for where, row in _rows(path):
            image, score = str(row.get("image") or ""), row.get("score")
            try:
                value = float(score)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                value = float("nan")
            if not image or not 0 <= value <= 1:
                raise ScalingarError(
                    f"{where}: expected image and a score from 0 to 1, found image={image!r} and "
                    f"score={score!r}."
                )
            if image in scores:
                raise ScalingarError(f"{where}: {image!r} is judged twice.")
            scores[image] = value
        if not scores:
            raise ScalingarError(f"{path} holds no scores.")
        return scores


def _items(
    file: str | None,
    dataset: str | None,
    subset: str | None,
    split: str,
    prompt: str,
    tags: str | None,
    negative: str | None,
) -> Sequence[Item]:
    if dataset is not None:
        return _parsed(list(_dataset_rows(dataset, subset, split)), prompt, tags, negative)
    if split != "test":
        raise ScalingarError(f"split={split!r}: a file of prompts is one split, 'test'.")
    if file is None:
        raise ScalingarError(
            "Benchmark 'prompts' needs its prompts: --benchmark my.jsonl, or "
            "--benchmark-option dataset=org/name."
        )
    path = Path(file)
    if not path.is_file():
        raise ScalingarError(f"The file of prompts {str(path)!r} does not exist.")
    return _of_file(path, sha256_of(path), prompt, tags, negative)


@functools.lru_cache(maxsize=8)
def _of_file(
    path: Path, content: str, prompt: str, tags: str | None, negative: str | None
) -> Sequence[Item]:
    """Read once for each content (`content` is its hash): workers ask for items often."""
    return _parsed(list(_rows(path)), prompt, tags, negative)


def _parsed(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    prompt: str,
    tags: str | None,
    negative: str | None,
) -> Sequence[Item]:
    items = []
    for where, row in rows:
        text = _cell(row, prompt, where)
        if not text:
            raise ScalingarError(f"{where}: {prompt!r} is empty: say what to draw.")
        task = UNTAGGED if tags is None else _cell(row, tags, where) or UNTAGGED
        avoid = None if negative is None else _cell(row, negative, where) or None
        items.append(Item(Prompt(text, negative=avoid), task, text))
    if not items:
        raise ScalingarError("The list of prompts is empty.")
    return with_replicas(items)


def _cell(row: Mapping[str, Any], column: str, where: str) -> str:
    """A cell as text, without blanks around it; "" where it is empty."""
    if column not in row:
        raise ScalingarError(
            f"{where} has no {column!r}.{did_you_mean(column, row)} It has: "
            f"{', '.join(map(str, row))}. Name the column: --benchmark-option prompt=COLUMN."
        )
    value = row[column]
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return "" if value is None else str(value).strip()


def _rows(path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The rows of a table or list of prompts, each with where it stands (for errors)."""
    kind = path.suffix.lower()
    if kind not in PROMPT_FILES:
        raise ScalingarError(
            f"{str(path)!r} is none of {', '.join(PROMPT_FILES)}: rename or convert it."
        )
    if kind in (".jsonl", ".ndjson"):
        return read_lines(path)
    if kind == ".parquet":
        read = read_table(path, str(path)).to_pylist()
        return [(f"{path}, row {i}", row) for i, row in enumerate(read, 1)]
    text = read_text(path)
    if kind == ".txt":
        lines = enumerate(text.split("\n"), 1)
        return [(f"{path}, line {i}", {"prompt": line}) for i, line in lines if line.strip()]
    delimiter = "\t" if kind == ".tsv" else ","
    table = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        return [(f"{path}, row {i}", row) for i, row in enumerate(table, 1)]
    except csv.Error as error:
        raise ScalingarError(f"{path}, line {table.line_num} is no CSV: {error}.") from error


def _dataset_rows(
    name: str, subset: str | None, split: str
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    try:
        import datasets
    except ImportError as error:
        raise ScalingarError("dataset=... needs a package: pip install datasets.") from error
    try:
        rows = datasets.load_dataset(name, subset, split=split)
    except Exception as error:  # offline, unknown, gated, another split: it says so itself
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ScalingarError(
            f"dataset {name!r}, split {split!r}, could not be loaded ({first}). --split names "
            "another split, --benchmark-option subset=NAME a configuration."
        ) from error
    return ((f"{name}, {split}, row {i}", row) for i, row in enumerate(rows, 1))
