"""What a training step of the embedded model costs: the plain float32 step against the fast one.

    python tests/benchmarks/training_speed.py --steps 20

Both start from the same weights and read the same batches; rounds of the two alternate, so that
what else the machine does hits both. Printed: images per second (median and quartiles of the
rounds), their ratio, and the loss of both after the same images, which shows that speed is not
bought with learning. The fast step multiplies in bfloat16 and is compiled, which takes a minute or
two before the first round.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scalingar_plugins.models.shapes.generator import GeneratorConfig
from scalingar_plugins.models.shapes.objective import training_loss
from scalingar_plugins.models.shapes.stream import training_chunk
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.train_generator import GeneratorRecipe, GeneratorRun

CPU = torch.device("cpu")


class Step:
    """One way of taking a training step."""

    def __init__(self, config: GeneratorConfig, codebook: Tensor, *, fast: bool) -> None:
        self.run = GeneratorRun.fresh(config, codebook, 0, CPU)
        self.run.muon.half = fast
        self.recipe = GeneratorRecipe()
        self.loss = (
            training_loss(self.run.generator, CPU, half=True, compiled=True) if fast else self.plain
        )

    def plain(self, ids: Tensor, tokens: Tensor) -> Tensor:
        logits = self.run.generator(ids, tokens)
        return functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    def take(self, ids: Tensor, tokens: Tensor) -> float:
        run, recipe = self.run, self.recipe
        loss = self.loss(ids, tokens)
        for optimiser in (run.muon, run.adamw):
            optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(list(run.generator.parameters()), recipe.clip)
        factor = recipe.rate(run.images)
        run.muon.param_groups[0]["lr"] = recipe.matrix_lr * factor
        run.adamw.param_groups[0]["lr"] = recipe.vector_lr * factor
        run.muon.step()
        run.adamw.step()
        run.images += len(ids)
        return float(loss.detach())


def measure(steps: int, rounds: int, batch: int, config: GeneratorConfig | None = None) -> dict:
    """Alternate `rounds` rounds of `steps` steps of each way."""
    tokenizer = Tokenizer.of_world()
    config = config or GeneratorConfig(tokenizer.config.codebook)
    ids, tokens = training_chunk(tokenizer, 0, 0, 0.1, CPU)
    ways = {
        name: Step(config, tokenizer.codebook, fast=name == "fast") for name in ("plain", "fast")
    }
    speed: dict[str, list[float]] = {name: [] for name in ways}
    last: dict[str, list[float]] = {name: [] for name in ways}

    def batches(start: int, count: int) -> list[tuple[Tensor, Tensor]]:
        places = [(start + i) * batch % (len(ids) - batch) for i in range(count)]
        return [(ids[p : p + batch], tokens[p : p + batch]) for p in places]

    for step in ways.values():  # compile, allocate
        for one in batches(0, 2):
            step.take(*one)
    for number in range(rounds):
        for name, step in ways.items():
            todo = batches(2 + number * steps, steps)
            began = time.perf_counter()
            losses = [step.take(*one) for one in todo]
            speed[name].append(steps * batch / (time.perf_counter() - began))
            last[name].append(float(np.mean(losses)))
    ratios = np.array(speed["fast"]) / np.array(speed["plain"])
    return {
        "images_per_second": {k: np.percentile(v, (25, 50, 75)).tolist() for k, v in speed.items()},
        "ratio": np.percentile(ratios, (25, 50, 75)).tolist(),
        "loss_by_round": last,
        "threads": torch.get_num_threads(),
        "batch": batch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(json.dumps(measure(options.steps, options.rounds, options.batch), indent=1))


if __name__ == "__main__":
    main()
