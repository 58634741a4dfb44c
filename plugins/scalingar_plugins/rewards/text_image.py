"""Rewards by published models of transformers: CLIPScore, PickScore, SigLIP and VQAScore.

| reward | default model | parameters | licence | range | input |
| --- | --- | --- | --- | --- | --- |
| `clipscore` | openai/clip-vit-base-patch32 | 151 M | see its page | 0 to 2.5 | 224 px, 77 tokens |
| `pickscore` | yuvalkirstain/PickScore_v1 | 986 M | see its page | a scaled cosine | 224 px, 77 tokens |
| `siglip` | google/siglip-so400m-patch14-384 | 878 M | Apache-2.0 | 0 to 1 | 384 px, 64 tokens |
| `vqascore` | yours: image-text-to-text with a chat template | its | its | 0 to 1 | its |

Higher is better for all. Parameters, licence and input are from memory: no model was downloaded to
write this, and what counts when scoring (resolution, length of text, scale) is read from the model's
own files. A longer prompt is cut, and that is said. Not here: ImageReward (its own BLIP with a head,
of which nobody checked that every key maps onto transformers' BLIP) and HPSv2 (needs open_clip).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from attrs import define, field, frozen

from scalingar_fw.decoding.components import Context, Pool, Reward
from scalingar_fw.decoding.params import param
from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import PluginWarning, ScalingarError
from scalingar_plugins.rewards.images import checked

Kind = Literal["clipscore", "pickscore", "siglip", "vqascore"]
#: CLIPScore's factor and prefix (Hessel et al. 2021, arXiv 2104.08718, section 3).
CLIPSCORE_WEIGHT, CLIPSCORE_PREFIX = 2.5, "A photo depicts "
#: VQAScore's question and answer (Lin et al. 2024, arXiv 2404.01291, section 3).
QUESTION, ANSWER = 'Does this figure show "{prompt}"? Please answer yes or no.', "Yes"
#: What a fetch takes of a reward model's repository.
FILES = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "model*.safetensors",
    "pytorch_model*.bin",
)


@define(eq=False)
class Dual:
    """A CLIP or SigLIP of transformers: texts and images to one space."""

    kind: Kind
    network: Any
    processor: Any
    tokenizer: Any
    said: set[str] = field(factory=set)

    def __call__(self, prompts: Sequence[str], images: Array, batch: int) -> Array:
        """`[K]`: the score of each of `images [K, H, W, 3]` uint8 for its prompt."""
        parts = [
            self._score(prompts[i : i + batch], images[i : i + batch])
            for i in range(0, len(images), batch)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _score(self, prompts: Sequence[str], images: Array) -> Array:
        import torch

        device = self.network.device
        with torch.inference_mode():
            text = _unit(self.network.get_text_features(**self._texts(prompts).to(device)))
            pixels = self.processor(images=_pictures(images), return_tensors="pt").to(device)
            seen = _unit(self.network.get_image_features(**pixels))
            cosine = (text * seen).sum(-1)
            if self.kind == "clipscore":
                score = CLIPSCORE_WEIGHT * cosine.clamp(min=0)
            elif self.kind == "pickscore":
                score = self.network.logit_scale.exp() * cosine
            else:
                logit = self.network.logit_scale.exp() * cosine + self.network.logit_bias
                score = logit.sigmoid()
        return np.asarray(score.double().cpu().numpy())

    def _texts(self, prompts: Sequence[str]) -> Any:
        prefix = CLIPSCORE_PREFIX if self.kind == "clipscore" else ""
        texts = [prefix + prompt for prompt in prompts]
        limit = int(self.network.config.text_config.max_position_embeddings)
        for prompt, text in zip(prompts, texts, strict=True):
            length = len(self.tokenizer(text)["input_ids"])
            if length > limit and prompt not in self.said:
                self.said.add(prompt)
                warnings.warn(
                    f"{self.kind} reads {limit} tokens of a prompt's {length}; what follows counts "
                    f"for nothing: {prompt[:60]!r}...",
                    PluginWarning,
                    stacklevel=2,
                )
        # SigLIP was trained on padded texts without a mask; CLIP's causal text tower never looks
        # behind the end token, so padding is the same to it.
        padding = "max_length" if self.kind == "siglip" else True
        read = self.tokenizer(
            texts, padding=padding, truncation=True, max_length=limit, return_tensors="pt"
        )
        if self.kind == "siglip":
            read = read.__class__({"input_ids": read["input_ids"]})
        return read


@define(eq=False)
class Asking:
    """Any image-text-to-text model: the probability that its first word is "Yes"."""

    network: Any
    processor: Any

    def __call__(self, prompts: Sequence[str], images: Array, batch: int) -> Array:
        scores: list[float] = []
        for start in range(0, len(images), batch):
            part = slice(start, start + batch)
            scores += self._score(prompts[part], _pictures(images[part]))
        return np.array(scores)

    def _score(self, prompts: Sequence[str], pictures: Sequence[Any]) -> list[float]:
        import torch

        texts = []
        for prompt in prompts:
            question = {"type": "text", "text": QUESTION.format(prompt=prompt)}
            turn = {"role": "user", "content": [{"type": "image"}, question]}
            texts.append(self.processor.apply_chat_template([turn], add_generation_prompt=True))
        # On the left: the last position is then the one that predicts the answer, in every row.
        self.processor.tokenizer.padding_side = "left"
        given = self.processor(
            text=texts, images=[[p] for p in pictures], padding=True, return_tensors="pt"
        ).to(self.network.device)
        with torch.inference_mode():
            logits = self.network(**given).logits[:, -1].float()
        return [float(p) for p in logits.softmax(-1)[:, self.answer]]

    @property
    def answer(self) -> int:
        """The token of "Yes": its first, where a tokenizer cuts it."""
        ids = self.processor.tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
        return int(ids[0])


def _pictures(images: Array) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(image) for image in images]


def _unit(features: Any) -> Any:
    features = getattr(features, "pooler_output", features)
    return features / features.norm(dim=-1, keepdim=True)


@functools.cache
def load_model(kind: Kind, model: str, device: str) -> Dual | Asking:
    """A reward model from a folder or repository, once for each device.

    Raises:
        ScalingarError: no transformers, no weights, or a model of another kind.
    """
    import torch

    from scalingar_fw.config.device import resolve_device
    from scalingar_plugins.models.hf import load_pretrained, need_transformers
    from scalingar_plugins.models.pretrained import read_from

    transformers = need_transformers(f"reward {kind!r}")
    folder, where = _folder(model), f"{kind}'s model"
    config = read_from(folder, where, transformers.AutoConfig.from_pretrained)
    classes = {"clipscore": "CLIPModel", "pickscore": "CLIPModel", "siglip": "SiglipModel"}
    wanted = {"CLIPModel": "clip", "SiglipModel": "siglip"}.get(classes.get(kind, ""))
    if wanted is not None and config.model_type != wanted:
        raise ScalingarError(
            f"reward {kind!r} needs a {wanted!r} model; {model!r} is a {config.model_type!r}."
        )
    name = classes.get(kind, "AutoModelForImageTextToText")
    network = load_pretrained(getattr(transformers, name), folder, torch.float32)
    network = network.to(resolve_device(device))
    if kind == "vqascore":
        processor = read_from(folder, where, transformers.AutoProcessor.from_pretrained)
        return Asking(network, processor)
    return Dual(
        kind,
        network,
        read_from(folder, where, transformers.AutoImageProcessor.from_pretrained, backend="pil"),
        read_from(folder, where, transformers.AutoTokenizer.from_pretrained),
    )


def _folder(model: str) -> Path:
    from scalingar_plugins.hub.fetch import fetch, parse_reference
    from scalingar_plugins.hub.sources import Source

    if Path(model).exists():
        return Path(model)
    repository, revision = parse_reference(model)
    return fetch(Source(repository, FILES, ("config.json",), "see its page", revision)).folder


@frozen
class _Published(Reward):
    """What they share: `model`, `device`, `batch`."""

    NAME: ClassVar[Kind]

    model: str = param("", "a folder or org/name[@revision]")
    device: str = param("auto", "where the reward model runs: auto, cpu, cuda:1 (--reward-device)")
    batch: int = param(16, "images of a forward pass", ge=1)

    def init(self, context: Context) -> None:
        self._load()

    def _load(self) -> Dual | Asking:
        if not self.model:
            raise ScalingarError(
                f"Reward {self.NAME!r} needs its model: --set selector.reward.model=DIR, or "
                "org/name of an image-text-to-text model."
            )
        return load_model(self.NAME, self.model, self.device)

    def score(self, pool: Pool) -> Array:
        images = pool.images()
        scores = self._load()([pool.prompt.label] * len(images), images, self.batch)
        return checked(scores.tolist(), len(images), f"reward {self.NAME!r}")


@frozen
class ClipScore(_Published):
    """CLIPScore: 2.5 max(cos, 0) of "A photo depicts" and the prompt (Hessel et al. 2021)."""

    NAME: ClassVar[Kind] = "clipscore"

    model: str = param("openai/clip-vit-base-patch32", "a CLIP: a folder or org/name[@revision]")


@frozen
class PickScore(_Published):
    """PickScore: a CLIP-H trained on people's choices; its scaled cosine (Kirstain et al. 2023)."""

    NAME: ClassVar[Kind] = "pickscore"

    model: str = param("yuvalkirstain/PickScore_v1", "a CLIP: a folder or org/name[@revision]")


@frozen
class SiglipScore(_Published):
    """SigLIP's probability that text and image belong together (Zhai et al. 2023)."""

    NAME: ClassVar[Kind] = "siglip"

    model: str = param(
        "google/siglip-so400m-patch14-384", "a SigLIP: a folder or org/name[@revision]"
    )


@frozen
class VQAScore(_Published):
    """The probability of "Yes" to "Does this figure show the prompt?" (Lin et al. 2024)."""

    NAME: ClassVar[Kind] = "vqascore"
