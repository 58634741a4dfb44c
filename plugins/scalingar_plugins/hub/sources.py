"""Where each model's weights are published: repository, revision, files, licence.

Written from public listings (model cards, official READMEs, published copies); no repository was
downloaded to write it. What no listing states is None, and `scalingar models verify NAME --remote`
holds every row against the hub's own answer.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

#: A folder in transformers' format: configuration, tokenizer and safetensors. Neither code nor
#: pickles are on the list.
FOLDER = (
    "config.json",
    "generation_config.json",
    "*tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "model*.safetensors",
    "model.safetensors.index.json",
)
#: What no fetch takes, whatever a pattern says: programs, and formats that may hold one.
NEVER = ("*.py", "*.jit", "*.pkl", "*.pickle", "*.so", "*.sh", "*.h5", "*.msgpack")


@frozen
class Source:
    """A part of a model's weights in one repository.

    Args:
        repository: `organisation/name` on the hub.
        files: shell patterns of the files to fetch, relative to the repository.
        required: those of them without which the model cannot be loaded.
        licence: what the repository's listing states.
        revision: the full commit; None where no listing states one, and then the fetch takes
            `main`, says which commit that is and stays with it.
        bytes: sizes of files as listed, by name; empty where unknown.
        sha256: digests of files as listed, by name; empty where unknown.
        gated: whether the hub asks for the acceptance of terms first; None: unknown.
    """

    repository: str
    files: Sequence[str]
    required: Sequence[str]
    licence: str
    revision: str | None = None
    bytes: Mapping[str, int] = field(factory=dict)
    sha256: Mapping[str, str] = field(factory=dict)
    gated: bool | None = None

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Those of a repository's file names that a fetch takes, sorted.

        Where a repository holds the same weights as safetensors and in PyTorch's format under one
        stem, the former alone.
        """
        taken = [n for n in names if _matches(n, self.files) and not _matches(n, NEVER)]
        if _matches_any(taken, "model*.safetensors"):  # transformers' two names for one content
            taken = [n for n in taken if not fnmatch.fnmatchcase(n, "pytorch_model*.bin")]
        safe = {n.rpartition(".")[0] for n in taken if n.endswith(".safetensors")}
        unsafe = (".pt", ".pth", ".bin", ".ckpt")
        return sorted(n for n in taken if not (n.endswith(unsafe) and n.rpartition(".")[0] in safe))

    def lacking(self, names: Sequence[str]) -> list[str]:
        """Required patterns that none of `names` matches."""
        return [p for p in self.required if not any(fnmatch.fnmatchcase(n, p) for n in names)]

    def at(self, repository: str, revision: str | None) -> Source:
        """The same files in a repository that the user named; nothing else is known of it."""
        return evolve(
            self,
            repository=repository,
            revision=revision,
            licence="see its page",
            bytes={},
            sha256={},
            gated=None,
        )


