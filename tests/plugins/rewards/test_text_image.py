"""Published reward models as tiny random instances of the same classes: equal to their definition."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs the extra rewards")

from scalingar_fw.decoding.components import Pool  # noqa: E402
from scalingar_fw.decoding.noise import Prompt  # noqa: E402
from scalingar_fw.decoding.result import Status, Trajectory  # noqa: E402
from scalingar_fw.errors import PluginWarning, ScalingarError  # noqa: E402
from scalingar_fw.registry import load_registry  # noqa: E402
from scalingar_plugins.rewards.text_image import (  # noqa: E402
    Asking,
    ClipScore,
    PickScore,
    SiglipScore,
    VQAScore,
    load_model,
)
from scalingar_plugins.selectors.rewarded import BestReward, RewardDraw  # noqa: E402

WORDS = ("A", "photo", "depicts", "a", "red", "cat", "dog", "green", "Yes", "No")
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
LENGTH = 8


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {"<unk>": 0, "<pad>": 1, "<end>": 2, **{w: 3 + i for i, w in enumerate(WORDS)}}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="<end>"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    root = tmp_path_factory.mktemp("rewards")
    text = {**SMALL, "vocab_size": 3 + len(WORDS), "max_position_embeddings": LENGTH}
    text |= {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 1}
    vision = {**SMALL, "image_size": 32, "patch_size": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
        transformers.CLIPModel(clip).save_pretrained(root / "clip")
        siglip = transformers.SiglipConfig(
            text_config={**text, "projection_size": 16}, vision_config=vision
        )
        transformers.SiglipModel(siglip).save_pretrained(root / "siglip")
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(root / "clip")
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(root / "siglip")
    for name in ("clip", "siglip"):
        save_tokenizer(root / name)
    return {name: root / name for name in ("clip", "siglip")}


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def pool(text: str = "a red cat", images: Any = IMAGES) -> Pool:
    made = [
        Trajectory(0, i, Status.COMPLETED, "", np.zeros(1, dtype=np.int64), {})
        for i in range(len(images))
    ]
    return Pool(Prompt(text), made, 0, decode=lambda ts: images[[t.candidate for t in ts]])


def own(folder: Path, cls: Any, text: str, **padding: Any) -> Any:
    """Logits of the published class's own forward pass, computed apart from the reward."""
    network = cls.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    from PIL import Image

    pixels = processor(images=[Image.fromarray(i) for i in IMAGES], return_tensors="pt")
    ids = tokenizer([text], return_tensors="pt", **padding)["input_ids"]
    with torch.inference_mode():
        return network, network(input_ids=ids, **pixels).logits_per_image[:, 0].double()


def test_clipscore_is_the_definition_on_the_models_own_logits(folders: dict[str, Path]) -> None:
    folder = folders["clip"]
    network, logits = own(folder, transformers.CLIPModel, "A photo depicts a red cat")
    cosine = logits / network.logit_scale.exp().item()
    found = ClipScore(model=str(folder), device="cpu").score(pool())
    assert np.allclose(found, 2.5 * cosine.clamp(min=0).numpy(), atol=1e-5)
    assert len(set(found.tolist())) > 1, "the images differ, so do their scores"


def test_pickscore_is_the_scaled_cosine_of_the_prompt_alone(folders: dict[str, Path]) -> None:
    _, logits = own(folders["clip"], transformers.CLIPModel, "a red cat")
    found = PickScore(model=str(folders["clip"]), device="cpu").score(pool())
    assert np.allclose(found, logits.numpy(), atol=1e-4)


def test_siglip_is_the_sigmoid_of_the_models_own_logit(folders: dict[str, Path]) -> None:
    padded = {"padding": "max_length", "max_length": LENGTH}
    _, logits = own(folders["siglip"], transformers.SiglipModel, "a red cat", **padded)
    found = SiglipScore(model=str(folders["siglip"]), device="cpu").score(pool())
    assert np.allclose(found, logits.sigmoid().numpy(), atol=1e-6)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_batch_changes_nothing(folders: dict[str, Path], batch: int) -> None:
    made = [PickScore(model=str(folders["clip"]), device="cpu", batch=b) for b in (batch, 16)]
    one, other = (reward.score(pool()) for reward in made)
    assert np.allclose(one, other, atol=1e-4)


def test_a_higher_score_is_chosen(folders: dict[str, Path]) -> None:
    reward = PickScore(model=str(folders["clip"]), device="cpu")
    scores = reward.score(pool())
    assert BestReward(reward).select(pool()) == int(scores.argmax())
    assert RewardDraw(reward, tau=1e-9).select(pool()) == int(scores.argmax())


