"""Scores that came after a run: an official evaluator's, or a scorer's on the stored images.

They lie beside the units, in `scores/<benchmark>.parquet`, a row for each candidate that was
judged: a unit's own files never change. Where both have a score, the later judgement counts, and
`judge` says whose it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalingar_fw.errors import ScalingarError
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.files import slug
from scalingar_fw.reading import read_table, with_columns

if TYPE_CHECKING:
    import pyarrow as pa

#: What a judgement belongs to.
KEY = ("unit", "item", "seed", "candidate")


def judged_schema() -> pa.Schema:
    """The Arrow schema of `scores/<benchmark>.parquet`."""
    import pyarrow as pa

    kinds = (pa.string(), pa.int32(), pa.int64(), pa.int32())
    return pa.schema(
        [*zip(KEY, kinds, strict=True), ("score", pa.float32()), ("judge", pa.string())]
    )


def add_scores(
    layout: Layout, benchmark: str, rows: Sequence[Mapping[str, Any]], judge: str
) -> None:
    """Put scores beside the units; those of the same candidates are replaced.

    Args:
        layout: of the store.
        benchmark: its name; each has a file.
        rows: `unit`, `item`, `seed`, `candidate` and `score` in [0, 1].
        judge: who judged, as text: it is shown, never interpreted.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row in rows:
        if not 0 <= row["score"] <= 1:
            raise ScalingarError(f"score={row['score']!r} of {benchmark!r} must lie in [0, 1].")
    fresh = pa.Table.from_pylist([{**row, "judge": judge} for row in rows], judged_schema())
    layout.check_here()
    path = layout.scores / f"{slug(benchmark)}.parquet"
    if path.is_file():
        old = _read(path)
        kept = _places(old, fresh).is_null()
        fresh = pa.concat_tables([old.filter(kept), fresh])
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        pq.write_table(fresh.sort_by([(c, "ascending") for c in KEY]), beside, compression="zstd")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_scores(layout: Layout) -> pa.Table:
    """All scores that came later, of every benchmark."""
    import pyarrow as pa

    found = [_read(p) for p in sorted(layout.scores.glob("*.parquet")) if p.name[0] != "."]
    return pa.concat_tables([judged_schema().empty_table(), *found]).combine_chunks()


def with_scores(candidates: pa.Table, judged: pa.Table) -> pa.Table:
    """`candidates` in the same order, with the scores of `judged` where it has them."""
    import pyarrow.compute as pc

    if not len(judged):
        return candidates
    later = judged["score"].take(_places(candidates, judged))
    place = candidates.column_names.index("score")
    return candidates.set_column(place, "score", pc.coalesce(later, candidates["score"]))


def _read(path: Path) -> pa.Table:
    try:
        table = read_table(path, str(path))
        kinds = {field.name: field.type for field in judged_schema()}
        table = with_columns(table, kinds, str(path)).select(list(kinds))
        if any(table[name].null_count for name in kinds):
            raise ScalingarError(f"{path} is damaged: a score lacks its place.")
        return table
    except ScalingarError as error:
        raise ScalingarError(f"{error} Remove it, and import or score again.") from error


def _places(table: pa.Table, among: pa.Table) -> Any:
    """For each row of `table`, the row of `among` with the same key, or null."""
    import pyarrow.compute as pc

    def joined(t: pa.Table) -> Any:
        import pyarrow as pa

        parts = [t[name].cast(pa.string()) for name in KEY]
        return pc.binary_join_element_wise(*parts, "/").combine_chunks()

    return pc.index_in(joined(table), value_set=joined(among))
