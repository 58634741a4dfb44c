"""What `generate` gives back for a prompt: the answer, every candidate, the cost, the trace."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from scalingar_fw.config.run_config import RunConfig
from scalingar_fw.decoding.components import ModelAdapter
from scalingar_fw.decoding.loop import to_images
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array, Decoded, Ledger
from scalingar_fw.decoding.state import Grid
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.generation import notebook
from scalingar_fw.generation.candidate import Candidate
from scalingar_fw.generation.pictures import png_bytes
from scalingar_fw.generation.trace import Trace, without_clock
from scalingar_fw.registry import Registry

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image
    from pluggy import HookRelay


@frozen(eq=False)
class Generation:
    """What `generate` gives for a prompt: the answer, all candidates, the cost, the trace.

    `run`: the configuration of the call as a whole; `config`: of this prompt alone. They differ
    where several prompts were decoded together. `ledger` is that of the forward batch which this
    prompt shared with `batch_prompts - 1` others; `tokens` are its own. `saver`: what `save` calls;
    `generate` gives it, since run folders are built on this class and not the other way round.
    """

    prompt: Prompt
    config: RunConfig
    run: RunConfig = field(repr=False)
    decoded: Decoded = field(repr=False)
    model: ModelAdapter = field(repr=False)
    strategy: Strategy = field(repr=False)
    registry: Registry = field(repr=False)
    _saver: Callable[[Generation, Path, bool], Path] = field(repr=False)
    index: int = 0
    batch_place: int = 0
    batch_prompts: int = 1
    load_seconds: float = field(default=0.0, repr=False)
    _hooks: HookRelay | None = field(default=None, repr=False)
    _pixels: dict[int, Array] = field(factory=dict, repr=False)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate, by id: completed, pruned and dropped ones."""
        answer = self.decoded.chosen[0]
        return tuple(
            Candidate(t, i, i == answer, functools.partial(self.pixels_of, i))
            for i, t in enumerate(self.decoded.trajectories)
        )

    @property
    def answer(self) -> Candidate:
        """The chosen candidate."""
        return self.candidates[self.decoded.chosen[0]]

    @property
    def pixels(self) -> Array:
        """The answer's image, `[H, W, 3]` uint8."""
        return self.answer.pixels

    @property
    def image(self) -> Image:
        """The answer's image, for PIL."""
        return self.answer.image

    @property
    def ledger(self) -> Ledger:
        return self.decoded.ledger

    @property
    def grid(self) -> Grid:
        return self.model.grid

    @property
    def tokens(self) -> int:
        """Tokens sampled for this prompt, over all its candidates."""
        return sum(len(t) - t.forked_at for t in self.decoded.trajectories)

    @property
    def full_tokens(self) -> int:
        """N x T: what decoding every candidate to its end takes."""
        return self.decoded.n * self.decoded.total_tokens

    @property
    def trace(self) -> Trace:
        """The record of every step, as `read_trace` gives it back after `save`."""
        return Trace(without_clock(self.decoded), self.config, self.grid)

    def decode_pixels(self, places: Iterable[int] | None = None) -> None:
        """Make the images of `candidates[p]` for p in `places` (all where None) in one call."""
        wanted = range(len(self.decoded.trajectories)) if places is None else places
        missing = [place for place in wanted if place not in self._pixels]
        if missing:
            chosen = [self.decoded.trajectories[place] for place in missing]
            named = [evolve(t, prompt=self.batch_place) for t in chosen]
            images = to_images(self.model, named, self._hooks)
            self._pixels.update(zip(missing, images, strict=True))

    def pixels_of(self, place: int) -> Array:
        """The image of `candidates[place]`."""
        self.decode_pixels([place])
        return self._pixels[place]

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write image, plots, trace, `run.json` and `config.yaml`; whole or not at all."""
        return self._saver(self, Path(folder), overwrite)

    def plot(self, artefact: str = "dynamics.png") -> Image:
        """A registered artefact as an image: "dynamics.png", "candidates.png", or a plugin's."""
        import PIL.Image

        write = self.registry.get("artefact", artefact)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / artefact.replace("/", "-")
            write(self, path)
            with PIL.Image.open(path) as image:
                copy: Image = image.copy()
        return copy

    def to_pandas(self) -> pd.DataFrame:
        """A row for each candidate: status, tokens, confidence, reason; `trace.steps()` has one for
        each step.

        Raises:
            ScalingarError: pandas is not installed.
        """
        return notebook.data_frame(
            [
                {
                    "prompt": self.prompt.label,
                    "strategy": self.config.strategy["name"],
                    "seed": self.config.seed,
                    "candidate": c.id,
                    "chosen": c.chosen,
                    "status": c.status.value,
                    "tokens": len(c.tokens),
                    "confidence": c.confidence,
                    "reason": c.reason,
                }
                for c in self.candidates
            ]
        )

    def _repr_png_(self) -> bytes:
        """The answer, for notebooks that show no HTML; small ones at a size that can be seen."""
        return png_bytes(notebook.enlarged(self.pixels))

    def _repr_html_(self) -> str:
        """Notebooks show the answer with its caption."""
        words = (
            f"{self.config.strategy['name']}, seed {self.config.seed}: candidate {self.answer.id} of "
            f"{len(self.candidates)}, {self.tokens} of {self.full_tokens} tokens"
        )
        return notebook.figure(self.pixels, self.prompt.label, words)


__all__ = ["Generation"]
