"""Train the shapes generator from nothing.

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
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from scalingar_plugins.models.shapes.evaluate import measure_generator
from scalingar_plugins.models.shapes.generator import GeneratorConfig
from scalingar_plugins.models.shapes.progress import Reporter
from scalingar_plugins.models.shapes.prompts import Item, split_items
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.train_generator import (
    CHECKPOINT,
    GeneratorRecipe,
    GeneratorRun,
    export,
    train_generator,
)
from scalingar_plugins.models.shapes.weights import save_tokenizer


def thinned(items: Sequence[Item], per_task: int) -> list[Item]:
    """The first ``per_task`` items of each task (they alternate between combinations)."""
    kept: dict[str, list[Item]] = {}
    for item in items:
        kept.setdefault(item.task, [])
        if len(kept[item.task]) < per_task:
            kept[item.task].append(item)
    return [item for group in kept.values() for item in group]


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
    recipe = GeneratorRecipe()
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and weights")
    parser.add_argument("--stage", choices=("train", "export"), default="train")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=recipe.images, help="budget")
    parser.add_argument(
        "--decay-from", type=int, help="images after which the rate falls (default: 75 %% of them)"
    )
    parser.add_argument("--minutes", type=float, help="budget by the clock instead")
    parser.add_argument("--batch", type=int, default=recipe.batch, help="divides 8192")
    parser.add_argument("--matrix-lr", type=float, default=recipe.matrix_lr)
    parser.add_argument("--vector-lr", type=float, default=recipe.vector_lr)
    parser.add_argument("--half", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--compile", action="store_true", help="compile the step")
    parser.add_argument("--evaluate-every", type=float, default=15.0, help="minutes; 0: never")
    parser.add_argument(
        "--begin-from", type=Path, metavar="FOLDER", help="exported weights to go on from"
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
    tokenizer = Tokenizer.of_world()
    checkpoint = out / CHECKPOINT
    if options.stage == "export":
        return _export(GeneratorRun.resume(checkpoint, tokenizer.codebook, device), out)
    if checkpoint.exists() and not options.fresh:
        run = GeneratorRun.resume(checkpoint, tokenizer.codebook, device)
        print(f"resumed at {run.images} images", flush=True)
    elif options.begin_from is not None:
        run = GeneratorRun.beginning_from(
            options.begin_from, tokenizer.codebook, options.seed, device
        )
        print(f"goes on from {options.begin_from}, at {run.images} images", flush=True)
    else:
        config = GeneratorConfig(vocab_size=tokenizer.config.codebook)
        run = GeneratorRun.fresh(config, tokenizer.codebook, options.seed, device)
    run.muon.half = options.half
    plan = GeneratorRecipe(
        images=options.images,
        decay_from=options.decay_from or int(0.75 * options.images),
        batch=options.batch,
        matrix_lr=options.matrix_lr,
        vector_lr=options.vector_lr,
    )
    items = thinned(split_items("validation"), 30)
    evaluated = time.monotonic()

    def on_time(run: GeneratorRun, reporter: Reporter) -> None:
        nonlocal evaluated
        run.save(checkpoint)
        pause = 60 * options.evaluate_every
        if pause and time.monotonic() - evaluated >= pause:
            report = measure_generator(run.average, tokenizer, items, seed=1)
            reporter.say(f"validation at {run.images}: {_show(report)}")
            evaluated = time.monotonic()

    finished = train_generator(
        run,
        tokenizer,
        plan,
        device=device,
        minutes=options.minutes,
        half=options.half,
        compiled=options.compile,
        on_time=on_time,
    )
    if not finished:
        print(f"stopped at {run.images} images; the same command goes on from there", flush=True)
        return 130
    for split in ("seen", "validation"):
        report = measure_generator(run.average, tokenizer, split_items(split), seed=1)
        print(f"{split} at {run.images}: {_show(report)}", flush=True)
    return _export(run, out)


def _export(run: GeneratorRun, out: Path) -> int:
    path = export(run, out)
    save_tokenizer(Tokenizer.of_world(), out)
    print(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)", flush=True)
    return 0


def _show(report: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in report.items())


if __name__ == "__main__":
    sys.exit(main())
