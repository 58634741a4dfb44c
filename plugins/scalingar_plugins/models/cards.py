"""Model cards as data: the pages in docs/backends and `scalingar models info` are both made of it.

`python -m scalingar_plugins.models.cards docs/backends` writes the pages; a test compares them.
Memory is arithmetic from the published geometry, so it can be checked by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from scalingar_fw.decoding.memory_budget import show_bytes
from scalingar_plugins.hub.sources import sources_of
from scalingar_plugins.models.llamagen.sizes import SIZES

HALF = 2  # bytes per number in bfloat16


@frozen
class Row:
    """One published model: what its memory follows from.

    `slots`: positions in the cache (prompt and image); `millions`: parameters that are loaded
    beside the image decoder, 0 where no trustworthy number is at hand.
    """

    name: str
    image: str
    tokens: int
    layers: int
    kv_heads: int
    head_dim: int
    slots: int
    vocab: int
    millions: int = 0

    @property
    def candidate(self) -> int:
        """Bytes of one candidate in bfloat16: keys and values and logits of both branches."""
        cache = 2 * self.layers * self.kv_heads * self.head_dim * self.slots * HALF
        return 2 * (cache + 4 * self.vocab)

    def cells(self) -> str:
        weights = show_bytes(self.millions * 1_000_000 * HALF) if self.millions else "see the files"
        total = show_bytes(8 * self.candidate)
        return (
            f"| `{self.name}` | {self.image} | {self.tokens} | {show_bytes(self.candidate)} "
            f"| {total} | {weights} |"
        )


@frozen
class Card:
    """One page: a family of models that share their handling."""

    slug: str
    title: str
    summary: str
    weights: Sequence[str]
    licence: Sequence[str]
    rows: Sequence[Row]
    commands: Sequence[str]
    presets: Sequence[str]
    traps: Sequence[str]
    sources: Sequence[str]

    def render(self) -> str:
        """The page as Markdown."""
        head = "| name | image | tokens | per candidate | N = 8 | weights (bfloat16) |"
        parts = [
            f"# {self.title}",
            self.summary,
            "## Where the weights are",
            _list(self.weights),
            _sources(self.rows),
            "## Licence",
            _list(self.licence),
            "## Memory",
            f"{head}\n| --- | --- | --- | --- | --- | --- |\n"
            + "\n".join(row.cells() for row in self.rows),
            "Per candidate: keys and values of the conditional and the unconditional row "
            "(2 x layers x heads x head size x positions x 2 bytes each) and both rows' logits in "
            "float32. Float32 doubles the cache. The image decoder stays in float32 and needs up "
            "to half a gigabyte for each 512 x 512 image that it decodes. While candidates are "
            "pruned, the survivors' caches are copied beside the old ones.",
            "## Commands",
            "```bash\n" + "\n".join(self.commands) + "\n```",
            "## Official sampling presets",
            _list(self.presets),
            "The first one is the default, `--option preset=NAME` takes another, and `run.json` "
            "records which. Noise is keyed by seed, prompt, candidate and step; `--set "
            "sampler=global-multinomial` draws as official scripts do, from one generator for all "
            "rows, and gives their tokens for a seed where nothing is pruned.",
            "## Traps",
            _list(self.traps),
            "## What was compared with what",
            _list(self.sources),
        ]
        return "\n\n".join(parts) + "\n"


def _sources(rows: Sequence[Row]) -> str:
    """The table of `--model NAME` alone: what is fetched from where."""
    lines = ["| name | fetched from | revision | licence |", "| --- | --- | --- | --- |"]
    for row in rows:
        for source in sources_of(row.name):
            pinned = f"`{source.revision[:12]}`" if source.revision else "main, pinned when fetched"
            lines.append(f"| `{row.name}` | `{source.repository}` | {pinned} | {source.licence} |")
    return "\n".join(lines) + (
        "\n\nWithout `--weights`, these files are fetched on first use (extra `hub`; see "
        "[weights](../weights.md)). The table was written from public listings, and none of the "
        "repositories was downloaded to write it: `scalingar models verify NAME --remote` holds a "
        "row against what the hub says."
    )


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _llamagen(name: str, size: str, side: int, image: str, prefix: int, millions: int) -> Row:
    shape = SIZES[size]
    tokens = side * side
    width = shape.dim // shape.heads
    return Row(
        name, image, tokens, shape.layers, shape.heads, width, prefix + tokens, 16384, millions
    )


_NO_RUN = (
    "The numbers on this page come from the published geometry and from parity tests with small "
    "random weights; no published checkpoint was opened to write it. Run `scalingar models check` "
    "before a long run."
)

LLAMAGEN = Card(
    slug="llamagen",
    title="LlamaGen",
    summary="Class- or text-conditional next-token prediction on a 16-fold downsampling VQ "
    "tokenizer (arXiv 2406.06525). Runs on this project's own decoder, the one that the embedded "
    "model uses. " + _NO_RUN,
    weights=(
        "Class-conditional, Hugging Face `FoundationVision/LlamaGen`: `c2i_{B,L}_{256,384}.pt`, "
        "`c2i_{XL,XXL,3B}_384.pt`, `vq_ds16_c2i.pt` (and `vq_ds8_c2i.pt`).",
        "Text-conditional, Hugging Face `peizesun/llamagen_t2i`: `t2i_XL_stage1_256.pt`, "
        "`t2i_XL_stage2_512.pt`, `vq_ds16_t2i.pt`.",
        "Text encoder: `google/flan-t5-xl`, in the subfolder `flan-t5-xl` (about 1.2 billion "
        "parameters of it are used) or named with `--option t5=DIR`.",
        "All files of a model lie in one folder under their published names; `.safetensors` "
        "copies and FSDP folders (`c2i_3B_384/consolidated.pth`) are found as well.",
    ),
    licence=("Code MIT; both weights repositories are tagged MIT; flan-t5-xl is Apache-2.0.",),
    rows=(
        _llamagen("llamagen-c2i-b-256", "B", 16, "256 px", 1, 111),
        _llamagen("llamagen-c2i-b-384", "B", 24, "384 px", 1, 111),
        _llamagen("llamagen-c2i-l-256", "L", 16, "256 px", 1, 343),
        _llamagen("llamagen-c2i-l-384", "L", 24, "384 px", 1, 343),
        _llamagen("llamagen-c2i-xl-384", "XL", 24, "384 px", 1, 775),
        _llamagen("llamagen-c2i-xxl-384", "XXL", 24, "384 px", 1, 1411),
        _llamagen("llamagen-c2i-3b-384", "3B", 24, "384 px", 1, 3097),
        _llamagen("llamagen-t2i-256", "XL", 16, "256 px", 120, 778),
        _llamagen("llamagen-t2i-512", "XL", 32, "512 px", 120, 778),
    ),
    commands=(
        "scalingar models check llamagen-t2i-512",
        'scalingar generate "a red bicycle" --model llamagen-t2i-512 -n 8',
        "scalingar generate --class 207 --model llamagen-c2i-xl-384 -n 8",
    ),
    presets=(
        "t2i `demo`: guidance 7.5, top-k 1000.",
        "c2i `demo`: guidance 4, top-k 2000; `ddp` (evaluation script): guidance 1.5; `fid`: the "
        "README's scale, 2.0 (B, L), 1.75 (XL, XXL), 1.65 (3B).",
    ),
    traps=(
        "The two `vq_ds16` files hold the same shapes and different weights: with the other one "
        "images are garbage, and no check of shapes can see it. The file is chosen by name.",
        "Stage 1 (256 px) and stage 2 (512 px) weights fit each other's network; each belongs to "
        "its own size.",
        "Prompts are cleaned twice as in the official scripts: '512x512', web addresses, Chinese "
        "characters and words such as 'download' disappear. `--option caption_cleaning=none` keeps "
        "them.",
        "Prompts longer than 120 text tokens are cut.",
        "Flan-T5 overflows in float16: its features are made in bfloat16 for a float16 generator.",
        "Greedy decoding (temperature 0) gives poor images; the models want temperature 1.",
        "The unconditional branch carries the caption's mask, so it depends on its length.",
        "Official evaluation of c2i at 256 px draws at 384 px and scales down.",
    ),
    sources=(
        "Network, sampling loop and presets: the official code (FoundationVision/LlamaGen), whose "
        "logits, tokens and images on small random weights are the files of `tests/parity`.",
        "Caption cleaning: language/t5.py there, rule by rule, and 30,000 made-up captions "
        "cleaned by both: equal.",
        "File names and licence tags: the Hugging Face listings. From memory: flan-t5-xl's count "
        "of parameters.",
    ),
)

AR_GRPO = Card(
    slug="ar-grpo",
    title="AR-GRPO",
    summary="LlamaGen generators fine-tuned by reinforcement learning (Kwai-Klear). The same "
    "networks, in a Hugging Face folder whose own class is not needed. " + _NO_RUN,
    weights=(
        "Hugging Face `CSshihao/AR-GRPO_T2I_XL_256`, `CSshihao/AR-GRPO_C2I_B_256`, "
        "`CSshihao/AR-GRPO_C2I_{B,L,XL}_384`: the whole folder; the image tokenizer is inside.",
        "Text encoder: `google/flan-t5-xl`, in a subfolder of it or named with `--option t5=DIR`.",
    ),
    licence=(
        "None is stated for code or weights: do not redistribute them. Nothing of theirs is "
        "included here.",
    ),
    rows=(
        _llamagen("ar-grpo-t2i-256", "XL", 16, "256 px", 120, 778),
        _llamagen("ar-grpo-c2i-b-256", "B", 16, "256 px", 1, 111),
        _llamagen("ar-grpo-c2i-b-384", "B", 24, "384 px", 1, 111),
        _llamagen("ar-grpo-c2i-l-384", "L", 24, "384 px", 1, 343),
        _llamagen("ar-grpo-c2i-xl-384", "XL", 24, "384 px", 1, 775),
    ),
    commands=(
        "scalingar models check ar-grpo-t2i-256",
        'scalingar generate "a red bicycle" --model ar-grpo-t2i-256 -n 8',
    ),
    presets=(
        "t2i `script` (the default): guidance 2, top-k 2000, what test_t2i.sh passes; `python`: "
        "guidance 7.5, the default of test_t2i.py itself; `training`: guidance 4.",
        "c2i `test`: guidance 2.",
    ),
    traps=(
        "Its evaluation pads prompts on the right and does not zero the padding, unlike LlamaGen: "
        "`prompt_padding=right_raw` is the default here and `--option prompt_padding=left` is "
        "available (its own sampling script uses it). The difference in logits is large.",
        "The trainer saves the reference policy as well: tensors below `ref_model.` are dropped.",
        "Official GenEval numbers do not say which guidance scale they used.",
    ),
    sources=(
        "Folder format, padding and presets: the authors' published code, read and not copied.",
        "Not opened: a published checkpoint, so the tensors' prefixes are those that the code "
        "writes.",
    ),
)

JANUS = Card(
    slug="janus-pro",
    title="Janus-Pro",
    summary="DeepSeek's unified model; image generation with its own embeddings and head on a "
    "Llama trunk, 24 x 24 tokens. Runs through transformers (extra `hf`), step by step; the image "
    "decoder is LlamaGen's. " + _NO_RUN,
    weights=(
        "Hugging Face `deepseek-community/Janus-Pro-1B` and `-7B` (transformers' format).",
        "The `deepseek-ai` repositories are in another format and do not load.",
    ),
    licence=("Code MIT; weights under the DeepSeek Model License (use restrictions).",),
    rows=(
        Row("janus-pro-1b", "384 px", 576, 24, 16, 128, 640, 16384),
        Row("janus-pro-7b", "384 px", 576, 30, 32, 128, 640, 16384),
    ),
    commands=(
        "scalingar models check janus-pro-1b",
        'scalingar generate "a red bicycle" --model janus-pro-1b -n 8',
    ),
    presets=("`official`: guidance 5, temperature 1, nothing truncated.",),
    traps=(
        "The size is fixed: 576 tokens, 384 px.",
        "The unconditional prompt is padding of the prompt's length, and that padding is attended "
        "to; it cannot be replaced by a negative prompt.",
        "transformers' own `generate` truncates to the 50 most likely tokens without saying so; "
        "the official code, and this adapter, do not.",
        "`prompt_tokens` (64) is a prompt's share of the estimated memory; longer prompts take "
        "more.",
    ),
    sources=(
        "Guidance, prompt template and unconditional prompt: a published copy of the official "
        "`janus` package.",
        "Tokens and logits: transformers' own image generation on random configurations.",
    ),
)

EMU3 = Card(
    slug="emu3",
    title="Emu3-Gen",
    summary="BAAI's 8-billion-parameter model with one vocabulary for text and images, 90 x 90 "
    "tokens at 720 px. Runs through transformers (extra `hf`), step by step. " + _NO_RUN,
    weights=("Hugging Face `BAAI/Emu3-Gen-hf` (not `Emu3-Chat`, not the repository without -hf).",),
    licence=("Apache-2.0.",),
    rows=(Row("emu3-gen", "720 px", 8100, 32, 8, 128, 128 + 8190, 32768, 8000),),
    commands=(
        "scalingar models check emu3-gen",
        'scalingar generate "a red bicycle" --model emu3-gen -n 8',
        'scalingar generate "a red bicycle" --negative "blurry" --model emu3-gen',
    ),
    presets=("`official`: guidance 3, top-k 2048.",),
    traps=(
        "An end-of-line token follows each row of 90 tokens. It is forced: fed inside the step, "
        "counted in the ledger, seen by no signal. The tail (end of frame, image and sequence) is "
        "not fed, because nothing depends on it.",
        "Without a negative prompt the authors' is used; it ends with the size header as in their "
        "code (`--option negative_header=false` leaves it out, as transformers' documentation "
        "does).",
        "The authors' example also appends 'masterpiece, film grained, best quality.' to its "
        "prompt. Prompts are left alone here; `--option suffix='masterpiece, film grained, best "
        "quality.'` does the same.",
        "8190 forward passes, one after the other, for an image, whatever the strategy.",
        "Other sizes: `--option ratio=4:3`, `--option image_area=262144`; quality away from 720 px "
        "is the model's.",
    ),
    sources=(
        "Negative prompt and its header, guidance 3, top-k 2048, sizes from ratio and area: "
        "image_generation.py and emu3/mllm/processing_emu3.py of baaivision/Emu3.",
        "Tokens and logits: transformers' own image generation on random configurations.",
    ),
)

CHAMELEON = Card(
    slug="chameleon",
    title="Anole and Lumina-mGPT (Chameleon)",
    summary="Two descendants of Meta's Chameleon that draw: one decoder-only network with one "
    "vocabulary for words and 8192 image codes, one VQ-GAN. Anole draws 32 x 32 codes (512 px); "
    "Lumina-mGPT draws any size, with an end of line behind each row. The network runs through "
    "transformers (extra `hf`), step by step; the image decoder, which transformers lacks, is "
    "LlamaGen's under other names. " + _NO_RUN,
    weights=(
        "Anole: Hugging Face `leloy/Anole-7b-v0.1-hf` (transformers' format, image decoder "
        "inside).",
        "Lumina-mGPT: Hugging Face `Alpha-VLLM/Lumina-mGPT-7B-512`, `-768` and `-1024`; "
        "`--weights Alpha-VLLM/Lumina-mGPT-7B-768-Omni` takes the one for many tasks.",
        "Chameleon's image tokenizer: `original_tokenizers/vqgan.ckpt` of "
        "`Alpha-VLLM/Lumina-mGPT-7B-768`. It is found in the model's folder (beside the weights, "
        "in `original_tokenizers` or in `tokenizer`) or named with `--option vqgan=PATH`.",
        "Meta's own `consolidated.pth` files do not load, and Meta's public Chameleon weights do "
        "not draw: image codes were suppressed in them.",
    ),
    licence=(
        "Weights and image tokenizer under Meta's Chameleon Research License (research use, no "
        "redistribution outside of it); nothing of them is included here.",
    ),
    rows=(
        Row("anole-7b", "512 px", 1024, 32, 32, 128, 128 + 1024, 8192, 7000),
        Row("lumina-mgpt-7b-512", "512 px", 1024, 32, 32, 128, 128 + 1056, 8192, 7000),
        Row("lumina-mgpt-7b-768", "768 px", 2304, 32, 32, 128, 128 + 2352, 8192, 7000),
        Row("lumina-mgpt-7b-1024", "1024 px", 4096, 32, 32, 128, 128 + 4160, 8192, 7000),
    ),
    commands=(
        "pip install 'scalingar-fw[hf,hub]'",
        "scalingar models fetch lumina-mgpt-7b-768",
        "scalingar models check lumina-mgpt-7b-768",
        'scalingar generate "a red bicycle" --model lumina-mgpt-7b-768 -n 4 --out bicycle',
        'scalingar generate "a red bicycle" --model lumina-mgpt-7b-768 '
        "--option width=1024 --option height=576",
        'scalingar generate "a red bicycle" --model anole-7b -n 8',
    ),
    presets=(
        "Anole `official`: guidance 3, temperature 0.7, top-p 0.9.",
        "Lumina-mGPT `official`: guidance 4, top-k 2000 (README and demo); `code-default`: "
        "guidance 3, the default of the function that both call.",
    ),
    traps=(
        "Lumina-mGPT's start of image, height and width are given here; officially the model "
        "writes them and may write others than it was asked for. Nothing is drawn from them, so "
        "the official text top-k of 10 has no counterpart.",
        "The end of line behind each row is forced: fed inside the step, counted in the ledger, "
        "seen by no signal. The end of the image is not fed.",
        "Unconditional contexts differ: Lumina-mGPT's begins at the start of the image, Anole's is "
        "the first token and the start of the image. A negative prompt is written like a prompt.",
        "Chameleon's own script runs three branches, one of them conditional on the prompt's "
        "images. Without images two of them are the same, and its formula is plain guidance "
        "with the text's scale.",
        "Lumina-mGPT puts an instruction before the prompt (`Generate an image of 768x768 according "
        "to the following prompt:`); `--option instruction=...` replaces it.",
        "`width` and `height` are multiples of 32. The checkpoints were trained at ratios up to 4 "
        "whose area is about that of their name's square.",
        "transformers' `ChameleonForConditionalGeneration` masks image codes in `forward` and "
        "cannot draw with `generate`.",
        "The parameter count on this page is the models' name, not a count.",
    ),
    sources=(
        "Prompt, end of turn, sizes, forced tokens, unconditional context, guidance, top-k: "
        "inference_solver.py, data/item_processor.py and README.md of Alpha-VLLM/Lumina-mGPT. "
        "Anole's: text2image.py of GAIR-NLP/anole and chameleon/inference/chameleon.py of "
        "facebookresearch/chameleon. Read and not copied.",
        "Logits and greedy tokens: the official loop over transformers' network without a cache, "
        "each branch alone, on random configurations. Images: the published VQ-GAN decoder, "
        "written a second time in the tests.",
        "Whether the published VQ-GAN has attention outside of its middle is read off the file: "
        "both are tested.",
    ),
)

LIQUID = Card(
    slug="liquid",
    title="Liquid",
    summary="A Gemma 7B whose vocabulary goes on with the 8192 codes of Chameleon's VQ-GAN "
    "(arXiv 2412.04332), 32 x 32 of them at 512 px. It is the first model that runs by its "
    "[description](hf-causal.md) alone. " + _NO_RUN,
    weights=(
        "Hugging Face `Junfeng5/Liquid_V1_7B` (transformers' format).",
        "Chameleon's image tokenizer, `vqgan.ckpt`: fetched from "
        "`Alpha-VLLM/Lumina-mGPT-7B-768`, found in the model's folder, or named with `--option "
        "vqgan=PATH`.",
    ),
    licence=(
        "The weights' licence was not verified; their base is under Google's Gemma terms. The "
        "image tokenizer is under Meta's Chameleon Research License.",
    ),
    rows=(Row("liquid-7b", "512 px", 1024, 28, 16, 256, 128 + 1024, 8192, 8560),),
    commands=(
        "pip install 'scalingar-fw[hf,hub]'",
        "scalingar models fetch liquid-7b",
        "scalingar models check liquid-7b",
        'scalingar generate "a red bicycle" --model liquid-7b -n 8 --out bicycle',
    ),
    presets=("`official`: guidance 7, temperature 0.99, top-k 4096, top-p 0.96.",),
    traps=(
        "The first code follows the tokenizer's last token, whatever its number is: a tokenizer "
        "with added tokens shifts all codes.",
        "Only image codes are permitted. The official script samples from the whole vocabulary "
        "and clamps words to the nearest code.",
        "The unconditional prompt is a token of its own, `<unconditional>`; there is no negative "
        "prompt.",
    ),
    sources=(
        "Prompt, unconditional prompt, sampling, order of codes: evaluation/inference_t2i.py of "
        "Liquid, read and not copied. The parameter count: a public listing.",
        "Logits and tokens: transformers' Gemma without a cache, each branch alone, on a random "
        "configuration.",
    ),
)

SIMPLEAR = Card(
    slug="simplear",
    title="SimpleAR",
    summary="A Qwen2.5 language model with 64,000 image codes behind its vocabulary, up to "
    "64 x 64 tokens at 1024 px. Runs through transformers (extra `hf`), step by step; images are "
    "decoded by NVIDIA's Cosmos tokenizer. " + _NO_RUN,
    weights=(
        "The 0.5B and 1.5B checkpoints that https://github.com/wdrink/SimpleAR links, with their "
        "tokenizer. By default those after reinforcement learning; `--weights "
        "Daniel0724/SimpleAR-1.5B-SFT` takes the fine-tuned one.",
        "`decoder.jit` of Hugging Face `nvidia/Cosmos-1.0-Tokenizer-DV8x16x16`.",
    ),
    licence=(
        "Code MIT; the weights have an empty model card (their base, Qwen2.5, is Apache-2.0); "
        "Cosmos weights are under the NVIDIA Open Model License.",
    ),
    rows=(
        Row("simplear-0.5b", "1024 px", 4096, 24, 2, 64, 128 + 4096, 64000, 551),
        Row("simplear-1.5b", "1024 px", 4096, 28, 2, 128, 128 + 4096, 64000, 1642),
    ),
    commands=(
        "scalingar models check simplear-1.5b --option scripted_decoder=decoder.jit",
        'scalingar generate "a red bicycle" --model simplear-1.5b '
        "--option scripted_decoder=decoder.jit -n 8",
    ),
    presets=("`official`: guidance 6, top-k 64000, which keeps every image code.",),
    traps=(
        "**`decoder.jit` is a TorchScript program, and loading it executes it.** It is never "
        "searched for: name its path with `--option scripted_decoder=PATH`, from a source you "
        "trust.",
        "Only image codes are permitted, and entropy is over them. The official script samples "
        "from the whole vocabulary and clamps words to the nearest code: `--option official=true`.",
        "The negative prompt is not empty but the demo's list of defects.",
        "The official evaluation puts a random one of twenty style prefixes before each prompt, so "
        "its numbers are not reproducible prompt by prompt; `--option prefix=TEXT` sets yours.",
        "The checkpoint's resolution must match `image_size` (1024 by default).",
    ),
    sources=(
        "Prompt prefix, negative prompt, guidance 6, top-k 64000: the demo of the official code "
        "(generate.py).",
        "Tokens and logits: transformers' Qwen2 on random configurations. Not opened: a published "
        "checkpoint, so the vocabulary's layout is what the code writes.",
    ),
)

CARDS: Sequence[Card] = (LLAMAGEN, AR_GRPO, JANUS, EMU3, CHAMELEON, LIQUID, SIMPLEAR)


def card_of(name: str) -> tuple[Card, Row | None] | None:
    """The page on which a model is, and its own row; None for a model without a page."""
    for card in CARDS:
        for row in card.rows:
            if row.name == name:
                return card, row
    families = {"llamagen-c2i": LLAMAGEN, "llamagen-t2i": LLAMAGEN}
    return (families[name], None) if name in families else None


def write(folder: Path) -> None:
    """All pages, `<slug>.md` each."""
    folder.mkdir(parents=True, exist_ok=True)
    for card in CARDS:
        (folder / f"{card.slug}.md").write_text(card.render(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
