"""GenEval's scorer: small random models in transformers' formats, read from folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs the extra geneval")
pytest.importorskip("scipy", reason="needs the extra geneval")

from scalingar_fw.errors import ScalingarError  # noqa: E402
from scalingar_plugins.benchmarks import geneval_models  # noqa: E402
from scalingar_plugins.benchmarks.geneval import GenEvalBenchmark  # noqa: E402
from scalingar_plugins.benchmarks.geneval_models import (  # noqa: E402
    ColourClassifier,
    Detector,
    Scorer,
    box_of,
    class_of,
    crop,
    fingerprint,
    load_scorer,
)
from scalingar_plugins.benchmarks.geneval_prompts import class_names  # noqa: E402
from scalingar_plugins.benchmarks.geneval_rules import COLOURS, THRESHOLD, Found  # noqa: E402

CPU = torch.device("cpu")
#: COCO's own spelling of what GenEval calls otherwise.
COCO = {"computer keyboard": "keyboard", "computer mouse": "mouse", "tv remote": "remote"}


def labels(names: list[str] | None = None) -> dict[str, Any]:
    names = [COCO.get(n, n) for n in class_names()] if names is None else names
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}


def save_mask2former(folder: Path, **options: Any) -> None:
    from transformers.models.mask2former.image_processing_pil_mask2former import (
        Mask2FormerImageProcessorPil,
    )

    torch.manual_seed(0)
    swin = transformers.SwinConfig(
        image_size=32,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=6,
        **(options or labels()),
    )
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    Mask2FormerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def save_detr(folder: Path) -> None:
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

    torch.manual_seed(0)
    resnet = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = transformers.DetrConfig(
        backbone_config=resnet,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=5,
        **labels(),
    )
    transformers.DetrForObjectDetection(config).save_pretrained(folder)
    DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)


def save_clip(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    words = sorted({*COLOURS, "a", "photo", "of", "-", "colored", "object", "cow", "bench"})
    ids = {"<unk>": 0, "<pad>": 1, "<end>": 2, **{w: 3 + i for i, w in enumerate(words)}}
    small = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {**small, "vocab_size": len(ids), "max_position_embeddings": 16, "eos_token_id": 2}
    config = transformers.CLIPConfig(
        text_config={**text, "bos_token_id": 1, "pad_token_id": 1},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=12,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="<end>"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as a download from the hub leaves them."""
    root = tmp_path_factory.mktemp("weights")
    found = {name: root / name for name in ("mask2former", "detr", "clip")}
    save_mask2former(found["mask2former"])
    save_detr(found["detr"])
    save_clip(found["clip"])
    return found


def picture(height: int = 48, width: int = 64) -> Any:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# -- detection -----------------------------------------------------------------------------------


class Output(dict[str, Any]):
    __getattr__ = dict.__getitem__


def replying(monkeypatch: pytest.MonkeyPatch, detector: Detector, output: Any) -> None:
    """The network's answer is `output`, whatever it sees; everything around it stays."""
    monkeypatch.setattr(type(detector.network), "forward", lambda self, **inputs: output)


def class_logits(detector: Detector, *found: tuple[str, float]) -> Any:
    """Logits under which each query is one of `found` (label, probability), the rest nothing."""
    queries, classes = 6, len(detector.labels) + 1
    logits = torch.full((1, queries, classes), -40.0)
    logits[..., -1] = 0.0
    by_name = {name: i for i, name in detector.labels.items()}
    for query, (label, probability) in enumerate(found):
        logits[0, query, by_name[label]] = np.log(probability / (1 - probability))
    return logits


