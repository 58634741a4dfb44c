"""The description of a model for `hf-causal`: a few keys, each checked where it is read.

Nothing here imports a model: a description is read, and refused, before any weights are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import asdict, evolve, frozen

from scalingar_fw.decoding.noise import Prompt
from scalingar_fw.decoding.sampling import Sampling
from scalingar_fw.decoding.state import Grid
from scalingar_fw.errors import ScalingarError, unknown_name

DECODERS = ("vqgan", "llamagen-vq16", "llamagen-vq8")
#: Of an image; no published model comes near.
MOST_CODES, MOST_SIDE = 1 << 20, 1 << 10
KEYS = ("codes", "grid", "prompt", "negative", "end_of_line", "sampling", "image", "prompt_tokens")


@frozen
class Description:
    """What a checkpoint does not say of itself.

    Args:
        first: token id of code 0, or "tokenizer": the codes follow the tokenizer's vocabulary.
        pattern: instead of `first`, the token of a code, such as `<|visual token {code:06d}|>`.
        count: how many codes there are.
        grid: rows and columns.
        prompt: what precedes the first code; `{prompt}`, and where wanted `{rows}`, `{cols}`,
            `{width}` and `{height}` (pixels).
        negative: the same without the prompt. With `{prompt}` in it, the user's negative prompt
            stands there (else nothing does).
        end_of_line: the token behind each row, or None.
        sampling: the default.
        decoder: one of `DECODERS`.
        file: the image decoder's file, in the weights' folder or beside the description.
        prompt_tokens: a prompt's share of a candidate's cache.
    """

    first: int | str | None
    pattern: str | None
    count: int
    grid: Grid
    prompt: str
    negative: str
    end_of_line: str | None
    sampling: Sampling
    decoder: str
    file: str | None
    prompt_tokens: int

    def token_ids(self, vocabulary: int, id_of: Callable[[str], int]) -> list[int]:
        """The token id of each code. `vocabulary`: the tokenizer's length. `id_of`: of a token."""
        if self.pattern is not None:
            return [id_of(self.pattern.format(code=code)) for code in range(self.count)]
        first = vocabulary if self.first == "tokenizer" else int(self.first or 0)
        return list(range(first, first + self.count))

    def texts(self, prompt: Prompt, height: int, width: int) -> tuple[str, str]:
        """What is tokenised for a prompt and for its unconditional twin."""
        if prompt.negative is not None and "{prompt}" not in self.negative:
            raise ScalingarError(
                f"Prompt {prompt.label!r}: the description's `negative` has no {{prompt}}, so this "
                "model takes no negative prompt."
            )
        twin = self._filled(self.negative, prompt.negative or "", height, width)
        return self._filled(self.prompt, prompt.text, height, width), twin

    def _filled(self, template: str, text: str, height: int, width: int) -> str:
        for key, value in (
            ("rows", self.grid.rows),
            ("cols", self.grid.cols),
            ("height", height),
            ("width", width),
            ("prompt", text),  # last, so that a prompt's own braces stay what they are
        ):
            template = template.replace(f"{{{key}}}", str(value))
        return template

    def plain(self) -> dict[str, Any]:
        """For the record of a run and for the model's identity; sampling is recorded beside it."""
        told = asdict(self)
        del told["sampling"]
        return told


def described(data: Any, where: str) -> Description:
    """A description from plain data.

    Args:
        data: a mapping of `KEYS`.
        where: names the source in an error.

    Raises:
        ScalingarError: names the key, what it holds, and what it must hold.
    """
    at = _At(where, _mapping(data, where, KEYS))
    codes = _At(f"{where}: codes", _mapping(at.need("codes"), f"{where}: codes", _CODES))
    grid = _At(f"{where}: grid", _mapping(at.need("grid"), f"{where}: grid", ("rows", "cols")))
    image = _At(f"{where}: image", _mapping(at.need("image"), f"{where}: image", _IMAGE))
    first, pattern = codes.data.get("first"), codes.text("pattern", None)
    if (first is None) == (pattern is None):
        raise codes.wrong("first", first, "a token id, or `pattern` instead of it, and not both")
    if first is not None and first != "tokenizer":
        codes.whole("first", 0, 1 << 31)
    if pattern is not None:
        _check_pattern(codes, pattern)
    decoder = image.text("decoder", "vqgan")
    if decoder not in DECODERS:
        raise unknown_name("image decoder", str(decoder), DECODERS)
    prompt = at.text("prompt")
    if prompt is None or "{prompt}" not in prompt:
        raise at.wrong("prompt", prompt, "a text with {prompt} in it")
    return Description(
        first=first,
        pattern=pattern,
        count=codes.whole("count", 2, MOST_CODES),
        grid=Grid(grid.whole("rows", 1, MOST_SIDE), grid.whole("cols", 1, MOST_SIDE)),
        prompt=prompt,
        negative=at.text("negative") or "",
        end_of_line=at.text("end_of_line", None),
        sampling=_sampling(at),
        decoder=str(decoder),
        file=image.text("file", None),
        prompt_tokens=at.whole("prompt_tokens", 1, 1 << 16) if "prompt_tokens" in at.data else 128,
    )


_CODES, _IMAGE = ("first", "pattern", "count"), ("decoder", "file")


@frozen
class _At:
    """The mapping at one place of a description, with errors that name the place."""

    where: str
    data: Mapping[str, Any]

    def wrong(self, key: str, value: Any, rule: str) -> ScalingarError:
        return ScalingarError(f"{self.where}: {key}={value!r} must be {rule}.")

    def need(self, key: str) -> Any:
        if key not in self.data:
            raise ScalingarError(f"{self.where}: {key!r} is missing.")
        return self.data[key]

    def text(self, key: str, *default: str | None) -> str | None:
        if default and self.data.get(key) is None:
            return default[0]
        value = self.need(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, value, "a text")
        return value

    def whole(self, key: str, least: int, most: int) -> int:
        value = self.need(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(key, value, f"a whole number from {least} to {most}")
        return value


def _mapping(data: Any, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ScalingarError(f"{where} must be a mapping with {', '.join(keys)}.")
    for key in data:
        if key not in keys:
            raise unknown_name(f"key of {where}", str(key), keys)
    return data


def _check_pattern(codes: _At, pattern: str) -> None:
    """Formatting reaches attributes of what it formats: a number's width is all that may be said."""
    import re

    if len(re.findall(r"\{code(?::0?\d{1,2}d?)?\}", pattern)) != 1 or pattern.count("{") != 1:
        raise codes.wrong("pattern", pattern, "a token with one {code} or {code:06d} in it")


def _sampling(at: _At) -> Sampling:
    given = at.data.get("sampling", {})
    names = ("guidance", "temperature", "top_k", "top_p")
    values = _mapping(given, f"{at.where}: sampling", names)
    for name, value in values.items():
        whole = name == "top_k"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise at.wrong(f"sampling.{name}", value, "a whole number" if whole else "a number")
    changes: dict[str, Any] = {n: v if n == "top_k" else float(v) for n, v in values.items()}
    try:
        return evolve(Sampling(), **changes)
    except (ValueError, TypeError) as error:
        raise ScalingarError(f"{at.where}: sampling: {error}") from error
