"""What the profile, the policies and the hooks add to a decode step.

    python tests/benchmarks/overhead.py                         both models
    python tests/benchmarks/overhead.py --model llamagen-b --steps 32

Two loops go through the same model with the same number of rows, step by step in turn, so that
whatever else the machine does meets both: the framework's step with the ScalingAR preset (whose
termination flags but may not prune, so that rows stay equal) and hooks with an observer; and the
bare loop that anybody would write: forward, guidance, softmax, draw. The ratio of each pair of
steps is taken; its median and quartiles are printed.

    embedded     the shipped model: 144 tokens, a vocabulary of 1024
    llamagen-b   LlamaGen-B's geometry (dim 768, 12 layers, 12 heads, 16384 tokens, 16 x 16 grid)
                 with random weights
    tiny         a few thousand random weights: for testing this script
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from attrs import evolve

from scalingar_fw.decoding.events import TokenEvent
from scalingar_fw.decoding.loop import BoundStrategy, advance, choose, decode_step, retire, start
from scalingar_fw.decoding.noise import Prompt, noise_table
from scalingar_fw.decoding.recorder import Recorder
from scalingar_fw.decoding.result import Ledger
from scalingar_fw.decoding.sampling import inverse_cdf
from scalingar_fw.decoding.timing import Clock
from scalingar_fw.errors import ScalingarError
from scalingar_fw.hooks import make_hooks
from scalingar_fw.registry import load_registry

MODELS = ("embedded", "llamagen-b", "tiny")


def make(name: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, Prompt]:
    """The model and a prompt for it."""
    if name == "embedded":
        model = load_registry().get("model", "shapes")(device=device, dtype=dtype)
        return model, Prompt("a circle left of a square")
    from scalingar_plugins.models import tiny

    if name == "tiny":
        return tiny.llamagen_c2i(), Prompt(class_id=3)
    from scalingar_plugins.models.decoder import DecoderConfig
    from scalingar_plugins.models.llamagen.network import ClassEmbedder, LlamaGen

    config = DecoderConfig(vocab_size=16384, dim=768, n_layer=12, n_head=12, rows=16, cols=16)
    network = LlamaGen(config, ClassEmbedder(1000, config.dim))
    tiny.randomize(network, seed=0, scale=0.02)
    model = evolve(
        tiny.llamagen_c2i(),
        name=name,
        network=network.to(device, dtype),
        device=device,
        dtype=dtype,
    )
    return model, Prompt(class_id=207)


@dataclass
class Counting:
    """An observer as a progress bar is one."""

    tokens: int = 0

    def on_token(self, event: TokenEvent) -> None:
        self.tokens += event.live


@dataclass
class Full:
    """The framework's loop, a step at a time."""

    model: Any
    prompt: Prompt
    n: int
    ledger: Ledger = field(default_factory=Ledger)
    recorder: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        strategy = load_registry().get("strategy", "scalingar")()
        # Flags, probations and thresholds are computed as ever; nobody may be pruned.
        termination = evolve(strategy.termination, min_survivors=self.n)
        strategy = evolve(strategy, termination=termination)
        self.hooks = make_hooks([Counting()])
        self.bound = BoundStrategy(self.model, strategy, self.model.preset, (self.prompt,), (0,))
        self.state: Any = start(self.bound, self.n, self.ledger, Clock())

    def step(self) -> None:
        state, record, verdict = decode_step(
            self.bound, self.state, self.ledger, self.recorder, self.hooks
        )
        names = record.rows.prompt, record.rows.candidate
        self.hooks.on_token(event=TokenEvent(record.index, *names, record.values))
        state = retire(self.bound, state, record, verdict, self.recorder, self.hooks)
        self.state = None if state is None else advance(self.bound, state, self.ledger)

    def finish(self) -> None:
        """What a complete decode does after its last token."""
        choose(self.bound, self.recorder.trajectories())


@dataclass
class Bare:
    """Forward and sample, and nothing else."""

    model: Any
    prompt: Prompt
    n: int

    def __post_init__(self) -> None:
        model, total = self.model, self.model.grid.size
        self.cache, self.logits = model.prefill(model.encode([self.prompt]), self.n)
        table = noise_table([1], [self.prompt], [0] * self.n, range(self.n), total)
        self.noise = torch.from_numpy(table).to(model.device)
        self.tokens = torch.zeros(self.n, total, dtype=torch.int64, device=model.device)
        self.at = 0

    def step(self) -> None:
        cond, uncond = self.logits.cond, self.logits.uncond
        guided = uncond + self.model.preset.guidance * (cond - uncond)
        token = inverse_cdf(guided.softmax(-1), self.noise[:, self.at])
        self.tokens[:, self.at] = token
        self.at += 1
        if self.at < self.model.grid.size:
            self.logits = self.model.step(self.cache, token, self.at - 1)


def measure(
    model: Any,
    prompt: Prompt,
    n: int,
    steps: int,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Pairs of step times over `repeats` decodes of at most `steps` steps each."""
    device, steps = model.device, min(steps or model.grid.size, model.grid.size)

    def seconds(step: Callable[[], None]) -> float:
        begin = clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - begin

    full_times: list[float] = []
    bare_times: list[float] = []
    after = 0.0
    for repeat in range(repeats + 1):
        full, bare = Full(model, prompt, n), Bare(model, prompt, n)
        for index in range(steps):
            if (index + repeat) % 2:  # whoever goes first finds colder caches
                one = seconds(full.step)
                other = seconds(bare.step)
            else:
                other = seconds(bare.step)
                one = seconds(full.step)
            if repeat:  # the first decode warms up
                full_times.append(one)
                bare_times.append(other)
        assert full.ledger.tokens == steps * n, "somebody was pruned: rows differ"
        if steps == model.grid.size:
            after = seconds(full.finish)
    ratios = [a / b for a, b in zip(full_times, bare_times, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "steps": steps,
        "pairs": len(ratios),
        "bare_ms": 1e3 * statistics.median(bare_times),
        "full_ms": 1e3 * statistics.median(full_times),
        "ratio": middle,
        "low": low,
        "high": high,
        "after_ms": 1e3 * after,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", action="append", choices=MODELS, help="default: the first two")
    parser.add_argument("-n", type=int, default=8, help="candidates")
    parser.add_argument("--steps", type=int, default=0, help="per decode; 0: all")
    parser.add_argument("--repeats", type=int, default=3, help="decodes after the warm-up")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the process's CPU seconds: for a busy machine, with --threads 1",
    )
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    clock = time.process_time if options.cpu_time else time.perf_counter
    print(
        f"torch {torch.__version__}, {device}, {options.dtype}, "
        f"{torch.get_num_threads()} threads, {'CPU' if options.cpu_time else 'wall'} time"
    )
    for name in options.model or MODELS[:2]:
        try:
            model, prompt = make(name, device, dtype)
        except ScalingarError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        with torch.inference_mode():
            found = measure(model, prompt, options.n, options.steps, options.repeats, clock)
        print(
            f"{name}: N = {options.n}, {found['pairs']} pairs of steps: "
            f"bare {found['bare_ms']:.3f} ms, full {found['full_ms']:.3f} ms, "
            f"ratio {found['ratio']:.3f} (quartiles {found['low']:.3f} to {found['high']:.3f})"
            + (f", once after the last token {found['after_ms']:.1f} ms" * bool(found["after_ms"]))
        )


if __name__ == "__main__":
    main()
