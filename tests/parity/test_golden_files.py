"""Official code's outputs, file by file: logits, tokens and images of small random models.

Each file's metadata carries the configuration and how its tokens were drawn, so other widths,
heads, grids, class counts and vocabularies are tested by putting their file into the folder:
`pytest tests/parity --golden DIR`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve, frozen
from safetensors import safe_open
from torch import Tensor

from scalingar_fw.decoding.loop import decode
from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.strategy import Strategy
from scalingar_plugins.models.checkpoints import load_strictly
from scalingar_plugins.models.decoder import DecoderConfig
from scalingar_plugins.models.global_rng import GlobalMultinomial
from scalingar_plugins.models.llamagen.adapter import LlamaGenModel
from scalingar_plugins.models.llamagen.network import CaptionEmbedder, ClassEmbedder, LlamaGen
from scalingar_plugins.models.tiny import image_tokenizer
from scalingar_plugins.models.vq import VQConfig, VQDecoder

HERE = Path(__file__).parent / "golden"
TOLERANCE = 1e-4


@frozen(eq=False)
class Golden:
    """One file: `meta` as text, tensors by name."""

    name: str
    meta: dict[str, str]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> Golden:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            return cls(path.stem, file.metadata() or {}, tensors)

    def weights(self) -> dict[str, Tensor]:
        """In float32, whatever they are stored in: the outputs were computed so."""
        return {
            name.removeprefix("weights."): value.float()
            for name, value in self.tensors.items()
            if name.startswith("weights.")
        }

    def number(self, key: str, default: int = 0) -> int:
        return int(self.meta.get(key, default))


@frozen
class GivenFeatures:
    """Caption features from the file in place of a text encoder; the prompt is its row number."""

    features: Tensor
    mask: Tensor

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [int(text) for text in texts]
        return self.features[rows], self.mask[rows]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" not in metafunc.fixturenames:
        return
    wanted = metafunc.cls.kind
    folder = Path(metafunc.config.getoption("--golden", None) or HERE)
    files = [Golden.read(path) for path in sorted(folder.glob("*.safetensors"))]
    chosen = [g for g in files if _kind(g) == wanted]
    metafunc.parametrize("golden", chosen, ids=[g.name for g in chosen], scope="class")


def _kind(golden: Golden) -> str:
    if golden.meta.get("model_type") in ("c2i", "t2i"):
        return "generator"
    return "tokenizer" if "in.codes" in golden.tensors else "other"


@pytest.fixture(scope="class")
def model(golden: Golden) -> LlamaGenModel:
    weights, meta = golden.weights(), golden.meta
    dim = golden.number("dim")
    conditioner: ClassEmbedder | CaptionEmbedder
    texts = None
    with torch.device("meta"):
        if meta["model_type"] == "c2i":
            conditioner = ClassEmbedder(golden.number("num_classes"), dim)
            prefix = 1
        else:
            prefix = golden.number("caption_tokens")
            conditioner = CaptionEmbedder(prefix, golden.number("caption_dim"), dim)
            texts = GivenFeatures(
                golden.tensors["in.caption_embeddings"].float(),
                golden.tensors["in.caption_mask"].bool(),
            )
    side = golden.number("grid")
    config = DecoderConfig(
        vocab_size=golden.number("vocab_size"),
        dim=dim,
        n_layer=golden.number("n_layer"),
        n_head=golden.number("n_head"),
        n_kv_head=golden.number("n_kv_head") or None,
        rows=side,
        cols=side,
        prefix_len=prefix,
        # Where the file's hidden width is not LlamaGen's rule, the file is right.
        ffn_hidden=weights["layers.0.feed_forward.w1.weight"].shape[0],
    )
    return LlamaGenModel(
        name=golden.name,
        network=LlamaGen.from_state(config, conditioner, weights, golden.name),
        tokenizer=image_tokenizer(),
        device=torch.device("cpu"),
        dtype=torch.float32,
        preset=Sampling(guidance=float(meta["greedy_cfg_scale"])),
        texts=texts,
        padding="right_raw",  # the file's features are padded already
    )


@pytest.fixture(scope="class")
def prompts(golden: Golden) -> list[Prompt]:
    if golden.meta["model_type"] == "c2i":
        return [Prompt(class_id=int(c)) for c in golden.tensors["in.labels"]]
    return [Prompt(str(row)) for row in range(len(golden.tensors["in.caption_mask"]))]


def drawn(model: LlamaGenModel, prompts: Sequence[Prompt], **options: Any) -> Tensor:
    """Tokens `[P, T]` of one candidate for each prompt, by the framework's loop."""
    result = decode(model, Strategy(sampler=GlobalMultinomial()), prompts, n=1, **options)
    return torch.stack([torch.tensor(t.tokens) for t in result.trajectories])


