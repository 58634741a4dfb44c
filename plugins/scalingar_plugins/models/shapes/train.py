"""Train the shapes tokenizer and generator from nothing.

``python -m scalingar_plugins.models.shapes.train --out DIR`` renders its own data, so nothing is
downloaded.  It resumes from the checkpoint in DIR if there is one (``--fresh`` starts over), and
Ctrl-C or SIGTERM writes a checkpoint before leaving.

The generator's learning rate is warmed up, constant, and then falls linearly to zero between
``--decay-from`` and ``--images``.  Neither number changes anything before the fall begins, so a
run can be stopped at any time and resumed with other ones.  With ``--minutes`` both are set from
the speed measured on the way; they are printed, and giving them as numbers repeats the run.

The same seed gives the same data and draws on every machine; the weights agree up to the rounding
of the machine's matrix products.
"""

from __future__ import annotations

import argparse
import io
import math
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scalingar_plugins.models.shapes.evaluate import measure_generator, measure_tokenizer
from scalingar_plugins.models.shapes.generator import Generator, GeneratorConfig
from scalingar_plugins.models.shapes.optim import Muon
from scalingar_plugins.models.shapes.prompts import (
    Item,
    parse,
    sample_training_prompts,
    split_items,
)
from scalingar_plugins.models.shapes.scenes import render_batch, sample_scene
from scalingar_plugins.models.shapes.sharing import adopt, merged, share
from scalingar_plugins.models.shapes.text import prompt_ids
from scalingar_plugins.models.shapes.tokenizer import Tokenizer, TokenizerConfig, to_signed
from scalingar_plugins.models.shapes.weights import (
    GENERATOR_FILE,
    TOKENIZER_FILE,
    load_generator,
    load_tokenizer,
    read_weights,
    save_generator,
    save_tokenizer,
    write_atomically,
)

CHECKPOINT = "generator.ckpt"
CHUNK = 8192  #: images rendered and tokenized at a time; a step in between is pure compute


@dataclass(frozen=True)
class TokenizerRecipe:
    """How the tokenizer is trained."""

    steps: int = 1600
    batch: int = 32
    warm: int = 250  # steps without quantization, before the codebook is chosen
    freeze: float = 0.6  # share of the steps after which encoder and codebook stand still
    lr: float = 2e-3
    object_weight: float = 6.0
    commitment: float = 0.25


@dataclass(frozen=True)
class GeneratorRecipe:
    """How the generator is trained; ``images`` and ``decay_from`` may change on resuming."""

    images: int = 376_000
    decay_from: int = 325_000
    warm_images: int = 3_000
    batch: int = 32
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


# ------------------------------------------------------------------------------------------------
# Progress
# ------------------------------------------------------------------------------------------------


class Reporter:
    """A rich progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, title: str, total: int, every: float = 20.0) -> None:
        self._title, self._total, self._every = title, total, every
        self._last = -math.inf
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Reporter:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, text: str, total: int | None = None) -> None:
        """Show progress; plain lines come at most every ``every`` seconds."""
        self._total = total or self._total
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=done,
                total=self._total,
                description=f"{self._title} {text}",
            )
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self.say(f"{self._title} {done}/{self._total} {text}")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class _Interrupt(AbstractContextManager["_Interrupt"]):
    """Turns the first SIGINT or SIGTERM into a flag, so that a checkpoint can be written."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interrupt:
        # Handlers can be set in the main thread only; elsewhere the caller keeps its own.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        for each, handler in self._before.items():
            signal.signal(each, handler)  # a second signal ends the program as usual

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


# ------------------------------------------------------------------------------------------------
# Data
# ------------------------------------------------------------------------------------------------


