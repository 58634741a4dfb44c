"""GenEval's two models, run by transformers: what is in an image, and of which colour.

The official evaluator takes Mask2Former (Swin-S, COCO instances) from mmdet and CLIP ViT-L/14 from
open_clip; both exist in transformers' format. Any detector of COCO's 80 classes works, but scores
of different ones are not comparable: `fingerprint` tells which judged.

Weights are read from a local folder, as safetensors, without remote code. Importing this module
imports neither torch nor transformers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from attrs import define, field, frozen

from scalingar_fw.decoding.result import Array
from scalingar_fw.errors import ScalingarError
from scalingar_plugins.benchmarks.geneval_prompts import class_names
from scalingar_plugins.benchmarks.geneval_rules import (
    COLOURS,
    THRESHOLD,
    Found,
    Verdict,
    judge,
    kept,
)
from scalingar_plugins.models.pretrained import (
    REMEDY,
    image_processor,
    need_transformers,
    network_of,
    read_from,
)

Array = Array

#: What detectors call the classes that GenEval renames, and older spellings of COCO's.
ALIASES = {
    "keyboard": "computer keyboard",
    "mouse": "computer mouse",
    "remote": "tv remote",
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
    "television": "tv",
    "hair dryer": "hair drier",
}
#: What is said of an object, for each colour {} and class; the mean embedding stands for a colour.
TEMPLATES = ("a photo of a {} {label}", "a photo of a {}-colored {label}", "a photo of a {} object")
#: What lies outside an object's mask when its colour is asked for (#999).
BACKGROUND = 0x99
_CROPS = 16
#: What a detector's post-processing reads of its output.
_BOXES = ("logits", "pred_boxes")
_MASKS = ("class_queries_logits", "masks_queries_logits")
#: Files that change what is computed.
_RELEVANT = (".safetensors", ".json", ".txt")


@define(eq=False)
class Detector:
    """A transformers detector: DETR-like (boxes) or Mask2Former (boxes and masks)."""

    network: Any
    processor: Any
    masks: bool
    labels: dict[int, str]

    @classmethod
    def load(cls, folder: Path, device: Any) -> Detector:
        """Read a folder; `ScalingarError` unless it is a detector of all of GenEval's classes."""
        transformers = need_transformers()
        config = read_from(folder, "detector", transformers.AutoConfig.from_pretrained)
        masks = config.model_type == "mask2former"
        boxes = transformers.models.auto.modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES
        if not masks and config.model_type not in boxes:
            raise ScalingarError(
                f"detector={str(folder)!r} is a {config.model_type!r}: expected mask2former or "
                "one of transformers' object detectors, such as detr."
            )
        kind = "Mask2FormerForUniversalSegmentation" if masks else "AutoModelForObjectDetection"
        labels = {int(i): class_of(text) for i, text in config.id2label.items()}
        missing = sorted(set(class_names()) - set(labels.values()))
        if missing:
            raise ScalingarError(
                f"detector={str(folder)!r} does not know {', '.join(missing[:6])} "
                f"({len(missing)} of GenEval's 80 classes): it must be trained on COCO."
            )
        network = network_of(getattr(transformers, kind), folder, "detector", device)
        return cls(network, image_processor(folder, "detector"), masks, labels)

    def __call__(self, image: Array) -> list[Found]:
        """The objects of `image [H, W, 3]` uint8 that exceed the lower threshold."""
        import torch

        size = image.shape[:2]
        inputs = self.processor(images=[_picture(image)], return_tensors="pt")
        inputs = inputs.to(self.network.device)
        with torch.inference_mode():
            output = self.network(**inputs)
        # On the CPU: transformers draws Mask2Former's masks there, wherever the network is.
        read = _MASKS if self.masks else _BOXES
        output = SimpleNamespace(**{name: output[name].cpu() for name in read})
        return self._with_masks(output, size) if self.masks else self._with_boxes(output, size)

    def _with_boxes(self, output: Any, size: tuple[int, ...]) -> list[Found]:
        (result,) = self.processor.post_process_object_detection(
            output, threshold=THRESHOLD, target_sizes=[size]
        )
        rows = zip(
            result["labels"].tolist(),
            result["scores"].tolist(),
            result["boxes"].tolist(),
            strict=True,
        )
        return [Found(self.labels[i], score, tuple(box)) for i, score, box in rows]

    def _with_masks(self, output: Any, size: tuple[int, ...]) -> list[Found]:
        (result,) = self.processor.post_process_instance_segmentation(
            output, threshold=THRESHOLD, target_sizes=[size], return_binary_maps=True
        )
        found = []
        for number, segment in enumerate(result["segments_info"]):
            mask = result["segmentation"][number].bool().cpu().numpy()
            label = self.labels[int(segment["label_id"])]
            found.append(Found(label, float(segment["score"]), box_of(mask), mask))
        return found


