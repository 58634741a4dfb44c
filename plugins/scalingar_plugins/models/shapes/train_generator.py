"""Train the generator: a resumable run, and the loop that advances it."""

from __future__ import annotations

import io
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from scalingar_plugins.models.shapes.generator import Generator, GeneratorConfig
from scalingar_plugins.models.shapes.objective import training_loss
from scalingar_plugins.models.shapes.optim import Muon
from scalingar_plugins.models.shapes.progress import Interrupt, Reporter
from scalingar_plugins.models.shapes.sharing import merged, share
from scalingar_plugins.models.shapes.stream import CHUNK, training_chunk
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.weights import (
    GENERATOR_FILE,
    load_generator,
    read_weights,
    save_generator,
    write_atomically,
)

CHECKPOINT = "generator.ckpt"


@dataclass(frozen=True)
class GeneratorRecipe:
    """How the generator is trained; ``images`` and ``decay_from`` may change on resuming."""

    images: int = 600_000
    decay_from: int = 450_000
    warm_images: int = 6_000
    batch: int = 64
    matrix_lr: float = 0.02
    vector_lr: float = 2e-3
    dropout: float = 0.1  # share of prompts replaced by the null prompt
    average: float = 0.995  # per step, of the averaged weights that are evaluated and exported
    clip: float = 1.0

    def rate(self, images: int) -> float:
        """The learning rate's factor after ``images`` images."""
        warm = min(1.0, (images + self.batch) / self.warm_images)
        fall = (self.images - images) / max(1, self.images - self.decay_from)
        return max(0.0, min(warm, fall))


