"""The runs that `test_golden_runs.py` holds still, and the maker of their file.

    python tests/golden/make.py            # decode every run, write golden_runs.json
    python tests/golden/make.py --only beam

A change that means to alter results (another noise stream, other weights, another default) writes
the file anew and says so in the changelog; a change that does not mean to must leave it alone.

Only the public face is used, `sar.generate` and what it gives back, so that moving modules cannot
touch this file; the reference model comes from the one public testing module.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import scalingar_fw as sar
from scalingar_fw.testing import ReferenceModel

FILE = Path(__file__).with_name("golden_runs.json")

#: Every registered preset that draws by itself (the oracle needs a judge), each on the embedded
#: model: keyword arguments of `generate`.
SHAPES: dict[str, dict[str, Any]] = {
    "base": {"prompt": "a red circle", "seed": 3},
    "scalingar": {"prompt": "a circle left of a square", "n": 8},
    "scalingar-literal": {"prompt": "two blue squares", "n": 4, "seed": 1},
    "scalingar-plus": {"prompt": "three rings", "n": 8, "seed": 2},
    "scalingar-termination": {"prompt": "a green triangle above a ring", "n": 4},
    "scalingar-scheduler": {"prompt": "a white cross", "n": 4, "seed": 5},
    "scalingar-without-drift": {"prompt": "a yellow square and a blue ring", "n": 4},
    "scalingar-without-intrinsic": {"prompt": "four crosses", "n": 4, "seed": 4},
    "scalingar-without-blocks": {"prompt": "a red ring", "n": 4},
    "scalingar-without-token": {"prompt": "a diamond below a circle", "n": 4},
    "best-of-n": {"prompt": "two squares", "n": 8, "seed": 7},
    "best-of-n-self-certainty": {"prompt": "a cyan diamond", "n": 4},
    "best-of-n-deepconf": {"prompt": "a circle and a square", "n": 4},
    "best-of-n-contrast": {"prompt": "a red ring above a tee", "n": 4},
    "importance-sampling": {"prompt": "three triangles", "n": 4, "seed": 11},
    "smc": {"prompt": "a square right of a cross", "n": 4},
    "beam": {"prompt": "a ring", "n": 4},
    "diverse-beam": {"prompt": "a blue triangle", "n": 4},
    "confidence-beam": {"prompt": "two rings", "n": 4, "seed": 2},
    "guidance-linear": {"prompt": "a green cross", "n": 1},
    "guidance-cosine": {"prompt": "a green cross", "n": 1},
    "guidance-interval": {"prompt": "a green cross", "n": 1},
    "guidance-entropy": {"prompt": "a green cross", "n": 1},
}

PROMPTS = ["one", "two", "three"]

#: On the reference model, whose rows do not influence each other's rounding: three prompts in a
#: batch, every preset again, and components that no preset uses.
SETTINGS: dict[str, dict[str, Any]] = {
    **{f"preset {name}": {"strategy": name, "n": 5, "seed": 9} for name in SHAPES},
    "six candidates": {"strategy": "scalingar", "n": 6, "seed": 1},
    "two passes": {"strategy": "best-of-n", "n": 6, "passes": 2},
    "cold, truncated": {
        "strategy": "best-of-n", "n": 4, "temperature": 0.7, "top_k": 9, "top_p": 0.9,
    },
    "greedy": {"strategy": "base", "n": 1, "temperature": 0.0},
    "unguided": {"strategy": "scalingar", "n": 4, "guidance": 1.0},
    "quantile": {"strategy": "scalingar", "n": 8, "settings": {"termination.quantile": 0.4}},
    "halving by surprise": {
        "strategy": "scalingar-plus", "n": 8, "settings": {"confidence": "surprise"},
    },
    "halving by pmi": {
        "strategy": "scalingar-plus", "n": 8, "settings": {"confidence": "pmi"},
    },
    "min-p": {"strategy": "best-of-n", "n": 4, "settings": {"sampler": "min-p"}},
    "entropy temperature": {
        "strategy": "best-of-n", "n": 4, "settings": {"sampler": "entropy-temperature"},
    },
    "budget": {
        "strategy": "best-of-n", "n": 4,
        "settings": {"termination": {"name": "token-budget", "budget": 2.5}},
    },
}  # fmt: skip

_SMALL = ReferenceModel(vocab_size=24)
REFERENCE = ReferenceModel(vocab_size=24, grid=type(_SMALL.grid)(6, 8))


def cases() -> dict[str, dict[str, Any]]:
    """Name to arguments of `generate`, in the order of the file."""
    shapes = {
        f"shapes, {name}": {"model": "shapes", "strategy": name, **given}
        for name, given in SHAPES.items()
    }
    reference = {
        f"reference, {name}": {"model": REFERENCE, "prompt": PROMPTS, **given}
        for name, given in SETTINGS.items()
    }
    return shapes | reference


def arithmetic() -> str:
    """What float32 rounds to on this machine: real networks give the same bytes only where this
    is the same."""
    random = np.random.Generator(np.random.Philox(key=7))
    a, b, c, image, kernel = (
        torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        for shape in ((16, 192), (192, 512), (16, 192), (1, 16, 24, 24), (16, 16, 3, 3))
    )
    with torch.inference_mode():
        product = a @ b
        results = (
            product,
            torch.softmax(product, -1),
            torch.nn.functional.silu(a) * c,
            torch.nn.functional.scaled_dot_product_attention(a[None], c[None], a[None]),
            torch.nn.functional.conv2d(image, kernel, padding=1),
        )
    return _digest(*(r.contiguous().numpy() for r in results))


def _digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def observe(result: sar.Generation) -> dict[str, Any]:
    """What a run was, in a few lines: hashes of its tokens and pixels, and who ended where."""
    result.decode_pixels()
    return {
        "chosen": result.answer.id,
        "candidates": [
            {
                "id": c.id,
                "status": str(c.status.value),
                "length": len(c.tokens),
                "tokens": _digest(np.asarray(c.tokens, dtype=np.int64))[:16],
                "pixels": _digest(np.asarray(c.pixels))[:16],
                # Six digits: a reader's number rather than a rounding's.
                "confidence": None if np.isnan(c.confidence) else float(f"{c.confidence:.6g}"),
            }
            for c in result.candidates
        ],
        "tokens": result.tokens,
        "image": _digest(np.asarray(result.pixels)),
        "image_shape": list(result.pixels.shape),
        "forward_rows": result.ledger.forward_rows,
    }


def run(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An entry for each prompt of a case."""
    options = dict(given)
    prompt = options.pop("prompt")
    results = sar.generate(prompt, device="cpu", **options)
    return [observe(r) for r in (results if isinstance(results, list) else [results])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="cases whose name holds this; the others stay")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    runs = {} if only is None else json.loads(FILE.read_text(encoding="utf-8"))["runs"]
    for name, given in cases().items():
        if only is None or only in name:
            runs[name] = run(given)
            print(name, *(f"{r['tokens']} tokens" for r in runs[name]), file=sys.stderr)
    # A line for each prompt: a difference shows which run changed.
    lines = ",\n".join(
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, runs[name])) + "\n ]"
        for name in cases()
    )
    text = f'{{"arithmetic": "{arithmetic()}",\n"runs": {{\n{lines}\n}}}}\n'
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