def _matches_any(names: Sequence[str], pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _folder(repository: str, licence: str, **known: object) -> Source:
    required = ("config.json", "model*.safetensors", "*tokenizer*")
    return Source(repository, FOLDER, required, licence, **known)  # type: ignore[arg-type]


def _files(repository: str, licence: str, *names: str) -> Source:
    return Source(repository, names, names, licence)


def _ar_grpo(repository: str) -> Source:
    files = ("config.json", "*.safetensors", "*.safetensors.index.json")
    return Source(repository, files, ("config.json", "*.safetensors"), "none stated")


_C2I, _T2I = "FoundationVision/LlamaGen", "peizesun/llamagen_t2i"

#: The text encoder of LlamaGen's and AR-GRPO's text-conditional models.
ENCODER = Source(
    "google/flan-t5-xl",
    FOLDER,
    ("config.json", "model*.safetensors", "*tokenizer*"),
    "Apache-2.0",
)

#: Chameleon's image tokenizer, as Lumina-mGPT's repository holds it: what draws the pixels of every
#: descendant of Chameleon whose own repository has no image decoder.
VQGAN = Source(
    "Alpha-VLLM/Lumina-mGPT-7B-768",
    ("original_tokenizers/vqgan.ckpt",),
    ("original_tokenizers/vqgan.ckpt",),
    "Chameleon Research License",
)

#: The sources of each model's own weights (the text encoder is `encoder_of`).
SOURCES: Mapping[str, Source] = {
    **{
        f"llamagen-c2i-{size.lower()}-{image}": _files(
            _C2I, "MIT", f"c2i_{size}_{image}.pt", "vq_ds16_c2i.pt"
        )
        for size, image in (
            ("B", 256),
            ("B", 384),
            ("L", 256),
            ("L", 384),
            ("XL", 384),
            ("XXL", 384),
            ("3B", 384),
        )
    },
    "llamagen-t2i-256": _files(_T2I, "MIT", "t2i_XL_stage1_256.pt", "vq_ds16_t2i.pt"),
    "llamagen-t2i-512": _files(_T2I, "MIT", "t2i_XL_stage2_512.pt", "vq_ds16_t2i.pt"),
    "ar-grpo-t2i-256": _ar_grpo("CSshihao/AR-GRPO_T2I_XL_256"),
    "ar-grpo-c2i-b-256": _ar_grpo("CSshihao/AR-GRPO_C2I_B_256"),
    "ar-grpo-c2i-b-384": _ar_grpo("CSshihao/AR-GRPO_C2I_B_384"),
    "ar-grpo-c2i-l-384": _ar_grpo("CSshihao/AR-GRPO_C2I_L_384"),
    "ar-grpo-c2i-xl-384": _ar_grpo("CSshihao/AR-GRPO_C2I_XL_384"),
    "janus-pro-1b": _folder(
        "deepseek-community/Janus-Pro-1B",
        "DeepSeek Model License",
        revision="1655280bb75959cc1cb85529a2a8b26e7016072e",
        bytes={"model.safetensors": 4_153_396_574},
        sha256={
            "model.safetensors": "9d1a416f95fb58d6e02858623c9c676003d66006d51fb5d5cc93348ba78cb942"
        },
    ),
    "janus-pro-7b": _folder("deepseek-community/Janus-Pro-7B", "DeepSeek Model License"),
    "emu3-gen": _folder("BAAI/Emu3-Gen-hf", "Apache-2.0"),
    "anole-7b": _folder("leloy/Anole-7b-v0.1-hf", "Chameleon Research License"),
    **{
        f"lumina-mgpt-7b-{size}": _folder(
            f"Alpha-VLLM/Lumina-mGPT-7B-{size}", "Chameleon Research License"
        )
        for size in (512, 768, 1024)
    },
    "liquid-7b": _folder("Junfeng5/Liquid_V1_7B", "not verified: see its page"),
    "simplear-0.5b": _folder("Daniel0724/SimpleAR-0.5B-RL", "none stated (empty model card)"),
    "simplear-1.5b": _folder("Daniel0724/SimpleAR-1.5B-RL", "none stated (empty model card)"),
}


def tokenizer_of(name: str) -> Source | None:
    """The image tokenizer that is fetched beside a model's own weights; None where there is none."""
    return VQGAN if name.startswith(("lumina-mgpt-7b", "liquid")) else None


def encoder_of(name: str) -> Source | None:
    """The text encoder that a model needs beside its own weights; None where it needs none."""
    return ENCODER if name.startswith(("llamagen-t2i", "ar-grpo-t2i")) else None


def sources_of(name: str) -> tuple[Source, ...]:
    """All that a model is made of; empty for a model without published weights."""
    own = SOURCES.get(name)
    parts = (own, encoder_of(name), tokenizer_of(name)) if own is not None else ()
    return tuple(part for part in parts if part is not None)
