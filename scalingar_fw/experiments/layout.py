"""Where things lie in a store."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from scalingar_fw.errors import ScalingarError

FORMAT = "scalingar-store"
#: Readers take this version and older ones; a change of a column's meaning raises it.
SCHEMA = 1

CANDIDATES, STEPS, UNIT = "candidates.parquet", "steps.parquet", "unit.json"


class StoreGone(ScalingarError):
    """A store was moved or removed while it was in use."""


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

    def own_folders(self) -> tuple[Path, ...]:
        """The folders in which files are made, renamed and removed."""
        inside = (
            "receipts",
            "claims",
            "partial",
            "labels",
            "scores",
            "exports",
            "damaged",
            "units",
        )
        return tuple(self.root / name for name in inside)

    def check_here(self) -> None:
        """Refuse to write where the store is no more, or through a link that leads out of it.

        Whoever made a missing folder anew would leave half a store where the whole one was, and
        whoever cleaned up behind a link would remove what is none of ours.

        Raises:
            StoreGone: there is no store at `root` (any more).
            ScalingarError: one of its folders is a link.
        """
        if not self.manifest.is_file():
            raise StoreGone(
                f"{self.root} is no store any more: it was moved or removed while it was written. "
                "What is finished is where it went: run again with --out there."
            )
        folders = self.own_folders()
        for folder in (*folders, *(folders[-1].iterdir() if folders[-1].is_dir() else ())):
            if folder.is_symlink():
                raise ScalingarError(
                    f"{folder} is a link: a store keeps its files in folders of its own. Put the "
                    "folder itself there, or make a link of the whole store."
                )

    def keys(self) -> list[str]:
        """Keys with a receipt, sorted."""
        return sorted(p.stem for p in self.receipts.glob("*.json") if not p.name.startswith("."))
