"""GenEval (Ghosh et al. 2023): 553 prompts, six tasks, judged by an object detector and CLIP.

The prompts ship with the package under their MIT licence (data/geneval_NOTICE.txt). Judging needs
weights that nobody ships: those of our own scorer (`detector`, `clip`), or the official evaluator,
for which images are laid out as it reads them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from scalingar_fw.benchmark import Item, Sample
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError, unknown_name
from scalingar_fw.reading import load_json, read_text
from scalingar_plugins.benchmarks.geneval_prompts import metadata, metadata_lines

#: Where our scorer's weights are, for commands that cannot be told (workers of a sweep).
DETECTOR_VARIABLE = "SCALINGAR_GENEVAL_DETECTOR"
CLIP_VARIABLE = "SCALINGAR_GENEVAL_CLIP"


def _from(variable: str) -> Any:
    return field(factory=lambda: os.environ.get(variable) or None)


@frozen
class GenEvalBenchmark:
    """GenEval's 553 official prompts; tasks are its six tags.

    Options: `detector` and `clip`, folders with the weights of the own scorer (also
    $SCALINGAR_GENEVAL_DETECTOR and $SCALINGAR_GENEVAL_CLIP), and the `device` that it runs on.
    Without them images wait for the official evaluator: `scalingar export geneval RUN DIR`.
    """

    detector: str | None = _from(DETECTOR_VARIABLE)
    clip: str | None = _from(CLIP_VARIABLE)
    device: str = "auto"
    name: str = field(default="geneval", init=False)
    splits: Sequence[str] = field(default=("test",), init=False)

    def __attrs_post_init__(self) -> None:
        if (self.detector is None) != (self.clip is None):
            there, lacks = ("detector", "clip") if self.clip is None else ("clip", "detector")
            raise ScalingarError(
                f"GenEval's scorer has its {there} but not its {lacks}: it needs both "
                f"({DETECTOR_VARIABLE} and {CLIP_VARIABLE}, or detector=DIR and clip=DIR)."
            )

    @property
    def judged_elsewhere(self) -> str:
        if self.detector is not None:
            return ""
        return (
            "GenEval images are not judged here: give the scorer its weights "
            f"({DETECTOR_VARIABLE} and {CLIP_VARIABLE}), or use the official evaluator "
            "(scalingar export geneval RUN DIR, then scalingar import geneval RUN RESULTS)."
        )

    @property
    def scorer(self) -> str:
        """Which weights judge, by content; empty where nobody here does."""
        from scalingar_plugins.benchmarks.geneval_models import fingerprint

        if self.detector is None or self.clip is None:
            return ""
        return fingerprint(self.detector, self.clip)

    def items(self, split: str) -> Sequence[Item]:
        if split not in self.splits:
            raise unknown_name("split of 'geneval'", split, self.splits)
        # Official scores group images by their metadata, so that is what is resampled whole.
        return [
            Item(Prompt(entry["prompt"]), entry["tag"], line)
            for entry, line in zip(metadata().values(), metadata_lines(), strict=True)
        ]

    def score(self, items: Sequence[Item], images: Array) -> Sequence[float]:
        wanted = [wanted_by(item.prompt.text) for item in items]
        if self.detector is None or self.clip is None:
            return [float("nan")] * len(wanted)
        from scalingar_plugins.benchmarks.geneval_models import load_scorer

        judge = load_scorer(self.detector, self.clip, self.device)
        return [float(judge(image, one).correct) for image, one in zip(images, wanted, strict=True)]

    # -- the official evaluator ----------------------------------------------------------------

    def place(self, split: str, sample: Sample, model: str) -> str:
        return f"{sample.index:05d}/samples/{sample.number:04d}.png"

    def companions(self, split: str, samples: Sequence[Sample], model: str) -> Mapping[str, str]:
        # It reads each with json.load and prints it back as the prompt's identity: unchanged.
        lines = metadata_lines()
        return {f"{s.index:05d}/metadata.jsonl": lines[s.index] for s in samples}

    def instructions(self, folder: Path, model: str) -> str:
        return (
            "In a checkout of github.com/djghosh13/geneval:\n"
            f"  python evaluation/evaluate_images.py {folder} --outfile results.jsonl "
            "--model-path DETECTOR_FOLDER"
        )

    def read_results(self, path: Path) -> Mapping[str, float]:
        if not path.is_file():
            raise ScalingarError(f"{path} is no file: name the evaluator's results.jsonl.")
        scores = {}
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if line.strip():
                place, score = _result(line, f"{path}, line {number}")
                if place in scores:
                    raise ScalingarError(f"{path}, line {number}: {place} is judged twice.")
                scores[place] = score
        if not scores:
            raise ScalingarError(f"{path} holds no results.")
        return scores


def wanted_by(prompt: str) -> Mapping[str, Any]:
    """The metadata of an official prompt; `ScalingarError` for any other text."""
    found = metadata().get(prompt)
    if found is None:
        raise ScalingarError(
            f"{prompt!r} is none of GenEval's 553 prompts, so nothing says what it must show."
        )
    return found


def _result(line: str, where: str) -> tuple[str, float]:
    """The place and the score of one line of the official `results.jsonl`."""
    record = load_json(line, where)
    try:
        file, correct, prompt = record["filename"], record["correct"], record["prompt"]
    except (KeyError, TypeError) as error:
        raise ScalingarError(
            f"{where}: expected an object with filename, correct and prompt, as "
            f"evaluate_images.py writes it ({type(error).__name__}: {error})."
        ) from error
    place = re.search(r"(\d+)[/\\]samples[/\\](\d+\.png)$", str(file))
    if place is None or not isinstance(correct, bool):
        raise ScalingarError(
            f"{where}: filename={file!r} must end in INDEX/samples/NUMBER.png, and "
            f"correct={correct!r} must be true or false."
        )
    index = int(place[1])
    # A results file of another set of prompts has the same file names.
    if index >= len(metadata_lines()) or prompt != json.loads(metadata_lines()[index])["prompt"]:
        raise ScalingarError(
            f"{where}: prompt {prompt!r} is not GenEval's prompt {index}: these are results of "
            "another set of prompts."
        )
    return f"{index:05d}/samples/{place[2]}", float(correct)
