"""A benchmark in a page: three prompts, a scorer that may be absent, and an official layout."""

from __future__ import annotations

import json
import os

from scalingar_fw.benchmark import Item
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.errors import ScalingarError


class Lamp:
    """Is the picture brighter than `least`?"""

    name, splits = "lamp", ("test",)

    def __init__(self, least=""):
        self.least = least
        self.judged_elsewhere = "" if least else "The lamp is judged by its office: give least."

    def items(self, split):
        where = os.environ.get("LAMP_PROMPTS", "a lamp,a torch,a candle")
        return [Item(Prompt(text), text.split()[-1], text) for text in where.split(",")]

    def score(self, items, images):
        if not self.least:
            return [float("nan")] * len(items)
        return [float(image.mean() > float(self.least)) for image in images]

    def place(self, split, sample, model):
        return os.environ.get("LAMP_PLACE", f"{sample.index}/{model}-{sample.number}.png")

    def companions(self, split, samples, model):
        return {"prompts.txt": "\n".join(s.item.prompt.text for s in samples)}

    def instructions(self, folder, model):
        return f"Send {folder} to the office."

    def read_results(self, path):
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise ScalingarError(f"{path} is not JSON.") from error


def scalingar_register(registry):
    registry.add("benchmark", "lamp", Lamp, "three prompts")
