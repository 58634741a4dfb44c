"""Where things lie in a store."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

FORMAT = "scalingar-store"
#: Readers take this version and older ones; a change of a column's meaning raises it.
SCHEMA = 1

CANDIDATES, STEPS, UNIT = "candidates.parquet", "steps.parquet", "unit.json"


@frozen
class Layout:
    """The paths of a store at `root`."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "store.json"

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.yaml"

    @property
    def labels(self) -> Path:
        """A file for each label: the strategy that it means in this store."""
        return self.root / "labels"

    @property
    def receipts(self) -> Path:
        return self.root / "receipts"

    @property
    def claims(self) -> Path:
        """Who is at work on which unit."""
        return self.root / "claims"

    @property
    def partial(self) -> Path:
        """What is being written: on the same file system, so that it can be renamed in."""
        return self.root / "partial"

    @property
    def scores(self) -> Path:
        """Judgements that came after the run, a file for each benchmark."""
        return self.root / "scores"

    @property
    def exports(self) -> Path:
        """What was laid out for official evaluators: which image is which candidate's."""
        return self.root / "exports"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    def unit(self, key: str) -> Path:
        return self.root / "units" / key[:2] / key

    def receipt(self, key: str) -> Path:
        return self.receipts / f"{key}.json"

    def keys(self) -> list[str]:
        """Keys with a receipt, sorted."""
        return sorted(p.stem for p in self.receipts.glob("*.json") if not p.name.startswith("."))