def _rng(seed: int, stream: int, index: int) -> np.random.Generator:
    key = np.array([seed, (stream << 40) | index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def training_pictures(seed: int, index: int, count: int) -> tuple[list[str], Tensor]:
    """Prompts and pictures (uint8 ``[B, 48, 48, 3]``) of one chunk; a function of its arguments."""
    rng = _rng(seed, 1, index)
    prompts = sample_training_prompts(count, rng)
    return prompts, torch.from_numpy(render_batch([sample_scene(parse(p), rng) for p in prompts]))


def training_chunk(
    tokenizer: Tokenizer, seed: int, index: int, dropout: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Prompt ids ``[CHUNK, P]`` (some null) and tokens ``[CHUNK, 144]``, int64."""
    prompts, pictures = training_pictures(seed, index, CHUNK)
    dropped = (_rng(seed, 2, index).random(CHUNK) < dropout).tolist()
    ids = prompt_ids([None if d else p for d, p in zip(dropped, prompts, strict=True)])
    starts = range(0, CHUNK, 256)
    tokens = torch.cat([tokenizer.encode(pictures[i : i + 256].to(device)) for i in starts])
    return ids.to(device), tokens


# ------------------------------------------------------------------------------------------------
# Tokenizer
# ------------------------------------------------------------------------------------------------


def train_tokenizer(
    seed: int, device: torch.device, recipe: TokenizerRecipe | None = None
) -> Tokenizer:
    """Train a tokenizer: a short autoencoder warm-up, a codebook from its features, then VQ."""
    recipe = recipe or TokenizerRecipe()
    generator = torch.Generator().manual_seed(seed)
    tokenizer = Tokenizer(TokenizerConfig())
    _initialise(tokenizer, generator)
    tokenizer.to(device).train()
    idle = torch.zeros(tokenizer.config.codebook, dtype=torch.int64, device=device)
    parameters = [*tokenizer.encoder.parameters(), *tokenizer.decoder.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=0.0)
    freeze = int(recipe.freeze * recipe.steps)
    with Reporter("tokenizer", recipe.steps) as reporter:
        for step in range(recipe.steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * min(1.0, (step + 1) / 50, (1 - step / recipe.steps) * 2.5)
            if step == recipe.warm:
                _, pictures = training_pictures(seed, 1 << 30, 768)
                with torch.no_grad():
                    features = tokenizer.features(to_signed(pictures.to(device)))
                flat = features.permute(0, 2, 3, 1).reshape(-1, tokenizer.config.code_dim)
                tokenizer.initialise_codebook(flat, generator)
            _, pictures = training_pictures(seed, (1 << 31) + step, recipe.batch)
            target = to_signed(pictures.to(device))
            bright = (pictures.amax(-1) > 140).float().to(device)
            # Weight whole cells that show part of an object, edges of the background included.
            cells = functional.max_pool2d(bright[:, None], 4)
            weight = 1 + (recipe.object_weight - 1) * cells.repeat_interleave(
                4, 2
            ).repeat_interleave(4, 3)
            if step < recipe.warm:
                output, commitment = tokenizer.decoder(tokenizer.features(target)), 0.0
            elif step < freeze:
                output, features, tokens = tokenizer(target)
                vectors = tokenizer.vectors(tokens)
                commitment = recipe.commitment * (features - vectors).square().sum(1).mean()
                tokenizer.update_codebook(features.detach(), tokens, idle)
            else:
                with torch.no_grad():
                    vectors = tokenizer.vectors(tokenizer.nearest(tokenizer.features(target)))
                output, commitment = tokenizer.decoder(vectors), 0.0
            error = (weight * (output - target).abs()).mean()
            loss = error + commitment
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            reporter.update(step + 1, f"loss {loss.item():.4f}")
    tokenizer.eval().requires_grad_(False)
    return tokenizer.cpu()


def _initialise(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Redraw every matrix from an explicit generator (constructors use the global one)."""
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2:
            fan_in = parameter[0].numel()
            with torch.no_grad():
                parameter.normal_(0.0, fan_in**-0.5, generator=generator)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(parameter)


# ------------------------------------------------------------------------------------------------
# Generator
# ------------------------------------------------------------------------------------------------


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
        generator, average = Generator(config), Generator(config)
        initialise_generator(generator, codebook, seed)
        average.load_state_dict(generator.state_dict())
        for each in (generator, average):
            share(each, codebook.cpu())
        generator.to(device).train()
        average.to(device).eval().requires_grad_(False)
        matrices, others = _groups(generator)
        adamw = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)
        return cls(generator, average, Muon(matrices), adamw, seed)

    @classmethod
    def from_weights(
        cls, folder: Path, codebook: Tensor, seed: int, device: torch.device
    ) -> GeneratorRun:
        """Go on from exported weights: averaged and rounded, and without the optimisers' memory."""
        weights = load_generator(folder)
        _, _, notes = read_weights(folder / GENERATOR_FILE)
        run = cls.fresh(weights.config, codebook, seed, device)
        for each in (run.generator, run.average):
            # The shared part of the rows was merged; it starts from zero again.
            each.load_state_dict(adopt(weights.state_dict()), strict=False)
        run.images = int(notes.get("images", 0))
        return run

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
            # A checkpoint from before the output rows were shared lacks that one parameter.
            older = "decoder.output.weight" in state["generator"]
            run.generator.load_state_dict(adopt(state["generator"]), strict=not older)
            run.average.load_state_dict(adopt(state["average"]), strict=not older)
            if older:
                indices = state["adamw"]["param_groups"][0]["params"]
                indices.append(len(indices))
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
        on_time: Called every ``every`` seconds and at the end (checkpoints, evaluation).
        every: Seconds.
    """
    tokenizer.to(device)
    start = last = time.monotonic()
    first = run.images
    if minutes is not None:
        recipe = replace(recipe, images=1 << 40, decay_from=1 << 39)
    chunk_index, ids, tokens = -1, torch.empty(0), torch.empty(0)
    loss_mean = math.nan
    parameters: list[Tensor] = list(run.generator.parameters())
    averages: list[Tensor] = list(run.average.parameters())
    planned = minutes is None
    with Reporter("generator", recipe.images) as reporter, _Interrupt() as interrupt:
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
            target = tokens[batch]
            logits = run.generator(ids[batch], target)
            loss = functional.cross_entropy(logits.flatten(0, 1), target.flatten())
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


def thinned(items: Sequence[Item], per_task: int) -> list[Item]:
    """The first ``per_task`` items of each task (they alternate between combinations)."""
    kept: dict[str, list[Item]] = {}
    for item in items:
        kept.setdefault(item.task, [])
        if len(kept[item.task]) < per_task:
            kept[item.task].append(item)
    return [item for group in kept.values() for item in group]


# ------------------------------------------------------------------------------------------------
# Command line
# ------------------------------------------------------------------------------------------------


def choose_device(name: str) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ValueError: The device is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} cannot be used ({error}); try --device cpu.") from error
    return device


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scalingar_plugins.models.shapes.train", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and weights")
    parser.add_argument(
        "--stage", choices=("tokenizer", "generator", "export", "all"), default="all"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--seed", type=int, default=0)
    recipe = GeneratorRecipe()
    parser.add_argument("--images", type=int, default=recipe.images, help="budget of the generator")
    parser.add_argument(
        "--decay-from", type=int, help="images after which the rate falls (default: 80 %% of them)"
    )
    parser.add_argument("--minutes", type=float, help="budget by the clock instead")
    parser.add_argument(
        "--steps", type=int, default=TokenizerRecipe().steps, help="tokenizer steps"
    )
    parser.add_argument("--matrix-lr", type=float, default=recipe.matrix_lr)
    parser.add_argument("--vector-lr", type=float, default=recipe.vector_lr)
    parser.add_argument("--evaluate-every", type=float, default=15.0, help="minutes; 0: never")
    parser.add_argument(
        "--from-weights",
        type=Path,
        metavar="DIR",
        help="train exported weights further, where --out holds no checkpoint yet",
    )
    parser.add_argument("--fresh", action="store_true", help="ignore what is in --out")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see ``--help``. Returns 0, or 130 if a signal ended the training early."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        return _main(options)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


def _main(options: argparse.Namespace) -> int:
    out: Path = options.out
    device = choose_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.stage in ("tokenizer", "all") and (
        options.fresh or options.stage == "tokenizer" or not (out / TOKENIZER_FILE).exists()
    ):
        recipe = TokenizerRecipe(steps=options.steps)
        tokenizer = train_tokenizer(options.seed, device, recipe)
        report = measure_tokenizer(tokenizer, 2000, seed=options.seed + 1)
        print(f"tokenizer: {_show(report)}", flush=True)
        save_tokenizer(tokenizer, out, seed=str(options.seed), steps=str(options.steps))
    if options.stage == "tokenizer":
        return 0

    # The float16 weights that ship, so that the generator learns exactly their tokens.
    tokenizer = load_tokenizer(out)
    checkpoint = out / CHECKPOINT
    if options.stage == "export":
        return export(GeneratorRun.resume(checkpoint, tokenizer.codebook, device), out)
    if checkpoint.exists() and not options.fresh:
        run = GeneratorRun.resume(checkpoint, tokenizer.codebook, device)
        print(f"resumed at {run.images} images", flush=True)
    elif options.from_weights is not None:
        run = GeneratorRun.from_weights(
            options.from_weights, tokenizer.codebook, options.seed, device
        )
        print(f"going on from {options.from_weights} at {run.images} images", flush=True)
    else:
        run = GeneratorRun.fresh(GeneratorConfig(), tokenizer.codebook, options.seed, device)
    decay_from = options.decay_from
    plan = GeneratorRecipe(
        images=options.images,
        decay_from=int(0.8 * options.images) if decay_from is None else decay_from,
        matrix_lr=options.matrix_lr,
        vector_lr=options.vector_lr,
    )
    items = thinned(split_items("validation"), 20)
    evaluated = time.monotonic()

    def on_time(run: GeneratorRun, reporter: Reporter) -> None:
        nonlocal evaluated
        run.save(checkpoint)
        pause = 60 * options.evaluate_every
        if pause and time.monotonic() - evaluated >= pause:
            report = measure_generator(run.average, tokenizer, items, guidance=1.5, seed=1)
            reporter.say(f"validation at {run.images}: {_show(report)}")
            evaluated = time.monotonic()

    finished = train_generator(
        run, tokenizer, plan, device=device, minutes=options.minutes, on_time=on_time
    )
    if not finished:
        print(f"stopped at {run.images} images; the same command goes on from there", flush=True)
        return 130
    report = measure_generator(
        run.average, tokenizer, split_items("validation"), guidance=1.5, seed=1
    )
    print(f"validation at {run.images}: {_show(report)}", flush=True)
    return export(run, out)


def export(run: GeneratorRun, out: Path) -> int:
    """Write the averaged weights as float16 safetensors beside the checkpoint."""
    path = save_generator(merged(run.average), out, images=str(run.images), seed=str(run.seed))
    print(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)", flush=True)
    return 0


def _show(report: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in report.items())


if __name__ == "__main__":
    sys.exit(main())
