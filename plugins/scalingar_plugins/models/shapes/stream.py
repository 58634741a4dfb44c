"""The training data: an endless, seeded stream of prompts and tokens.

Each *scene* gives one or two rows of a batch: its picture and, where there is one,
its minimal pair (the relation turned round, two colours exchanged) drawn at the same places on the
same background, so that the bit by which the two prompts differ is what the gradient sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from scalingar_plugins.models.shapes.grammar import Spec
from scalingar_plugins.models.shapes.scenes import Scene, UInt8, render_batch, sample_scene
from scalingar_plugins.models.shapes.text import prompt_ids
from scalingar_plugins.models.shapes.tokenizer import Tokenizer
from scalingar_plugins.models.shapes.training_prompts import draw_spec, minimal_pair, word

CHUNK = 8192  #: rows rendered and tokenized at a time; a step in between is pure compute
PAIRED = 0.5  #: share of scenes that bring their minimal pair along, where there is one


def _rng(seed: int, stream: int, index: int) -> np.random.Generator:
    key = np.array([seed, (stream << 40) | index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _twin(scene: Scene, spec: Spec, other: Spec) -> Scene:
    """The scene of a minimal pair: objects of ``other`` where and as those of ``spec`` stand."""
    if spec.relation is not None:
        # The converse asks for the same places with the objects exchanged.
        first, second = scene.objects
        moved = (
            replace(second, row=first.row, col=first.col),
            replace(first, row=second.row, col=second.col),
        )
        return replace(scene, objects=moved)
    objects = tuple(
        replace(drawn, colour=wanted.colour or drawn.colour)
        for drawn, wanted in zip(scene.objects, other.objects, strict=True)
    )
    return replace(scene, objects=objects)


def _examples(rng: np.random.Generator) -> Iterator[tuple[str, Scene]]:
    while True:
        spec = draw_spec(rng)
        scene = sample_scene(spec, rng)
        yield word(spec, rng), scene
        other = minimal_pair(spec, rng) if rng.random() < PAIRED else None
        if other is not None:
            yield word(other, rng), _twin(scene, spec, other)


def training_examples(seed: int, index: int, count: int) -> tuple[list[str], UInt8]:
    """Prompts and pictures (uint8 ``[count, 48, 48, 3]``) of one chunk, a function of the arguments."""
    rng = _rng(seed, 1, index)
    source = _examples(rng)
    rows = [next(source) for _ in range(count)]
    return [prompt for prompt, _ in rows], render_batch([scene for _, scene in rows])


def training_chunk(
    tokenizer: Tokenizer, seed: int, index: int, dropout: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Prompt ids ``[CHUNK, P]`` (a share of ``dropout`` null) and tokens ``[CHUNK, 64]``, int64."""
    prompts, pictures = training_examples(seed, index, CHUNK)
    dropped = (_rng(seed, 2, index).random(CHUNK) < dropout).tolist()
    ids = prompt_ids([None if d else p for d, p in zip(dropped, prompts, strict=True)])
    starts = range(0, CHUNK, 512)
    tokens = torch.cat([tokenizer.encode(torch.from_numpy(pictures[i : i + 512])) for i in starts])
    return ids.to(device), tokens.to(device)