@define(eq=False)
class ColourClassifier:
    """CLIP, zero-shot: which of ten colours is an object?"""

    network: Any
    processor: Any
    tokenizer: Any
    _texts: dict[str, Any] = field(factory=dict)

    @classmethod
    def load(cls, folder: Path, device: Any) -> ColourClassifier:
        transformers = need_transformers()
        config = read_from(folder, "clip", transformers.AutoConfig.from_pretrained)
        if config.model_type != "clip":
            raise ScalingarError(f"clip={str(folder)!r} is a {config.model_type!r}, no clip.")
        network = network_of(transformers.CLIPModel, folder, "clip", device)
        return cls(
            network,
            image_processor(folder, "clip"),
            read_from(folder, "clip", transformers.AutoTokenizer.from_pretrained),
        )

    def __call__(self, image: Array, objects: Sequence[Found], label: str) -> list[str]:
        """A colour for each object, by its crop on a grey background."""
        import torch

        crops = [_picture(crop(image, one)) for one in objects]
        texts, chosen = self._classifier(label), []
        for start in range(0, len(crops), _CROPS):
            inputs = self.processor(images=crops[start : start + _CROPS], return_tensors="pt")
            with torch.inference_mode():
                seen = _pooled(self.network.get_image_features(**inputs.to(self.network.device)))
            chosen += (_unit(seen) @ texts.T).argmax(1).tolist()
        return [COLOURS[i] for i in chosen]

    def _classifier(self, label: str) -> Any:
        """`[10, D]`: each colour's mean text embedding, of length 1."""
        import torch

        if label not in self._texts:
            texts = [t.format(colour, label=label) for colour in COLOURS for t in TEMPLATES]
            inputs = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                said = _pooled(self.network.get_text_features(**inputs.to(self.network.device)))
            each = _unit(said).reshape(len(COLOURS), len(TEMPLATES), -1)
            self._texts[label] = _unit(each.mean(1))
        return self._texts[label]


@frozen(eq=False)
class Scorer:
    """A detector, a colour classifier and GenEval's rules.

    `detector(image) -> [Found]`, `colours(image, [Found], class) -> [colour]`.
    """

    detector: Callable[[Array], Sequence[Found]]
    colours: Callable[[Array, Sequence[Found], str], Sequence[str]]

    def __call__(self, image: Array, wanted: Mapping[str, Any]) -> Verdict:
        """Judge `image [H, W, 3]` uint8 by a prompt's metadata."""
        objects = kept(self.detector(image), wanted["tag"])
        return judge(objects, wanted, lambda found, label: self.colours(image, found, label))


@functools.cache
def load_scorer(detector: str, clip: str, device: str = "auto") -> Scorer:
    """Both models from their folders, loaded once per process; errors name what is missing."""
    from scalingar_fw.config.device import resolve_device

    where = resolve_device(device)
    places = Path(detector).expanduser(), Path(clip).expanduser()
    return Scorer(
        Detector.load(places[0], where),
        ColourClassifier.load(places[1], where),
    )


def fingerprint(detector: str, clip: str) -> str:
    """Which weights and settings judge, by content; nothing is loaded."""
    from scalingar_plugins.models.checkpoints import fingerprint_files

    files: list[Path] = []
    for what, text in (("detector", detector), ("clip", clip)):
        folder = Path(text).expanduser()
        found = [p for p in sorted(folder.glob("*")) if p.suffix in _RELEVANT]
        if not any(p.suffix == ".safetensors" for p in found):
            raise ScalingarError(f"{what}={text!r} holds no weights. {REMEDY}")
        files += found
    return fingerprint_files(files, "geneval")


def class_of(label: str) -> str:
    """GenEval's name of a detector's class."""
    name = label.replace("_", " ").strip().lower()
    return ALIASES.get(name, name)


def box_of(mask: Array) -> tuple[float, float, float, float]:
    """The smallest box around `mask [H, W]`, which is not empty."""
    down, across = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return float(across[0]), float(down[0]), float(across[-1] + 1), float(down[-1] + 1)


def crop(image: Array, one: Found) -> Array:
    """The object's box of `image [H, W, 3]`, grey outside its mask; one pixel at least."""
    if one.mask is not None:
        image = np.where(one.mask[..., None], image, np.uint8(BACKGROUND))
    height, width = image.shape[:2]
    left, top, right, bottom = (round(edge) for edge in one.box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return image[top : max(min(bottom, height), top + 1), left : max(min(right, width), left + 1)]


def _picture(pixels: Array) -> Any:
    """For processors that would take an array of three rows for one of three channels."""
    import PIL.Image

    return PIL.Image.fromarray(np.ascontiguousarray(pixels))


def _pooled(output: Any) -> Any:
    """The embeddings: transformers 5.0 returned them bare, later versions inside an output."""
    return getattr(output, "pooler_output", output)


def _unit(vectors: Any) -> Any:
    return vectors / vectors.norm(dim=-1, keepdim=True)