def test_a_prompt_that_is_cut_is_said_once(folders: dict[str, Path]) -> None:
    load_model.cache_clear()
    reward = PickScore(model=str(folders["clip"]), device="cpu")
    long = "a red cat " * 6
    with pytest.warns(PluginWarning, match=f"reads {LENGTH} tokens of a prompt's 19"):
        cut = reward.score(pool(long))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.allclose(reward.score(pool(long)), cut)
        reward.score(pool("a dog"))


def test_a_model_of_another_kind_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ScalingarError, match=r"'siglip' needs a 'siglip' model.*'clip'"):
        SiglipScore(model=str(folders["clip"]), device="cpu").score(pool())
    with pytest.raises(ScalingarError, match="needs its model"):
        VQAScore().score(pool())


class FakeTokenizer:
    padding_side = "right"

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [WORDS.index(text)]}


class FakeProcessor:
    """Sees the mean brightness; records what it was asked."""

    def __init__(self) -> None:
        self.tokenizer, self.texts, self.sides = FakeTokenizer(), [], []

    def apply_chat_template(self, turns: Any, add_generation_prompt: bool) -> str:
        assert add_generation_prompt and [c["type"] for c in turns[0]["content"]] == [
            "image",
            "text",
        ]
        return str(turns[0]["content"][1]["text"])

    def __call__(self, *, text: Any, images: Any, padding: bool, return_tensors: str) -> Any:
        self.texts += text
        self.sides.append(self.tokenizer.padding_side)
        bright = [float(np.asarray(i[0]).mean()) / 255 for i in images]
        return transformers.BatchFeature({"bright": torch.tensor(bright)})


class FakeAnswers(torch.nn.Module):
    """Says Yes with a logit of its input's brightness at the last position, No everywhere else."""

    device = torch.device("cpu")

    def forward(self, bright: Any) -> Any:
        logits = torch.zeros(len(bright), 3, len(WORDS))
        logits[:, :, WORDS.index("No")] = 9.0
        logits[:, -1] = 0
        logits[:, -1, WORDS.index("Yes")] = bright
        return transformers.utils.ModelOutput(logits=logits)


def test_vqascore_is_the_probability_of_yes_at_the_last_position() -> None:
    asking = Asking(FakeAnswers(), FakeProcessor())
    images = np.stack([np.full((4, 4, 3), v, np.uint8) for v in (0, 255, 51)])
    found = asking(["a cat"] * 3, images, batch=2)
    expected = [np.exp(b) / (np.exp(b) + len(WORDS) - 1) for b in (0.0, 1.0, 0.2)]
    assert np.allclose(found, expected, atol=1e-6)
    assert asking.processor.texts == ['Does this figure show "a cat"? Please answer yes or no.'] * 3
    assert set(asking.processor.sides) == {"left"}, "else padding stands at the last position"


def save_llava(folder: Path, size: int = 32, patch: int = 16) -> None:
    """A LLaVA with a chat template: as a download from the hub leaves it."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    ids = {"<unk>": 0, "<pad>": 1, "<end>": 2, **{w: 3 + i for i, w in enumerate(WORDS)}}
    ids["<image>"] = len(ids)
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.add_special_tokens([AddedToken("<image>", special=True)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="<end>"
    )
    processor = transformers.LlavaProcessor(
        CLIPImageProcessorPil(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        ),
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template="{% for c in messages[0]['content'] %}{% if c['type'] == 'image' %}<image> "
        "{% else %}{{ c['text'] }}{% endif %}{% endfor %}",
    )
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            **{**SMALL, "num_hidden_layers": 2}, image_size=size, patch_size=patch
        ),
        text_config=transformers.LlamaConfig(**SMALL, vocab_size=len(ids), pad_token_id=1),
        image_token_index=ids["<image>"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def test_vqascore_of_a_real_class_does_not_depend_on_what_else_is_in_the_batch(
    tmp_path: Path,
) -> None:
    save_llava(tmp_path)
    asking = load_model("vqascore", str(tmp_path), "cpu")
    prompts = ["a cat", "a red cat and a green dog", "a dog"]
    together = asking(prompts, IMAGES[:3], 3)
    alone = [asking([p], IMAGES[i : i + 1], 1)[0] for i, p in enumerate(prompts)]
    assert np.allclose(together, alone, atol=1e-5), "padding is not read"
    assert ((together > 0) & (together < 1)).all() and len(set(together.tolist())) == 3
    found = VQAScore(model=str(tmp_path), device="cpu").score(pool())
    assert found.shape == (5,) and len(set(found.tolist())) > 1, "it looks at the image"


def test_they_are_registered_and_listing_them_imports_no_transformers() -> None:
    names = {entry.name for entry in load_registry().of_kind("reward")}
    assert {"clipscore", "pickscore", "siglip", "vqascore"} <= names
