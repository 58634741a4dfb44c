"""Tools for testing components: a batch-invariant reference model and (extra `testing`) checks."""

from __future__ import annotations

from scalingar_fw.testing.reference import ReferenceModel, ScriptedModel

__all__ = ["ReferenceModel", "ScriptedModel"]