def _initialise(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Redraw every matrix from an explicit generator (constructors use the global one)."""
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2:
            fan_in = parameter[0].numel()
            with torch.no_grad():
                parameter.normal_(0.0, fan_in**-0.5, generator=generator)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(parameter)


def initialise_generator(generator: Generator, codebook: Tensor, seed: int) -> None:
    """Draw the initial weights.

    Token embeddings start from a random projection of the codebook: codes of alike patches (the
    same edge on another tint) start close together, so what is learnt of one helps the other.
    """
    rng = torch.Generator().manual_seed(seed)
    _initialise(generator, rng)
    decoder = generator.decoder
    with torch.no_grad():
        dim = generator.config.dim
        centred = codebook - codebook.mean(0)
        centred = centred / centred.norm(dim=1).mean()
        projection = torch.randn(codebook.shape[1], dim, generator=rng)
        noise = 0.3 * torch.randn(len(codebook), dim, generator=rng)
        decoder.tok_embeddings.weight.copy_(0.7 * (centred @ projection + noise))
        generator.text.words.weight.normal_(0.0, 0.7, generator=rng)
        # Equal logits at the start: the first steps learn the frequencies of the tokens.
        decoder.output.weight.zero_()
        for name, parameter in generator.named_parameters():
            if name.endswith(("wo.weight", "w2.weight", "layers.0.out.weight", "down.weight")):
                parameter.mul_(0.2)


def _groups(generator: Generator) -> tuple[list[Tensor], list[Tensor]]:
    """Hidden matrices (for Muon) and everything else (for AdamW)."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in generator.named_parameters():
        hidden = parameter.ndim == 2 and ".layers." in f".{name}"
        (matrices if hidden else others).append(parameter)
    return matrices, others


@dataclass
class GeneratorRun:
    """Everything that a checkpoint holds."""

    generator: Generator
    average: Generator
    muon: Muon
    adamw: torch.optim.AdamW
    seed: int
    images: int = 0
    seconds: float = 0.0

    @classmethod
    def fresh(
        cls, config: GeneratorConfig, codebook: Tensor, seed: int, device: torch.device
    ) -> GeneratorRun:
        """A run at its beginning."""
        generator = Generator(config)
        initialise_generator(generator, codebook, seed)
        return cls._of(generator, codebook, seed, device)

    @classmethod
    def beginning_from(
        cls, weights: Path, codebook: Tensor, seed: int, device: torch.device
    ) -> GeneratorRun:
        """A run that goes on from exported weights, with optimisers that remember nothing.

        It counts on from the weights' own number of images, so it draws data that they have not
        seen (with the same ``seed``).

        Raises:
            WeightsError: ``weights``, a folder, holds no weights that can be read.
        """
        learnt = load_generator(weights).requires_grad_(True)
        run = cls._of(learnt, codebook, seed, device)
        images = int(read_weights(weights / GENERATOR_FILE)[2].get("images", "0"))
        run.images = math.ceil(images / CHUNK) * CHUNK  # whole chunks of the stream
        return run

    @classmethod
    def _of(
        cls, generator: Generator, codebook: Tensor, seed: int, device: torch.device
    ) -> GeneratorRun:
        average = Generator(generator.config)
        average.load_state_dict(generator.state_dict())
        for each in (generator, average):
            share(each, codebook.cpu())
        generator.to(device).train()
        average.to(device).eval().requires_grad_(False)
        matrices, others = _groups(generator)
        adamw = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)
        return cls(generator, average, Muon(matrices), adamw, seed)

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically."""
        state = {
            "config": self.generator.config.as_dict(),
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "muon": self.muon.state_dict(),
            "adamw": self.adamw.state_dict(),
            "seed": self.seed,
            "images": self.images,
            "seconds": self.seconds,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def resume(cls, path: Path, codebook: Tensor, device: torch.device) -> GeneratorRun:
        """Read a checkpoint.

        Raises:
            ValueError: The file is damaged or not a checkpoint of this program.
        """
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            run = cls.fresh(GeneratorConfig(**state["config"]), codebook, state["seed"], device)
            run.generator.load_state_dict(state["generator"])
            run.average.load_state_dict(state["average"])
            run.muon.load_state_dict(state["muon"])
            run.adamw.load_state_dict(state["adamw"])
            run.images, run.seconds = state["images"], state["seconds"]
        except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
            raise ValueError(
                f"cannot resume from {path}: {error}. Give --fresh to start over, or another --out."
            ) from error
        return run


def train_generator(
    run: GeneratorRun,
    tokenizer: Tokenizer,
    recipe: GeneratorRecipe,
    *,
    device: torch.device,
    minutes: float | None = None,
    half: bool = False,
    compiled: bool = False,
    on_time: Callable[[GeneratorRun, Reporter], None] | None = None,
    every: float = 300.0,
) -> bool:
    """Train until ``recipe.images``; return False if a signal ended it early.

    Args:
        run: Where to start; advanced in place.
        tokenizer: Makes the targets; frozen.
        recipe: Rates and budget.
        device: Where to compute.
        minutes: Plan decay and end from the clock instead (the last fifth of the minutes decays).
        half: Multiply matrices in bfloat16.
        compiled: Compile the step (minutes at the start, then about twice as fast).
        on_time: Called every ``every`` seconds and at the end (checkpoints, evaluation).
        every: Seconds.
    """
    loss_of = training_loss(run.generator, device, half=half, compiled=compiled)
    start = last = time.monotonic()
    first = run.images
    if minutes is not None:
        recipe = replace(recipe, images=1 << 40, decay_from=1 << 39)
    chunk_index, ids, tokens = -1, torch.empty(0), torch.empty(0)
    loss_mean = math.nan
    parameters: list[Tensor] = list(run.generator.parameters())
    averages: list[Tensor] = list(run.average.parameters())
    planned = minutes is None
    with Reporter("generator", recipe.images) as reporter, Interrupt() as interrupt:
        while run.images < recipe.images and not interrupt.asked:
            if run.images // CHUNK != chunk_index:
                chunk_index = run.images // CHUNK
                ids, tokens = training_chunk(
                    tokenizer, run.seed, chunk_index, recipe.dropout, device
                )
            if minutes is not None and not planned:
                spent = time.monotonic() - start
                if spent >= 0.8 * minutes * 60:
                    left = int((minutes * 60 - spent) * (run.images - first) / spent)
                    total = run.images + max(recipe.batch, left // recipe.batch * recipe.batch)
                    recipe = replace(recipe, images=total, decay_from=run.images)
                    reporter.say(f"decay: --decay-from {run.images} --images {total}")
                    planned = True
            begin = time.monotonic()
            offset = run.images % CHUNK
            batch = slice(offset, offset + recipe.batch)
            loss = loss_of(ids[batch], tokens[batch])
            for optimiser in (run.muon, run.adamw):
                optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
            factor = recipe.rate(run.images)
            run.muon.param_groups[0]["lr"] = recipe.matrix_lr * factor
            run.adamw.param_groups[0]["lr"] = recipe.vector_lr * factor
            run.muon.step()
            run.adamw.step()
            run.images += recipe.batch
            with torch.no_grad():
                # A short average at first, else it would remember the initial weights.
                share = max(1 - recipe.average, 10 / (10 + run.images / recipe.batch))
                torch._foreach_lerp_(averages, parameters, share)
            value = loss.item()
            if not math.isfinite(value):
                raise RuntimeError(f"the loss is {value} after {run.images} images; lower the rate")
            loss_mean = value if math.isnan(loss_mean) else 0.98 * loss_mean + 0.02 * value
            now = time.monotonic()
            run.seconds += now - begin
            speed = (run.images - first) / (now - start)
            shown = recipe.images if planned else int(first + speed * 60 * (minutes or 0))
            reporter.update(
                run.images, f"loss {loss_mean:.4f} rate {factor:.3f} {speed:.1f} images/s", shown
            )
            if on_time is not None and now - last >= every:
                on_time(run, reporter)
                last = time.monotonic()
        if on_time is not None:
            on_time(run, reporter)
    return run.images >= recipe.images


def export(run: GeneratorRun, out: Path) -> Path:
    """Write the averaged weights as float16 safetensors beside the checkpoint; return their path."""
    return save_generator(merged(run.average), out, images=str(run.images), seed=str(run.seed))