def test_a_detr_like_detector_finds_boxes_in_pixels(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(folders["detr"], CPU)
    boxes = torch.tensor([[[0.5, 0.5, 0.25, 0.5]] * 6])  # centre and size, relative
    logits = class_logits(detector, ("tv remote", 0.9), ("cow", 0.5), ("bench", 0.2))
    replying(monkeypatch, detector, Output(logits=logits, pred_boxes=boxes))
    found = detector(picture(48, 64))
    assert [(f.label, round(f.score, 4)) for f in found] == [("tv remote", 0.9), ("cow", 0.5)]
    assert found[0].box == pytest.approx((24, 12, 40, 36))
    assert found[0].mask is None


def test_mask2former_finds_masks_and_the_boxes_around_them(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(folders["mask2former"], CPU)
    masks = torch.full((1, 6, 16, 16), -20.0)
    masks[0, 0, 4:12, :8] = 20.0  # rows 4 to 11 of 16, the left half
    masks[0, 1] = 20.0
    logits = class_logits(detector, ("cow", 0.9), ("bench", 0.2))
    replying(monkeypatch, detector, Output(class_queries_logits=logits, masks_queries_logits=masks))
    (found,) = detector(picture(48, 64))
    # The class's probability times the mask's mean probability, which is lower at its edge.
    assert found.label == "cow" and 0.88 < found.score < 0.9
    assert found.box == pytest.approx((0, 12, 32, 36), abs=1.01)
    assert found.mask is not None and found.mask.shape == (48, 64) and found.mask.dtype == bool
    assert found.mask[24, 10] and not found.mask[2, 10] and not found.mask[24, 50]


@pytest.mark.parametrize("kind", ["detr", "mask2former"])
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (3, 3)])
def test_whole_networks_run_on_any_picture(
    folders: dict[str, Path], kind: str, shape: tuple[int, int]
) -> None:
    detector = Detector.load(folders[kind], CPU)
    found = detector(picture(*shape))
    assert detector(picture(*shape)) is not found
    for one in found:
        assert one.label in class_names() and one.score >= THRESHOLD


def test_a_detector_is_refused_unless_it_knows_every_class(tmp_path: Path) -> None:
    save_mask2former(tmp_path, **labels(["cow", "bench"]))
    with pytest.raises(ScalingarError, match="78 of GenEval's 80 classes.*COCO"):
        Detector.load(tmp_path, CPU)


def test_what_is_no_detector_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ScalingarError, match="is a 'clip': expected mask2former"):
        Detector.load(folders["clip"], CPU)
    with pytest.raises(ScalingarError, match="is a 'detr', no clip"):
        ColourClassifier.load(folders["detr"], CPU)


def test_folders_that_lack_something_are_named_with_what_to_download(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ScalingarError, match="detector='.*no config.json.*Download facebook/"):
        Detector.load(tmp_path, CPU)
    shutil.copytree(folders["detr"], tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ScalingarError, match=r"no \*\.safetensors"):
        Detector.load(tmp_path / "pickled", CPU)
    shutil.copytree(folders["detr"], tmp_path / "cut")
    whole = (tmp_path / "cut" / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(ScalingarError, match="could not be loaded"):
        Detector.load(tmp_path / "cut", CPU)


def test_code_in_a_folder_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "remote"
    shutil.copytree(folders["detr"], folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('ran')\n")
    with pytest.raises(ScalingarError, match="cannot be read"):
        Detector.load(folder, CPU)


# -- colours -------------------------------------------------------------------------------------


def test_an_object_is_cropped_to_its_box_on_grey() -> None:
    image = picture(10, 12)
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:7] = True
    mask[2, 3] = False
    got = crop(image, Found("cow", 1.0, box_of(mask), mask))
    expected = image[2:5, 3:7].copy()
    expected[0, 0] = 0x99
    assert np.array_equal(got, expected)
    whole = crop(image, Found("cow", 1.0, (-4.0, 2.4, 99.0, 4.6)))
    assert np.array_equal(whole, image[2:5]), "edges are rounded and end at the picture"
    assert crop(image, Found("cow", 1.0, (12.0, 10.0, 12.0, 10.0))).shape == (1, 1, 3)


def test_a_colour_is_the_text_that_lies_nearest(folders: dict[str, Path]) -> None:
    """By the definition of zero-shot classification, in float64 from the networks' embeddings."""
    clip = ColourClassifier.load(folders["clip"], CPU)
    image = picture()
    objects = [Found("cow", 1.0, box) for box in ((0.0, 0.0, 20.0, 20.0), (5.0, 9.0, 60.0, 40.0))]

    def unit(values: Any) -> Any:
        return values / np.linalg.norm(values, axis=-1, keepdims=True)

    means = []
    for colour in COLOURS:
        said = [f"a photo of a {colour} {what}" for what in ("cow", "object")]
        said.insert(1, f"a photo of a {colour}-colored cow")
        ids = [clip.tokenizer(text, return_tensors="pt") for text in said]
        with torch.inference_mode():
            each = [clip.network.get_text_features(**i).pooler_output[0] for i in ids]
        means.append(unit(torch.stack(each).double().numpy()).mean(0))
    texts = unit(np.stack(means))
    expected = []
    for one in objects:
        inputs = clip.processor(images=crop(image, one), return_tensors="pt")
        with torch.inference_mode():
            seen = clip.network.get_image_features(**inputs).pooler_output[0].double().numpy()
        expected.append(COLOURS[int(np.argmax(texts @ unit(seen)))])
    assert clip(image, objects, "cow") == expected


def test_many_objects_are_classified_in_several_batches(folders: dict[str, Path]) -> None:
    clip = ColourClassifier.load(folders["clip"], CPU)
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 20, (geneval_models._CROPS + 3, 2))
    objects = [Found("cow", 1.0, (x, y, x + 20.0, y + 20.0)) for x, y in corners.tolist()]
    one_by_one = [clip(picture(), [o], "cow")[0] for o in objects]
    assert clip(picture(), objects, "cow") == one_by_one


