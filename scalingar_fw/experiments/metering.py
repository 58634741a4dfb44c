"""FLOPs of a unit by component: the model, the image decoder, and whatever the selector ran.

What scoring costs is left out: candidates are judged to measure the method, not to run it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from attrs import define, evolve, field

from scalingar_fw.decoding.components import ModelAdapter, Pool, Selector
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.result import Array, Trajectory
from scalingar_fw.decoding.strategy import Strategy
from scalingar_fw.decoding.wrapper import Wrapper
from scalingar_fw.experiments.flops import Flops, model_flops


@define
class Meter(Wrapper, Selector):
    """A selector that counts what it costs; it picks what `inner` picks.

    `flops`: of `inner`, the images that it asked for left out; `images`: how many those were.
    """

    inner: Selector
    image_flops: float
    flops: float = field(default=0.0, init=False)
    images: int = field(default=0, init=False)

    def select(self, pool: Pool) -> int:
        from torch.utils.flop_counter import FlopCounterMode

        if pool.decode is None:
            return self.inner.select(pool)
        seen, watched = 0, 0
        decode, read = pool.decode, pool.read
        with contextlib.ExitStack() as stack:
            counter: FlopCounterMode | None = None

            def look(some: Sequence[Trajectory]) -> Array:
                # Signals cost nothing to speak of: counting begins with the first image, and so
                # most selectors run as they would without a meter. The kernels are the usual ones:
                # a meter may change nothing.
                nonlocal seen, watched, counter
                images = decode(some)
                seen += len(some)
                if counter is None:
                    counter = stack.enter_context(FlopCounterMode(display=False))
                else:
                    watched += len(some)
                return images

            def reread(some: Sequence[Trajectory], prompts: Sequence[Prompt]) -> Array:
                # Reading finished candidates again is the reward's own work.
                nonlocal counter
                assert read is not None
                if counter is None:
                    counter = stack.enter_context(FlopCounterMode(display=False))
                return read(some, prompts)

            again = None if read is None else reread
            pick = self.inner.select(evolve(pool, decode=look, read=again))
            if counter is not None:
                counted = float(counter.get_total_flops())
                self.flops += max(0.0, counted - watched * self.image_flops)
        self.images += seen
        return pick


def flops_of(model: ModelAdapter, fallback: Prompt) -> Flops:
    """`model_flops`, with `fallback` where the model reads none of its usual prompts."""
    from scalingar_fw.errors import ScalingarError

    try:
        return model_flops(model)
    except ScalingarError:
        return model_flops(model, fallback)


def metered(strategy: Strategy, flops: Flops) -> tuple[Strategy, Meter]:
    """`strategy` with a meter at its selector."""
    meter = Meter(strategy.selector, flops.decode_image)
    return evolve(strategy, selector=meter), meter


def by_component(
    flops: Flops, meter: Meter, answers: int, candidates: Sequence[Trajectory]
) -> dict[str, float]:
    """FLOPs of a unit with `answers` prompts: the model's rows of all branches; the decoder for
    each answer and each image that the selector looked at; the selector's reward."""
    ends = [(len(t), t.forked_at, t.status.value) for t in candidates]
    return {
        "model": flops.decode(answers, ends),
        "decoder": (answers + meter.images) * flops.decode_image,
        "reward": meter.flops,
    }
