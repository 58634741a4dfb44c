"""TIIF-Bench (Wei et al. 2025) from a user's copy: its prompts have no licence to be shipped under.

39 types of prompts, each line once short and once long; a vision-language model answers yes-no
questions about each image. Files as the repository's README describes them:
`data/{test,testmini}_prompts/*.jsonl` with `type`, `short_description` and `long_description` on
each line; images in `<type>/<model>/{short,long}_description/<line from 0>.png`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from scalingar_fw.benchmark import Item, Sample, with_replicas
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.reading import read_json
from scalingar_plugins.benchmarks.user_files import need_path, read_lines, text_of

VARIABLE = "SCALINGAR_TIIF"
LENGTHS = ("short", "long")
SPLITS = ("testmini", "testmini-short", "testmini-long", "test", "test-short", "test-long")


@frozen
class TIIFBenchmark:
    """TIIF-Bench's prompts from your copy; tasks are its types, short and long ones apart.

    Option: `files`, the folder `data` of a checkout of github.com/A113N-W3I/TIIF-Bench (also
    $SCALINGAR_TIIF). Splits: `testmini`, `test`, and the short or the long prompts of each.
    Judged by the official evaluator, which asks a vision-language model.
    """

    files: str | None = field(factory=lambda: os.environ.get(VARIABLE) or None)
    name: str = field(default="tiif", init=False)
    splits: Sequence[str] = field(default=SPLITS, init=False)

    @property
    def judged_elsewhere(self) -> str:
        return (
            "TIIF-Bench images are judged by its official evaluator: scalingar export tiif RUN "
            "DIR, then scalingar import tiif RUN RESULTS."
        )

    def items(self, split: str) -> Sequence[Item]:
        return [item for _, item in read_split(self.files, split)]

    def score(self, items: Sequence[Item], images: Any) -> Sequence[float]:
        return [float("nan")] * len(items)

    # -- the official evaluator ----------------------------------------------------------------

    def place(self, split: str, sample: Sample, model: str) -> str:
        (kind, length, line), _ = read_split(self.files, split)[sample.index]
        # It knows one image of a prompt: further samples are further models to it.
        name = model if sample.total == 1 else f"{model}-{sample.number}"
        return f"{kind}/{name}/{length}_description/{line}.png"

    def companions(self, split: str, samples: Sequence[Sample], model: str) -> Mapping[str, str]:
        return {}

    def instructions(self, folder: Path, model: str) -> str:
        return (
            f"In the checkout of TIIF-Bench (with several samples, for each of {model}-0, ...):\n"
            "  python eval/eval_with_vlm.py --jsonl_dir data/SPLIT_eval_prompts "
            f"--image_dir {folder} --eval_model {model} --output_dir RESULTS "
            "--api_key KEY --base_url URL --model gpt-4o"
        )

    def read_results(self, path: Path) -> Mapping[str, float]:
        """The share of an image's questions that were answered as the reference answers them."""
        if not path.is_dir():
            raise ScalingarError(f"{path} is no folder: name the evaluator's --output_dir.")
        scores = {}
        for file in sorted(path.glob("*/*/*/*.json")):
            model, kind, length, _ = file.relative_to(path).parts
            if length in LENGTHS and file.stem.isdigit():
                place = f"{kind}/{model}/{length}_description/{file.stem}.png"
                scores[place] = _share(file)
        if not scores:
            raise ScalingarError(
                f"{path} holds no results: expected MODEL/TYPE/short/0.json and the like, as "
                "eval_with_vlm.py writes them."
            )
        return scores


@functools.cache
def read_split(files: str | None, split: str) -> list[tuple[tuple[str, str, int], Item]]:
    """Each item with its type, length and line; by file, line, and short before long."""
    if split not in SPLITS:
        raise unknown_name("split of 'tiif'", split, SPLITS)
    part, _, only = split.partition("-")
    folder = need_path(
        "tiif",
        files,
        VARIABLE,
        f"{part}_prompts",
        "Clone github.com/A113N-W3I/TIIF-Bench and name its folder data",
    )
    places, items = [], []
    for path in sorted(folder.glob("*.jsonl")):
        for line, (where, record) in enumerate(read_lines(path)):
            kind = text_of(record, "type", where)
            if not re.fullmatch(r"[\w+ -]+", kind):
                raise ScalingarError(f"{where}: type={kind!r} is no name of a folder.")
            for length in [only] if only else LENGTHS:
                text = text_of(record, f"{length}_description", where)
                places.append((kind, length, line))
                # The two wordings of a line ask for one scene.
                items.append(Item(Prompt(text), f"{kind}/{length}", f"{kind}/{line}"))
    if not items:
        raise ScalingarError(f"{folder} holds no *.jsonl with prompts: is the copy complete?")
    if len(set(places)) < len(places):
        raise ScalingarError(f"{folder}: two files hold prompts of one type.")
    return list(zip(places, with_replicas(items), strict=True))


def _share(file: Path) -> float:
    record = read_json(file)
    answers = []
    for key in ("gt_answers", "model_pred"):
        values = record.get(key) if isinstance(record, dict) else None
        if not isinstance(values, list) or not values:
            raise ScalingarError(f"{file}: {key}={values!r} must be a list of answers.")
        answers.append([str(value).strip().lower() for value in values])
    wanted, given = answers
    if len(wanted) != len(given):
        raise ScalingarError(f"{file}: {len(given)} answers to {len(wanted)} questions.")
    return sum(w == g for w, g in zip(wanted, given, strict=True)) / len(wanted)
