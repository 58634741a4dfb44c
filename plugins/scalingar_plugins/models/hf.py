"""What the adapters of transformers' models share: a transformers trunk that is run one step at a time.

`generate()` hides the per-step logits, truncates silently and changes between releases, so only
the decoder-only trunk is called, with our own preallocated cache. Conditional and unconditional
prompts of different lengths form one left-padded batch; positions count real tokens only, which
makes a padded row equal to the row alone.

Importing this module does not import transformers.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import define, frozen
from torch import Tensor

from scalingar_fw.errors import ScalingarError
from scalingar_plugins.models.slots import grown, room_for


def need_transformers(what: str) -> Any:
    """The transformers package, or a `ScalingarError` that says how to get it."""
    try:
        import transformers
    except ImportError as error:
        raise ScalingarError(
            f"{what} runs through transformers: pip install 'scalingar-fw[hf]'."
        ) from error
    return transformers


def need_folder(name: str, weights: Path | str | None, remedy: str) -> Path:
    """The folder in Hugging Face's format that `weights` names, fetched where it is not here.

    `weights`: a folder, a file in it, `org/name[@revision]`, or None for the model's repository.
    """
    from scalingar_plugins.hub.fetch import folder_for

    folder = folder_for(name, weights)
    if folder.is_file():
        folder = folder.parent
    if not (folder / "config.json").is_file():
        raise ScalingarError(f"{str(folder)!r} has no config.json. {remedy}")
    return folder


def load_pretrained(
    cls: Any,
    folder: Path,
    dtype: torch.dtype,
    unused: Sequence[str] = (),
    absent: Sequence[str] = (),
    **kwargs: Any,
) -> Any:
    """`cls.from_pretrained`, but offline, in evaluation mode, and strict about what it found.

    transformers initialises a missing tensor at random and goes on; here that is an error.

    Args:
        cls: a transformers model class.
        folder: the checkpoint.
        dtype: of the weights.
        unused: patterns of tensors that the file may hold beyond the model's.
        absent: patterns of tensors that the file may lack, since nothing here uses them.
        kwargs: passed on.

    Raises:
        ScalingarError: damaged files, or tensors that are missing, left over or misshapen.
    """
    try:
        with _unreported():
            model, report = cls.from_pretrained(
                folder, dtype=dtype, local_files_only=True, output_loading_info=True, **kwargs
            )
    except Exception as error:
        detail = (str(error).strip().splitlines() or [""])[0][:200]
        raise ScalingarError(
            f"{str(folder)!r} could not be loaded as {cls.__name__} "
            f"({type(error).__name__}: {detail}). Compare the files with the published ones."
        ) from error
    problems = {
        "missing": sorted(_but(report["missing_keys"], absent)),
        "unexpected": sorted(_but(report["unexpected_keys"], unused)),
        "of another shape": sorted(str(m[0]) for m in report.get("mismatched_keys", ())),
    }
    if any(problems.values()):
        lines = [
            f"  {len(names)} {label}: {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}"
            for label, names in problems.items()
            if names
        ]
        raise ScalingarError(
            f"{str(folder)!r} does not fit {cls.__name__}:\n" + "\n".join(lines) + "\n"
            "Is it a checkpoint of another architecture, or is a shard missing?"
        )
    model.requires_grad_(False)
    return model.eval()


@contextlib.contextmanager
def _unreported() -> Iterator[None]:
    """Without transformers' table of what did not fit: what matters of it is our error."""
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _but(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return [n for n in names if not any(fnmatch.fnmatchcase(n, p) for p in patterns)]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder; `ScalingarError` where there is none."""
    transformers = need_transformers("A tokenizer")
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        detail = (str(error).strip().splitlines() or [""])[0][:200]
        raise ScalingarError(
            f"{str(folder)!r} has no readable tokenizer ({type(error).__name__}: {detail}). "
            "Download the tokenizer's files into the same folder."
        ) from error


def token_id(tokenizer: Any, token: str) -> int:
    """The id of a special token by its text; `ScalingarError` where the tokenizer lacks it."""
    found = tokenizer.convert_tokens_to_ids(token)
    if found is None or found == getattr(tokenizer, "unk_token_id", None):
        raise ScalingarError(
            f"The tokenizer has no token {token!r}: these are not this model's files."
        )
    return int(found)


@frozen(eq=False)
class PaddedIds:
    """Prompt tokens `[R, L]` int64, padded on the left, and their bool mask."""

    ids: Tensor
    mask: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> PaddedIds:
        """The mask follows the lengths, never the ids: a prompt may hold the padding token."""
        width = max(len(row) for row in rows)
        ids = [[pad] * (width - len(row)) + list(row) for row in rows]
        mask = [[False] * (width - len(row)) + [True] * len(row) for row in rows]
        return cls(torch.tensor(ids, device=device), torch.tensor(mask, device=device))


@functools.cache
def _slot_classes() -> tuple[Any, Any]:
    """transformers' cache with preallocated layers; its own grow by copying at each step, which
    for 8,000 tokens moves more bytes than the attention does."""
    from transformers.cache_utils import Cache, DynamicLayer

    class SlotLayer(DynamicLayer):  # type: ignore[misc]
        """Keys and values `[R, heads, S, head_dim]`, written in place up to `length`."""

        def __init__(self, keys: Tensor, values: Tensor, length: int = 0) -> None:
            super().__init__()
            self.keys, self.values, self.length = keys, values, length
            self.dtype, self.device = keys.dtype, keys.device
            self.is_initialized = True

        def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
            pass

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            end = self.length + key_states.shape[2]
            self.keys[:, :, self.length : end] = key_states
            self.values[:, :, self.length : end] = value_states
            self.length = end
            return self.keys[:, :, :end], self.values[:, :, :end]

        def get_seq_length(self) -> int:
            return self.length

        def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
            return self.length + query_length, 0

    return SlotLayer, Cache


@define(eq=False)
class TrunkCache:
    """The memory of N candidates: rows [0, N) conditional, [N, 2N) unconditional.

    `padded`: `[2N]` int64, padding tokens before each prompt, or None where there are none; slot s
    is position `s - padded`. `length`: slots filled. `most`: slots of a whole sequence, beyond
    which no room is made in advance.
    """

    slots: Any
    padded: Tensor | None
    length: int
    most: int

    def take(self, rows: Tensor) -> TrunkCache:
        """Candidates by index (prune, reorder, fork), both branches together."""
        return self.rows(self._both(rows))

    def keep(self, rows: Tensor) -> None:
        """`take` in place, without a second cache beside the first."""
        self._keep(self._both(rows))

    def rows(self, rows: Tensor) -> TrunkCache:
        """The cache of batch rows `rows`, copied."""
        layer_class, cache_class = _slot_classes()
        layers = [layer_class(x.keys, x.values, x.length) for x in self.slots.layers]
        copy = TrunkCache(cache_class(layers=layers), self.padded, self.length, self.most)
        copy._keep(rows)
        return copy

    def reserve(self, length: int) -> None:
        """Room for `length` slots; the layers grow one after the other."""
        if length > self.slots.layers[0].keys.shape[2]:
            room = room_for(length, self.most)
            for layer in self.slots.layers:
                layer.keys = grown(layer.keys, self.length, room)
                layer.values = grown(layer.values, self.length, room)

    def _both(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows + self.slots.layers[0].keys.shape[0] // 2])

    def _keep(self, rows: Tensor) -> None:
        for layer in self.slots.layers:
            layer.keys = layer.keys.index_select(0, rows)
            layer.values = layer.values.index_select(0, rows)
        if self.padded is not None:
            self.padded = self.padded.index_select(0, rows)


@frozen(eq=False)
class Trunk:
    """A decoder-only transformer of transformers, embeddings in and last hidden states out."""

    module: Any
    slots: int  # prompt and image tokens of a whole sequence

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's keys and values at the end of a sequence."""
        return 2 * int(self.module.config.num_hidden_layers) * self.beside_bytes

    @property
    def beside_bytes(self) -> int:
        """Bytes of one row's share of the buffer that lies beside a cache while it grows or moves:
        one layer's keys."""
        heads, width = self._heads()
        element = next(self.module.parameters()).element_size()
        return int(heads * width * self.slots * element)

    def _heads(self) -> tuple[int, int]:
        config = self.module.config
        width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        return int(config.num_key_value_heads), int(width)

    def prefill(self, embeds: Tensor, mask: Tensor, room: int) -> tuple[TrunkCache, Tensor]:
        """Read prompts `embeds [R, L, dim]`, `mask [R, L]` bool; `room`: tokens to come.

        Returns:
            the cache, and hidden states `[R, dim]` of the last position.
        """
        layer_class, cache_class = _slot_classes()
        heads, width = self._heads()
        most = max(self.slots, embeds.shape[1] + room)
        shape = (embeds.shape[0], heads, room_for(embeds.shape[1] + 1, most), width)
        layers = [
            # Zeros, not empty: unused memory may hold NaN.
            layer_class(embeds.new_zeros(shape), embeds.new_zeros(shape))
            for _ in range(int(self.module.config.num_hidden_layers))
        ]
        full = bool(mask.all())
        padded = None if full else (~mask).sum(1)
        cache = TrunkCache(cache_class(layers=layers), padded, 0, most)
        return cache, self.read(cache, embeds)

    def read(self, cache: TrunkCache, embeds: Tensor) -> Tensor:
        """Read `embeds [R, L, dim]` into `cache` (in place); hidden states `[R, dim]` after it."""
        end = cache.length + embeds.shape[1]
        cache.reserve(end)
        slot = torch.arange(end, device=embeds.device)
        position, mask = slot[None, cache.length :], None
        if cache.padded is not None:
            # Recomputed from the padding, so that forks and prunes move two small tensors only.
            mask = (slot[None] >= cache.padded[:, None]).long()
            position = (position - cache.padded[:, None]).clamp_min(0)
        hidden: Tensor = self.module(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=position.expand(embeds.shape[0], -1),
            past_key_values=cache.slots,
            use_cache=True,
        ).last_hidden_state
        cache.length = end
        return hidden[:, -1]

    def whole(self, embeds: Tensor, mask: Tensor) -> Tensor:
        """Hidden states `[R, L, dim]` of left-padded sequences read at once, without a cache."""
        hidden: Tensor = self.module(
            inputs_embeds=embeds,
            attention_mask=mask.long(),
            position_ids=(mask.long().cumsum(1) - 1).clamp_min(0),
            use_cache=False,
        ).last_hidden_state
        return hidden


def repeat_rows(cache: TrunkCache, hidden: Tensor, copies: int) -> tuple[TrunkCache, Tensor]:
    """From one row for each prompt and branch to `copies` consecutive rows for each."""
    rows = torch.arange(hidden.shape[0], device=hidden.device).repeat_interleave(copies)
    return cache.rows(rows), hidden.index_select(0, rows)


def weight_files(folder: Path) -> list[Path]:
    """What identifies a checkpoint folder: weights, configuration and tokenizer files."""
    wanted = {".safetensors", ".bin", ".json", ".model", ".txt"}
    return sorted(p for p in folder.iterdir() if p.suffix in wanted)


def visual_head(weight: Tensor, ids: Tensor, tied: bool) -> Tensor:
    """The rows of an output layer that score image tokens, `[codes, dim]`.

    The other 10^5 rows of a shared vocabulary need not be multiplied with: their tokens are not
    permitted. A view where the layer shares memory with the embeddings, else a copy (so that the
    rest can be freed).
    """
    first, last = int(ids[0]), int(ids[-1])
    consecutive = last - first + 1 == len(ids) and bool((ids.diff() == 1).all())
    if consecutive:
        rows = weight[first : last + 1]
        return rows if tied else rows.clone()
    return weight.index_select(0, ids)