# -- both ----------------------------------------------------------------------------------------


def test_names_of_other_datasets_are_understood() -> None:
    assert class_of("TV") == "tv" and class_of("potted_plant") == "potted plant"
    assert {class_of(v) for v in COCO.values()} == set(COCO)


def test_a_scorer_looks_at_the_picture_and_the_prompt() -> None:
    """A detector that sees a bright picture as a cow, and a classifier that reads its red channel."""

    def detect(image: Any) -> list[Found]:
        return [Found("cow", 0.95, (0.0, 0.0, 4.0, 4.0))] if image.mean() > 50 else []

    def colours(image: Any, found: Any, label: str) -> list[str]:
        return ["red" if image[..., 0].mean() > 200 else "blue"] * len(found)

    scorer = Scorer(detect, colours)
    wanted = {"tag": "colors", "include": [{"class": "cow", "count": 1, "color": "red"}]}
    dark, red = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 250, np.uint8)
    assert not scorer(dark, wanted).correct and scorer(red, wanted).correct
    red[..., 0] = 0
    assert scorer(red, wanted).reasons == ("expected 1 red cow, found blue",)


def test_the_benchmark_scores_with_weights_from_folders(folders: dict[str, Path]) -> None:
    made = GenEvalBenchmark(
        detector=str(folders["mask2former"]), clip=str(folders["clip"]), device="cpu"
    )
    assert made.judged_elsewhere == ""
    items = made.items("test")[:3]
    images = np.stack([picture()] * 3)
    scores = made.score(items, images)
    assert scores == made.score(items, images) and set(scores) <= {0.0, 1.0}
    assert load_scorer(made.detector, made.clip, "cpu") is load_scorer(
        made.detector, made.clip, "cpu"
    ), "loaded once"


def test_the_weights_are_part_of_what_judged(folders: dict[str, Path], tmp_path: Path) -> None:
    first = fingerprint(str(folders["detr"]), str(folders["clip"]))
    assert first != fingerprint(str(folders["mask2former"]), str(folders["clip"]))
    shutil.copytree(folders["detr"], tmp_path / "copy")
    assert first == fingerprint(str(tmp_path / "copy"), str(folders["clip"])), "by content"
    config = tmp_path / "copy" / "preprocessor_config.json"
    config.write_text(config.read_text().replace("96", "128"))
    assert first != fingerprint(str(tmp_path / "copy"), str(folders["clip"]))
    made = GenEvalBenchmark(detector=str(folders["detr"]), clip=str(folders["clip"]))
    assert made.scorer == first


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["detr", "mask2former"])
def test_a_gpu_finds_the_same_objects(
    folders: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    monkeypatch.setattr(geneval_models, "THRESHOLD", 0.0)
    here, there = (Detector.load(folders[kind], torch.device(d)) for d in ("cpu", "cuda"))
    expected, got = here(picture()), there(picture())
    assert [f.label for f in got] == [f.label for f in expected]
    assert [f.score for f in got] == pytest.approx([f.score for f in expected], abs=1e-3)
