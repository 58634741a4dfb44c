"""The events that a plugin can hear, in the order of a run. Hooks watch; components decide.

Every hook returns nothing. What it receives is read-only: arrays are host copies that refuse to
be written, made when they are first read. Reading one on a GPU waits for the device, so an
observer that looks at each token slows the run; one that looks at the end does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from scalingar_fw.decoding.events import CandidateEnd, DecodeStart, TokenEvent
    from scalingar_fw.decoding.result import Decoded
    from scalingar_fw.registry import Registry

PROJECT = "scalingar_fw"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def scalingar_register(registry: Registry) -> None:
    """Once, when plugins are loaded: add components, strategies, models, commands, ... by name."""


@hookspec
def on_decode_start(event: DecodeStart) -> None:
    """After the prompts were read, before the first token."""


@hookspec
def on_token(event: TokenEvent) -> None:
    """After each step: one token was appended to every live candidate."""


@hookspec
def on_candidate_end(event: CandidateEnd) -> None:
    """When a candidate completes, is pruned, dropped or out of budget."""


@hookspec
def on_decode_end(result: Decoded) -> None:
    """When every candidate has ended and the answers are chosen."""


@hookspec
def on_image(prompt: int, candidate: int, image: Any) -> None:
    """When a candidate was decoded to pixels: `image [H, W, 3]` uint8, read-only."""
