"""What makes two runs the same run: the one rule that names run folders, units and arms.

A run's identity is a hash of plain data. What goes in is everything that the tokens follow from;
what only says how to call something (a strategy's name, the number of candidates it would have
taken by default) stays out, or a renamed strategy would be computed again and never compared with
itself. The rule is here alone, because an identity that two places compute differently is lost
work at best and a wrong comparison at worst. Identities are written into runs and stores: a change
here makes all of them unknown, so it comes with a new `RESULT_VERSION`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scalingar_fw.decoding.components import HasSettings, ModelAdapter

#: Raised whenever the same configuration would give other tokens than before: part of every key.
RESULT_VERSION = 1

#: Fields of a described strategy that are labels.
_LABELS = ("name", "default_n")


def canonical(data: Any) -> str:
    """Plain data as one line of JSON with sorted keys: what a hash is taken of."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def identity_of(parts: Mapping[str, Any]) -> str:
    """sha256, in hex, of the plain data that a result follows from.

    Args:
        parts: by name. `strategy`, if it is there, is a described strategy (see `describe`), whose
            labels are left out; its parts' names are theirs, and count.
    """
    relevant = dict(parts)
    if "strategy" in relevant:
        relevant["strategy"] = method_of(relevant["strategy"])
    return digest_of(relevant)


def method_of(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """A described strategy without its labels: equal data is the same method."""
    return {k: v for k, v in strategy.items() if k not in _LABELS}


def model_identity(adapter: ModelAdapter, options: Mapping[str, Any]) -> str:
    """A hash of the weights and of what a loader's options change.

    An adapter with `settings` hashes what its options resolved to (see
    `ModelAdapter.fingerprint`), so that naming a folder differently changes nothing. Of another
    one nothing is known: all its options count.
    """
    fingerprint = adapter.fingerprint()
    if not options or isinstance(adapter, HasSettings):
        return fingerprint
    return digest_of([fingerprint, options])


def digest_of(data: Any) -> str:
    """sha256, in hex, of plain data."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()


__all__ = [
    "RESULT_VERSION",
    "canonical",
    "digest_of",
    "identity_of",
    "method_of",
    "model_identity",
]
