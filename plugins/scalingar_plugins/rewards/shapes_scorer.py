"""The embedded world's reward model, standing for the external ones of published comparisons."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from attrs import frozen

from scalingar_fw.decoding.components import Pool, Reward
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError


@lru_cache(maxsize=1)
def _networks() -> tuple[Any, Any]:
    from scalingar_plugins.models.shapes.weights import load_scorer, load_tokenizer

    return load_scorer(), load_tokenizer()


@frozen
class ShapesScorer(Reward):
    """Log-odds that a picture of the shapes world fits its prompt, by a small trained network.

    It looks at decoded pictures (uint8 `[K, 48, 48, 3]`), as CLIPScore or ImageReward would.
    """

    def score(self, pool: Pool) -> Array:
        import torch

        from scalingar_plugins.models.shapes.scenes import SIZE
        from scalingar_plugins.models.shapes.text import prompt_ids

        images = pool.images()
        if images.shape[1:] != (SIZE, SIZE, 3):
            raise ScalingarError(
                f"The reward 'shapes-scorer' knows pictures of {SIZE} x {SIZE} pixels of the "
                f"embedded model, not {images.shape[1]} x {images.shape[2]}: choose another reward."
            )
        ids = prompt_ids([pool.prompt.text or None]).expand(len(images), -1)
        scorer, tokenizer = _networks()
        with torch.inference_mode():
            tokens = tokenizer.encode(torch.from_numpy(np.array(images)))  # may be read-only
            odds: Array = scorer(ids, tokens).double().numpy()
        return odds
