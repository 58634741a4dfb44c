"""IPV-Txt (Bai et al. 2025, Impossible Videos) from a user's copy: prompts that defy physics.

`ipv_txt_prompt_suite.json` is a taxonomy of nested objects whose leaves are lists of
`{prompt_id, prompt_text}`, as the repository's example_read_prompt.py reads it. Upstream scores
videos by human annotation and has no layout for images, so both are ours: a table to fill in, with
the two questions that upstream asks. An image counts if both are answered with yes.
"""

from __future__ import annotations

import csv
import functools
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from scalingar_fw.benchmark import Item, Sample, with_replicas
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.reading import read_json
from scalingar_plugins.benchmarks.user_files import need_path, text_of

VARIABLE = "SCALINGAR_IPV_TXT"
FILE = "ipv_txt_prompt_suite.json"
TABLE = "annotations.csv"
#: What people are asked about each image.
QUESTIONS = ("visual_quality", "prompt_following")
_ANSWERS = {"1": 1.0, "yes": 1.0, "true": 1.0, "0": 0.0, "no": 0.0, "false": 0.0}


@frozen
class IPVTxtBenchmark:
    """IPV-Txt's impossible prompts from your copy; tasks are the paths of its taxonomy.

    Option: `files`, the file ipv_txt_prompt_suite.json or its folder (also $SCALINGAR_IPV_TXT).
    Judged by people: the export holds a table to fill in.
    """

    files: str | None = field(factory=lambda: os.environ.get(VARIABLE) or None)
    name: str = field(default="ipv-txt", init=False)
    splits: Sequence[str] = field(default=("test",), init=False)

    @property
    def judged_elsewhere(self) -> str:
        return (
            "IPV-Txt images are judged by people: scalingar export ipv-txt RUN DIR, fill in "
            f"{TABLE}, then scalingar import ipv-txt RUN DIR/{TABLE}."
        )

    def items(self, split: str) -> Sequence[Item]:
        if split not in self.splits:
            raise unknown_name("split of 'ipv-txt'", split, self.splits)
        return [item for _, item in read_suite(self.files)]

    def score(self, items: Sequence[Item], images: Any) -> Sequence[float]:
        return [float("nan")] * len(items)

    # -- people --------------------------------------------------------------------------------

    def place(self, split: str, sample: Sample, model: str) -> str:
        name, _ = read_suite(self.files)[sample.index]
        return f"{name}.png" if sample.total == 1 else f"{name}-{sample.number}.png"

    def companions(self, split: str, samples: Sequence[Sample], model: str) -> Mapping[str, str]:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["image", "taxonomy", "prompt", *QUESTIONS])
        for s in samples:
            row = [self.place(split, s, model), s.item.task, s.item.prompt.text]
            table.writerow([*row, *("" for _ in QUESTIONS)])
        return {TABLE: text.getvalue()}

    def instructions(self, folder: Path, model: str) -> str:
        return (
            f"Answer {' and '.join(QUESTIONS)} with yes or no for each image in\n  {folder / TABLE}"
        )

    def read_results(self, path: Path) -> Mapping[str, float]:
        """1 where every question is answered with yes; images without answers are left out."""
        path = path / TABLE if path.is_dir() else path
        try:
            with path.open(encoding="utf-8-sig", newline="") as handle:
                rows = list(csv.DictReader(handle))
        except (OSError, ValueError, csv.Error) as error:
            raise ScalingarError(f"{path} cannot be read as CSV: {error}.") from error
        scores = {}
        for number, row in enumerate(rows, 2):
            answers = [(row.get(q) or "").strip().lower() for q in QUESTIONS]
            if not any(answers):
                continue
            if not row.get("image") or any(a not in _ANSWERS for a in answers):
                raise ScalingarError(
                    f"{path}, line {number}: expected image and {' and '.join(QUESTIONS)} with "
                    f"yes or no, found {answers}."
                )
            scores[row["image"]] = min(_ANSWERS[a] for a in answers)
        if not scores:
            raise ScalingarError(f"{path} holds no answer: fill in {' and '.join(QUESTIONS)}.")
        return scores


@functools.cache
def read_suite(files: str | None) -> list[tuple[str, Item]]:
    """Each item with its `prompt_id`, in the file's order."""
    path = need_path(
        "ipv-txt",
        files,
        VARIABLE,
        FILE,
        f"Download {FILE} from the dataset showlab/ImpossibleVideos on Hugging Face and name it",
    )
    names, items = [], []
    for labels, entry in _leaves(read_json(path), ()):
        where = f"{path}, {' - '.join(labels) or 'the top level'}"
        name = str(entry.get("prompt_id", ""))
        if not re.fullmatch(r"[\w-]+", name):
            raise ScalingarError(f"{where}: prompt_id={name!r} is no name of a file.")
        names.append(name)
        text = text_of(entry, "prompt_text", where)
        items.append(Item(Prompt(text), " - ".join(labels), name))
    if not items:
        raise ScalingarError(f"{path} holds no prompt_text: is it {FILE}?")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ScalingarError(f"{path}: prompt_id {', '.join(twice[:6])} is there more than once.")
    return list(zip(names, with_replicas(items), strict=True))


def _leaves(data: Any, labels: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The entries with a prompt, each with the keys that lead to it."""
    if isinstance(data, dict) and "prompt_text" in data:
        yield labels, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, (*labels, str(key)))
    elif isinstance(data, list):
        for value in data:
            yield from _leaves(value, labels)