def recipe(text: str) -> tuple[int, dict[str, Any]]:
    """Seed and sampling settings out of the file's sentence on how its tokens were drawn."""

    def value(pattern: str, default: float) -> float:
        found = re.search(pattern + r"[ =:]*([0-9]+(?:\.[0-9]+)?)", text)
        return float(found[1]) if found else default

    settings: dict[str, Any] = {
        "temperature": value("temperature", 1.0),
        "top_k": int(value("top_k", 0)),
        "top_p": value("top_p", 1.0),
    }
    own_scale = value("cfg scale", -1.0)  # "as greedy" where there is no number
    if own_scale >= 0:
        settings["guidance"] = own_scale
    seed = re.search(r"manual_seed\((\d+)\)", text)
    return int(seed[1]) if seed else 0, settings


class TestGenerator:
    """A LlamaGen generator against the official one."""

    kind = "generator"

    def test_both_branches_logits_agree_at_every_step_with_the_cache(
        self, golden: Golden, model: LlamaGenModel, prompts: list[Prompt]
    ) -> None:
        forced = golden.tensors["in.forced_tokens"]
        worst = 0.0
        with torch.inference_mode():
            cache, logits = model.prefill(model.encode(prompts), 1)
            for t in range(forced.shape[1]):
                for ours, name in ((logits.cond, "cond"), (logits.uncond, "uncond")):
                    official = golden.tensors[f"out.{name}_logits"][:, t]
                    worst = max(worst, float((ours - official).abs().max()))
                if t + 1 < forced.shape[1]:
                    logits = model.step(cache, forced[:, t], t)
        assert worst <= TOLERANCE

    def test_greedy_guided_tokens_are_equal(
        self, golden: Golden, model: LlamaGenModel, prompts: list[Prompt]
    ) -> None:
        tokens = drawn(model, prompts, sampling=evolve(model.preset, temperature=0.0))
        assert torch.equal(tokens, golden.tensors["out.greedy_tokens"])

    def test_sampled_guided_tokens_are_equal(
        self, golden: Golden, model: LlamaGenModel, prompts: list[Prompt]
    ) -> None:
        if "out.sampled_tokens" not in golden.tensors:
            return
        seed, settings = recipe(golden.meta["sampled"])
        before = torch.random.get_rng_state()
        tokens = drawn(model, prompts, seed=seed, sampling=evolve(model.preset, **settings))
        assert torch.equal(tokens, golden.tensors["out.sampled_tokens"])
        assert torch.equal(before, torch.random.get_rng_state()), "global randomness was used"


class TestTokenizer:
    """The image decoder against the official one."""

    kind = "tokenizer"

    def test_decoded_images_agree(self, golden: Golden) -> None:
        meta, image = golden.meta, golden.tensors["out.image"]
        base = golden.number("base_channels")
        config = VQConfig(
            codebook_size=golden.number("codebook_size"),
            codebook_dim=golden.number("codebook_dim"),
            z_channels=golden.number("z_channels"),
            base_channels=base,
            channel_mult=tuple(int(m) for m in meta["ch_mult"].split(",")),
            res_blocks=_count(golden.weights(), r"decoder\.conv_blocks\.0\.res\.(\d+)\.") - 1,
            normalize_codes=meta.get("l2_norm", "true") == "true",
        )
        with torch.device("meta"):
            decoder = VQDecoder(config)
        load_strictly(decoder, golden.weights(), golden.name)
        side = golden.number("grid")
        with torch.inference_mode():
            ours = decoder(golden.tensors["in.codes"], side, side)
        assert float((ours - image).abs().max()) <= TOLERANCE


def _count(names: Iterable[str], pattern: str) -> int:
    """How many different numbers `pattern` finds in `names`."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})


@pytest.mark.parametrize(
    ("text", "seed", "settings"),
    [
        (
            "global torch.manual_seed(123), cfg scale as greedy, temperature 0.9, top_k 40 then "
            "top_p 0.95, torch.multinomial once per step, torch 2.13.0 CPU",
            123,
            {"temperature": 0.9, "top_k": 40, "top_p": 0.95},
        ),
        ("torch.manual_seed(7), temperature 1, top_k 5", 7, {"temperature": 1.0, "top_k": 5}),
        ("torch.manual_seed(0), cfg scale 2.5", 0, {"guidance": 2.5, "top_k": 0}),
    ],
)
def test_recipes_are_read_out_of_the_metadata(
    text: str, seed: int, settings: dict[str, float]
) -> None:
    assert recipe(text)[0] == seed
    assert recipe(text)[1] == {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | settings


def test_the_folder_of_golden_files_is_not_empty() -> None:
    assert len(list(HERE.glob("*.safetensors"))) >= 3
