"""Traces on disk: what is written comes back, whole, the same bytes for the same run, or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from attrs import evolve, frozen

from scalingar_fw import (
    Confidence,
    ConfidenceEstimator,
    Proposal,
    Sampler,
    ScalingarError,
    Status,
    Strategy,
    Termination,
    Trace,
    Verdict,
    generate,
    read_trace,
)
from scalingar_fw.decoding.result import frozen_array
from scalingar_fw.generation.trace import MANIFEST, SCHEMA, TABLES
from scalingar_fw.testing import ReferenceModel


@frozen
class Odd(ConfidenceEstimator):
    """Records a signal that has the name of a column, and one that is NaN half of the time."""

    def update(self, state, signals, step):
        nan = torch.full_like(signals.margin, float("nan") if step.index % 2 else 1.0)
        return Confidence.of(signals.margin, step=signals.kl, sometimes=nan), None


@frozen
class CutLast(Termination):
    def update(self, state, confidence, step):
        gone = step.rows.candidate_id == 2 if step.index == 4 else None
        return Verdict(gone, Status.PRUNED, 'cut, because; "quotes" ü {confidence:.3f}'), None


@frozen
class ForkAtTwo(Sampler):
    def propose(self, state, guided, confidence, step, sampling):
        token = guided.logits.argmax(-1)
        if step.index != 2:
            return Proposal(token), None
        parent = torch.tensor([0, 0, *range(2, len(token))])
        return Proposal(token[parent], parent=parent), None


STRATEGY = Strategy("odd", Odd(), termination=CutLast(), sampler=ForkAtTwo())


def run(prompt="a circle", **options):
    return generate(prompt, model=ReferenceModel(), strategy=STRATEGY, n=4, **options)


@pytest.fixture(scope="module")
def result():
    return run()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    return result.trace.write(tmp_path_factory.mktemp("trace") / "t")


def same(a, b):
    assert a.prompts == b.prompts and a.config == b.config and a.grid == b.grid
    assert tuple(a.decoded.chosen) == tuple(b.decoded.chosen)
    assert a.decoded.ledger == b.decoded.ledger
    assert (a.decoded.n, a.decoded.total_tokens) == (b.decoded.n, b.decoded.total_tokens)
    assert len(a.trajectories) == len(b.trajectories)
    for one, other in zip(a.trajectories, b.trajectories, strict=True):
        for name in ("prompt", "candidate", "status", "reason", "parent", "forked_at"):
            assert getattr(one, name) == getattr(other, name), name
        assert one.tokens.dtype == other.tokens.dtype == np.int64
        assert np.array_equal(one.tokens, other.tokens)
        assert list(one.signals) == list(other.signals)
        for name, values in one.signals.items():
            assert other.signals[name].dtype == values.dtype == np.float32
            assert np.array_equal(values, other.signals[name], equal_nan=True), name


def test_what_was_written_is_read_back(result, written):
    back = read_trace(written)
    same(back, result.trace)
    statuses = {t.status for t in back.trajectories}
    assert statuses == {Status.COMPLETED, Status.PRUNED, Status.DROPPED}
    with pytest.raises(ValueError, match="read-only"):
        back.trajectories[0].tokens[0] = 1


def test_several_prompts_and_odd_ones_survive(tmp_path):
    texts = ["a circle", "", "红 🟥\u2028x", "a\nb"]
    results = run(texts)
    decoded = results[0].decoded
    together = evolve(
        decoded,
        prompts=tuple(r.prompt for r in results),
        trajectories=[
            evolve(t, prompt=i) for i, r in enumerate(results) for t in r.decoded.trajectories
        ],
        chosen=[0] * len(results),
    )
    trace = Trace(
        evolve(together, ledger=results[0].trace.decoded.ledger), results[0].run, results[0].grid
    )
    counts = [len(r.decoded.trajectories) for r in results]
    starts = np.cumsum([0, *counts[:-1]])
    trace = evolve(trace, decoded=evolve(trace.decoded, chosen=[int(s) for s in starts]))
    same(read_trace(trace.write(tmp_path / "t")), trace)


def test_a_candidate_without_tokens_or_with_other_signals_survives(result, tmp_path):
    first, *rest = result.trace.trajectories
    empty = evolve(first, candidate=99, tokens=frozen_array(np.zeros(0, np.int64)), signals={})
    bare = evolve(first, candidate=98, signals={"entropy": first.signals["entropy"]})
    decoded = evolve(result.trace.decoded, trajectories=[first, *rest, bare, empty])
    trace = evolve(result.trace, decoded=decoded)
    same(read_trace(trace.write(tmp_path / "t")), trace)


def test_steps_have_a_row_for_each_candidate_and_step_with_all_signals(result, written):
    table = pq.read_table(written / "steps.parquet")
    assert table.num_rows == sum(len(t) for t in result.decoded.trajectories)
    for name in (
        "prompt",
        "candidate",
        "step",
        "token",
        "entropy",
        "kl",
        "confidence",
        "scale",
        "log_prob_guided",
        "sometimes",
        "signal.step",
    ):
        assert name in table.column_names
    assert table.schema.equals(result.trace.steps().schema)
    without = ["sometimes"]  # NaN equals nothing
    assert table.drop_columns(without).equals(result.trace.steps().drop_columns(without))
    assert pq.read_table(written / "prompts.parquet")["text"].to_pylist() == ["a circle"]


def test_the_manifest_says_how_the_trace_was_made(result, written):
    manifest = json.loads((written / MANIFEST).read_text())
    assert manifest["schema"] == SCHEMA and manifest["seed"] == 0
    assert manifest["key"] == result.config.key()
    assert manifest["config"] == result.config.to_data()
    assert manifest["model"] == {"name": "reference", "hash": ReferenceModel().fingerprint()}
    assert {"python", "scalingar-fw", "torch", "numpy", "pyarrow"} <= manifest["versions"].keys()


def test_the_same_run_gives_the_same_bytes(written, tmp_path):
    again = run().trace.write(tmp_path / "again")
    assert sorted(os.listdir(again)) == sorted([MANIFEST, *TABLES])
    for name in os.listdir(again):
        assert (again / name).read_bytes() == (written / name).read_bytes(), name


def test_a_run_folder_is_read_by_the_trace_in_it(result, written, tmp_path):
    shutil.copytree(written, tmp_path / "run" / "trace")
    same(read_trace(tmp_path / "run"), result.trace)


# -- what is not a trace ----------------------------------------------------------------------


def refused(folder, *words):
    with pytest.raises(ScalingarError) as caught:
        read_trace(folder)
    for word in words:
        assert word in str(caught.value)


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "t")


@pytest.mark.parametrize("name", TABLES)
def test_damage_to_a_table_is_found_and_the_file_named(name, copy):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    refused(copy, str(copy / name), "damaged")
    (copy / name).write_bytes(data[:10])
    refused(copy, str(copy / name), "damaged")
    (copy / name).unlink()
    refused(copy, str(copy / name), "missing")


def test_a_table_that_is_no_parquet_is_named_even_if_its_hash_is_right(copy):
    from scalingar_fw.files import sha256_of

    (copy / "steps.parquet").write_bytes(b"PAR1 and then nothing")
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["sha256"]["steps.parquet"] = sha256_of(copy / "steps.parquet")
    (copy / MANIFEST).write_text(json.dumps(manifest))
    refused(copy, "steps.parquet", "damaged")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, ["no trace of scalingar"]),
        ({"schema": SCHEMA + 1}, ["newer", "upgrade"]),
        ({"schema": "1"}, ["damaged", "schema"]),
        ({"config": {}}, ["prompts"]),
        ({"grid": [4]}, ["damaged"]),
        ({"sha256": None}, ["damaged"]),
        ({"signals": ["nothing"]}, ["damaged"]),
        ({"ledger": {"colour": 1}}, ["damaged"]),
        ({"ledger": 3}, ["damaged"]),
    ],
)
def test_a_manifest_that_does_not_fit_is_named(change, words, copy):
    manifest = json.loads((copy / MANIFEST).read_text()) | change
    (copy / MANIFEST).write_text(json.dumps(manifest))
    refused(copy, str(copy), *words)


def test_a_folder_or_manifest_of_something_else_is_refused(copy, tmp_path):
    (copy / MANIFEST).write_text("{")
    refused(copy, MANIFEST, "damaged")
    (copy / MANIFEST).write_text("[]")
    refused(copy, MANIFEST, "no trace")
    refused(tmp_path, "no trace")
    refused(tmp_path / "nowhere", "no trace")


# -- whole or not at all ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_an_interrupted_write_leaves_nothing(error, result, tmp_path, monkeypatch):
    write_table, calls = pq.write_table, []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise error
        write_table(*args, **kwargs)

    monkeypatch.setattr(pq, "write_table", failing)
    with pytest.raises(type(error)):
        result.trace.write(tmp_path / "deep" / "er" / "t")
    assert len(calls) == 2 and os.listdir(tmp_path) == []


def test_a_folder_with_something_in_it_is_kept(result, copy, tmp_path):
    with pytest.raises(ScalingarError, match="not empty"):
        result.trace.write(copy)
    (copy / "notes.txt").write_text("mine")
    result.trace.write(copy, overwrite=True)
    assert (copy / "notes.txt").read_text() == "mine"
    same(read_trace(copy), result.trace)
    assert os.listdir(tmp_path) == ["t"]
