"""`scalingar models`: info, check, and what `scalingar_plugins.hub.commands` adds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scalingar_fw.cli.group import app_of
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.hub import commands as hub

if TYPE_CHECKING:
    from scalingar_fw.decoding.components import ModelAdapter

#: Steps of the smoke decode: enough to see a cache that is written and read.
SMOKE_STEPS = 4


@click.group()
def models() -> None:
    """What a model is and needs, and whether its weights are in order."""


@models.command()
@click.argument("name")
@click.pass_context
def info(ctx: click.Context, name: str) -> None:
    """Print a model's card: weights, licence, memory, command, traps."""
    from scalingar_fw.decoding.memory_budget import show_bytes
    from scalingar_plugins.models.cards import card_of

    entry = app_of(ctx).registry.find("model", name)
    found = card_of(entry.name)
    if found is None:
        click.echo(f"{entry.full_name}: {entry.summary}")
        return
    card, row = found
    if row is not None:
        click.echo(
            f"{row.name}: {row.image}, {row.tokens} tokens, {show_bytes(row.candidate)} per "
            f"candidate and {show_bytes(8 * row.candidate)} for N = 8 in bfloat16.\n"
        )
    click.echo(card.render(), nl=False)


@models.command()
@click.argument("name")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="WEIGHTS",
    help="A folder, a file or org/name[@revision] (default: the model's own repository).",
)
@click.option("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--dtype", default="auto", metavar="D", help="auto, float32, bfloat16 or float16.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the model's loader, such as t5=DIR; may be repeated.",
)
@click.option("-n", default=8, metavar="N", help="Candidates to state the memory for.")
@click.pass_context
def check(
    ctx: click.Context,
    name: str,
    weights: Path | None,
    device: str,
    dtype: str,
    options: tuple[str, ...],
    n: int,
) -> None:
    """Load a model's weights strictly, take a few steps and decode one image.

    Exit code 2 and one message where something does not fit.
    """
    from scalingar_fw.cli.generate import parse_options
    from scalingar_fw.generation.plan import load_model

    registry = app_of(ctx).registry
    start = time.perf_counter()
    full_name, model = load_model(
        name,
        registry,
        device=device,
        dtype=dtype,
        weights=weights,
        options=parse_options(options),
    )
    _say("files and shapes", f"loaded strictly in {time.perf_counter() - start:.1f} s")
    _say("fingerprint", model.fingerprint()[:16])
    for line in smoke(model, n):
        _say(*line)
    click.echo(f"{full_name} is ready.")


@models.command()
@click.argument("name")
@click.option("-n", "n", type=click.IntRange(1), default=8, metavar="N", help="Candidates.")
@click.option(
    "--dtype", type=click.Choice(["bfloat16", "float16", "float32"]), help="Default: by device."
)
@click.option("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:1.")
@click.pass_context
def fit(ctx: click.Context, name: str, n: int, dtype: str | None, device: str) -> None:
    """Print the sum of what model NAME needs for N candidates, and whether it fits here.

    Exit code 1 where it does not.
    """
    from scalingar_fw.config.device import resolve_device
    from scalingar_plugins.models.fit import free_memory, need, rows

    entry = app_of(ctx).registry.find("model", name)
    row = next((row for row in rows() if row.name == entry.name), None)
    if row is None:
        raise ScalingarError(
            f"Model {entry.full_name!r} has no published geometry to add up: `scalingar models "
            "check` loads it and states its memory."
        )
    place = resolve_device(device)
    chosen = dtype or ("bfloat16" if place.type == "cuda" else "float32")
    free, sum_ = free_memory(str(place)), need(row, n, chosen)
    click.echo("\n".join([f"{row.name} on {place}", *sum_.lines(free)]))
    if free is not None and sum_.total > free:
        ctx.exit(1)


models.add_command(hub.fetch_)
models.add_command(hub.list_)
models.add_command(hub.verify)


def _say(what: str, outcome: str) -> None:
    click.echo(f"  ok  {what}: {outcome}")


def smoke(model: ModelAdapter, n: int) -> list[tuple[str, str]]:
    """Take a few steps with two candidates and decode one image of random tokens.

    Raises:
        ScalingarError: logits that are not finite or do not depend on the prompt, an image that is
            not one.
    """
    import torch

    from scalingar_fw.decoding.memory_budget import show_bytes
    from scalingar_fw.testing.adapters import Subject

    subject = Subject.of(model, steps=SMOKE_STEPS)
    tokens = subject.tokens(2 * len(subject.prompts))
    logits = subject.follow(subject.prompts, tokens, 2)
    for step, one in enumerate(logits):
        reach = one.cond if one.permitted is None else one.cond[one.permitted]
        if not bool(torch.isfinite(reach).all()):
            raise ScalingarError(
                f"Logits of step {step} are not finite in {model.dtype}: use bfloat16 or float32, "
                "or another copy of the weights."
            )
    spread = float(logits[0].cond.float().std())
    if model.branches == 2 and torch.equal(logits[0].cond, logits[0].uncond):
        raise ScalingarError("The prompt changes nothing: these weights are not trained.")
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(model.vocab_size, (1, model.grid.size), generator=generator)
    with torch.inference_mode():
        image = model.decode_images(codes.to(model.device))
    if not bool(torch.isfinite(image).all()) or float(image.abs().max()) > 1:
        raise ScalingarError("The decoded image is not finite in [-1, 1]: check the tokenizer.")
    row = model.row_bytes()
    return [
        ("steps", f"{len(logits)} with {len(tokens)} rows, logits finite, spread {spread:.2f}"),
        ("image", f"{image.shape[-1]} x {image.shape[-2]} pixels decoded"),
        ("memory", f"{show_bytes(row)} per candidate, {show_bytes(n * row)} for N = {n}"),
    ]
