"""`generate`: from names or objects to an answer with all that led to it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from attrs import evolve, frozen

import scalingar_fw as sar
from scalingar_fw.config.device import dtype_name, resolve_device, resolve_dtype
from scalingar_fw.decoding.noise import REPLICA_STEP
from scalingar_fw.decoding.strategy import FinalConfidence, NeverTerminate
from scalingar_fw.files import check_target, new_folder, slug
from scalingar_fw.generation.plan import BATCH_BYTES, prepare
from scalingar_fw.generation.request import GenerationRequest
from scalingar_fw.generation.run_folder import prompt_folder, write_artefacts
from scalingar_fw.registry import Registry
from scalingar_fw.testing import ReferenceModel


@frozen
class Margin(sar.ConfidenceEstimator):
    def update(self, state, signals, step):
        return sar.Confidence.of(signals.margin), None


@frozen
class CutZero(sar.Termination):
    at: int = sar.param(3, "the step", ge=0)

    def update(self, state, confidence, step):
        gone = step.rows.candidate_id == 0 if step.index == self.at else None
        return sar.Verdict(gone, reason="cut"), None


CUT = sar.Strategy("cut", Margin(), termination=CutZero(), selector=FinalConfidence(), default_n=3)


def load(*, device, dtype=torch.float32, weights=None):
    if weights is not None:
        raise ValueError(f"{weights} is damaged")
    return ReferenceModel(device=device, dtype=dtype, name="toy")


def load_bare(*, device, dtype):
    assert dtype == "auto"
    return ReferenceModel(device=device, name="bare")


def write_note(run, path):
    path.write_text(run.prompt.text)


def write_badly(run, path):
    path.write_text("half")
    raise RuntimeError("no more ink")


@pytest.fixture
def registry():
    made = Registry()

    class Plugin:
        @staticmethod
        def scalingar_register(registry):
            registry.add("model", "toy", load)
            registry.add("model", "bare", load_bare)
            registry.add("model", "fixed", lambda: ReferenceModel())
            registry.add("model", "nothing", lambda **options: object())
            registry.add("strategy", "cut", CUT)
            registry.add("confidence", "margin", Margin)
            registry.add("termination", "cut-zero", CutZero)
            registry.add("termination", "never", NeverTerminate)
            registry.add("artefact", "note.txt", write_note)

    made.register(Plugin, "pkg")
    return made


@pytest.fixture
def result(registry):
    return sar.generate("a circle", model="toy", strategy="cut", registry=registry)


def refused(function, *words):
    with pytest.raises(sar.ScalingarError) as caught:
        function()
    for word in words:
        assert word in str(caught.value), str(caught.value)


# -- what comes out ---------------------------------------------------------------------------


def test_a_result_has_image_candidates_ledger_trace_and_configuration(result):
    assert isinstance(result.image, PIL.Image.Image) and result.image.size == (4, 4)
    assert result.pixels.shape == (4, 4, 3) and result.pixels.dtype == np.uint8
    assert [c.id for c in result.candidates] == [0, 1, 2]
    assert [c.completed for c in result.candidates] == [False, True, True]
    assert result.answer.chosen and result.answer.confidence == max(
        c.confidence for c in result.candidates if c.completed
    )
    assert np.array_equal(result.answer.pixels, result.pixels)
    assert result.candidates[0].reason == "cut" and len(result.candidates[0].tokens) == 4
    assert result.tokens == result.ledger.tokens == 4 + 2 * 16 < result.full_tokens == 48
    assert result.trace.decoded.ledger.seconds == {} and result.ledger.seconds["image"] >= 0
    assert result.config.model == "pkg/toy" and result.config.n == 3
    assert result._repr_png_().startswith(b"\x89PNG")


def test_candidates_are_decoded_to_pixels_only_when_looked_at(registry):
    heard = []

    class Watch:
        def on_image(self, prompt, candidate, image):
            heard.append((prompt, candidate))

    result = sar.generate(
        ["a", "b"], model="toy", strategy="cut", registry=registry, observers=[Watch()]
    )[1]
    assert len(heard) == 2
    assert result.candidates[0].pixels.shape == (4, 4, 3)
    assert heard[2:] == [(1, 0)]
    result.decode_pixels()
    assert sorted(heard[2:] + [(1, result.answer.id)]) == [(1, 0), (1, 1), (1, 2)]
    assert result.candidates[0].image.size == (4, 4)


def test_objects_and_names_give_the_same(result):
    composed = sar.generate("a circle", model=ReferenceModel(name="toy"), strategy=CUT, n=3, seed=0)
    assert np.array_equal(composed.pixels, result.pixels)
    mapping = {"name": "cut", "termination": {"at": 3}}
    again = sar.generate(
        "a circle", model="pkg/toy", strategy=mapping, registry=result.registry, seed=0
    )
    assert again.config == result.config and again.config.key() == result.config.key()


def test_settings_change_the_strategy_and_the_key(registry, result):
    options = {"model": "toy", "strategy": "cut", "registry": registry}
    never = sar.generate("a circle", settings={"termination": "never"}, **options)
    assert all(c.completed for c in never.candidates)
    later = sar.generate("a circle", settings={"termination.at": "7"}, **options)
    assert len(later.candidates[0].tokens) == 8
    assert len({r.config.key() for r in (never, later, result)}) == 3


def test_a_list_of_prompts_gives_a_list_whatever_the_batches(registry):
    texts = ["a", "b", "a", "c", "d"]
    options = {"model": "toy", "strategy": "cut", "registry": registry}
    seeds = [0, 0, REPLICA_STEP, 0, 0]  # the second "a" is another draw
    alone = [sar.generate(t, seed=s, **options) for t, s in zip(texts, seeds, strict=True)]
    for batch in (1, 2, 5, None):
        together = sar.generate(texts, batch=batch, **options)
        assert [r.prompt.text for r in together] == texts
        for one, other in zip(alone, together, strict=True):
            assert np.array_equal(one.pixels, other.pixels)
            assert one.config == evolve(other.config, batch=1)
            assert one.tokens == other.tokens
    assert [r.batch_prompts for r in sar.generate(texts, batch=2, **options)] == [2, 2, 2, 2, 1]


def test_the_default_batch_is_fixed_by_n_and_the_models_size(registry):
    def batch(n, prompts, model="toy"):
        asked = GenerationRequest.of(["a"] * prompts, model=model, strategy="cut", n=n)
        return prepare(asked, registry).config.batch

    assert (batch(8, 3), batch(8, 100), batch(100, 5)) == (3, 8, 1)

    class Big(ReferenceModel):
        def row_bytes(self):
            return BATCH_BYTES // 20

    assert batch(8, 100, Big()) == 2


def test_options_override_the_models_preset(registry):
    toy = GenerationRequest.of("a", model="toy", strategy="cut")
    plan = prepare(evolve(toy, guidance=3, top_k=5), registry)
    assert plan.config.sampling == sar.Sampling(guidance=3, top_k=5)
    assert prepare(toy, registry).config.sampling == (ReferenceModel().preset)


def test_observers_change_nothing_and_plugins_observe_every_run(registry, result):
    heard = []

    class Watch:
        def on_token(self, event):
            heard.append(event.live)

    registry.observers.append(Watch())
    again = sar.generate("a circle", model="toy", strategy="cut", registry=registry)
    assert heard == [3] * 4 + [2] * 12
    assert np.array_equal(again.pixels, result.pixels)


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "tou"}, ["Unknown model", "Did you mean 'toy'?"]),
        ({"model": "no.such:load"}, ["no.such"]),
        ({"model": "nothing"}, ["no ModelAdapter", "prefill", "vocab_size"]),
        ({"strategy": "cute"}, ["Unknown strategy", "Did you mean 'cut'?"]),
        ({"n": 0}, ["n=0"]),
        ({"n": True}, ["n=True"]),
        ({"batch": 0}, ["batch=0"]),
        ({"seed": -1}, ["seed=-1"]),
        ({"seed": 1.5}, ["seed=1.5"]),
        ({"guidance": float("nan")}, ["guidance=nan", "finite"]),
        ({"guidance": "strong"}, ["guidance='strong'"]),
        ({"temperature": -1}, ["temperature=-1"]),
        ({"top_k": 2.5}, ["top_k=2.5"]),
        ({"top_p": 0}, ["top_p=0"]),
        ({"settings": {"termination.ad": 1}}, ["Did you mean 'termination.at'?"]),
        ({"device": "gpu"}, ["Unknown device", "cuda"]),
        ({"device": "auto:1"}, ["Unknown device"]),
        ({"dtype": "float23"}, ["Did you mean 'float32'?"]),
        ({"weights": "/nowhere"}, ["/nowhere", "does not exist"]),
        ({"weights": "/"}, ["could not be loaded", "damaged"]),
        ({"model": "bare", "weights": "/"}, ["takes no weights"]),
        ({"model": "fixed"}, ["takes no device", "def load(*, device"]),
        ({"model": ReferenceModel(), "weights": "/"}, ["loaded already"]),
        ({"model": ReferenceModel(), "dtype": "float16"}, ["loaded already"]),
        ({"model": ReferenceModel(branches=1), "guidance": 2.0}, ["unconditional"]),
        ({"model_hash": "abcdef"}, ["abcdef", "other weights"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_is_refused_in_words(options, words, registry):
    defaults = {"model": "toy", "strategy": "cut", "registry": registry}
    refused(lambda: sar.generate("a", **(defaults | options)), *words)


@pytest.mark.parametrize("prompt", [[], 3, None, [3], "\udc80", {"colour": "red"}])
def test_what_is_no_prompt_is_refused(prompt, registry):
    refused(lambda: sar.generate(prompt, model="toy", strategy="cut", registry=registry), "prompt")


def test_a_prompt_that_cannot_be_read_is_found_before_any_is_decoded(registry):
    class Picky(ReferenceModel):
        def encode(self, prompts):
            if any("xyzzy" in p.text for p in prompts):
                raise sar.ScalingarError("unknown word 'xyzzy'")
            return super().encode(prompts)

        def prefill(self, *args):
            raise AssertionError("decoding began")

    refused(
        lambda: sar.generate(["a", "b", "xyzzy"], model=Picky(), strategy=CUT, batch=1), "xyzzy"
    )


# -- devices ----------------------------------------------------------------------------------


def test_a_loader_without_a_default_dtype_is_told_auto(registry):
    result = sar.generate("a", model="bare", strategy="cut", registry=registry)
    assert result.config.dtype == "float32" and result.config.device == "cpu"


def test_devices_and_dtypes_by_name(monkeypatch):
    assert resolve_dtype("bfloat16") is torch.bfloat16 and resolve_dtype() is None
    assert resolve_dtype(torch.float16) is torch.float16
    assert dtype_name(torch.bfloat16) == "bfloat16"
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device() == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    refused(lambda: resolve_device("cuda:2"), "2 GPU(s)")


def test_a_gpu_that_is_not_there_is_an_error_and_never_a_fallback(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refused(lambda: resolve_device("cuda"), "NVIDIA GPU", "--device auto")
    refused(lambda: resolve_device("mps"), "Apple GPU", "--device cpu")
    assert resolve_device() == torch.device("cpu")


def test_an_mps_that_fails_its_first_operation_is_not_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    if not torch.backends.mps.is_built():
        assert resolve_device() == torch.device("cpu")
        refused(lambda: resolve_device("mps"), "test operation failed")


# -- saving -----------------------------------------------------------------------------------


def test_a_saved_run_holds_image_artefacts_trace_record_and_configuration(result, tmp_path):
    folder = result.save(tmp_path / "run")
    assert sorted(os.listdir(folder)) == sorted(
        ["config.yaml", "image.png", "note.txt", "run.json", "trace"]
    )
    with PIL.Image.open(folder / "image.png") as image:
        assert np.array_equal(np.asarray(image), result.pixels)
    record = json.loads((folder / "run.json").read_text())
    assert record["tokens"] == {"sampled": 36, "complete": 48, "per_candidate": 16}
    assert record["prunings"] == 1 and record["recoveries"] == 0
    assert record["answer"]["candidate"] == result.answer.id
    assert record["ledger"] == result.ledger.counts()
    assert record["seconds"]["total"] > 0 and record["peak_bytes"] > 0
    assert record["sampling"]["guidance"] == 2.0 and "Philox" in record["sampling"]["noise"]
    assert record["versions"]["torch"] == torch.__version__.split("+")[0] or record["versions"]
    assert sar.RunConfig.from_yaml((folder / "config.yaml").read_text()) == result.config
    assert sar.read_trace(folder).config == result.config


def test_saving_one_of_a_batch_keeps_what_repeats_it(registry, tmp_path):
    second = sar.generate(["a", "b"], model="toy", strategy="cut", registry=registry)[1]
    folder = second.save(tmp_path / "run")
    whole = sar.RunConfig.from_yaml((folder / "config.yaml").read_text())
    assert whole == second.run and len(whole.prompts) == 2


def test_a_failing_artefact_is_a_warning_and_leaves_no_half_file(result, registry, tmp_path):
    registry.add("artefact", "bad.txt", write_badly)
    registry.add("artefact", "image.png", write_note)
    registry.add("artefact", ".hidden", write_note)
    registry.add("artefact", "..\\up" if os.name == "nt" else "..", write_note)
    with pytest.warns(sar.PluginWarning) as caught:
        folder = result.save(tmp_path / "run")
    assert len(caught) == 4 and any("no more ink" in str(w.message) for w in caught)
    assert "bad.txt" not in os.listdir(folder) and "note.txt" in os.listdir(folder)
    assert (folder / "image.png").read_bytes().startswith(b"\x89PNG")


def test_artefacts_of_the_same_name_are_kept_apart(result, registry, tmp_path):
    registry.add("artefact", "note.txt", write_note)  # of package "local"
    assert list(write_artefacts(result, tmp_path)) == ["pkg-note.txt", "local-note.txt"]


def test_an_artefact_can_be_looked_at_without_saving(result, registry):
    registry.add("artefact", "x.png", lambda run, path: run.image.resize((7, 7)).save(path))
    assert result.plot("x.png").size == (7, 7)


# -- folders ----------------------------------------------------------------------------------


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "a" / "b"
    with new_folder(target) as place:
        (place / "x").write_text("1")
        assert not target.exists() and place.parent == target.parent
    assert (target / "x").read_text() == "1" and os.listdir(target.parent) == ["b"]


def test_an_empty_folder_is_filled_and_a_full_one_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with new_folder(tmp_path / "a") as place:
        (place / "x").write_text("1")
    with pytest.raises(sar.ScalingarError, match="not empty"), new_folder(tmp_path / "a"):
        raise AssertionError("it was let in")
    with pytest.raises(sar.ScalingarError, match="not a folder"):
        check_target(tmp_path / "a" / "x", overwrite=True)
    assert os.listdir(tmp_path) == ["a"]


def test_a_place_that_cannot_be_written_is_found_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(sar.ScalingarError, match="cannot be written"),
        new_folder(tmp_path / "file" / "run"),
    ):
        raise AssertionError("it was let in")


def test_overwriting_replaces_what_was_ours_and_keeps_the_rest(tmp_path):
    target = tmp_path / "run"
    with new_folder(target) as place:
        (place / "run.json").write_text(json.dumps({"files": ["old.txt", "../x", "both"]}))
        for name in ("old.txt", "both"):
            (place / name).write_text("old")
    (target / "notes.txt").write_text("mine")
    (tmp_path / "x").write_text("outside")
    with new_folder(target, overwrite=True) as place:
        (place / "both").write_text("new")
        (place / "run.json").write_text("{}")
    assert sorted(os.listdir(target)) == ["both", "notes.txt", "run.json"]
    assert (target / "both").read_text() == "new" and (tmp_path / "x").exists()
    assert sorted(os.listdir(tmp_path)) == ["run", "x"]


def test_an_interrupted_overwrite_brings_the_old_run_back(tmp_path, monkeypatch):
    target = tmp_path / "run"
    with new_folder(target) as place:
        (place / "run.json").write_text(json.dumps({"files": ["a", "b"]}))
        (place / "a").write_text("old")
        (place / "b").write_text("old")
    rename, calls = pathlib.Path.rename, []

    def failing(self, other):
        calls.append(self)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return rename(self, other)

    monkeypatch.setattr(pathlib.Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt), new_folder(target, overwrite=True) as place:
        (place / "a").write_text("new")
        (place / "c").write_text("new")
        (place / "run.json").write_text("{}")
    monkeypatch.undo()
    assert sorted(os.listdir(target)) == ["a", "b", "run.json"]
    assert (target / "a").read_text() == "old" and os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red circle!", "a-red-circle"),
        ("../../etc/passwd", "etc-passwd"),
        ("红色", "prompt"),
        ("Über Größe", "uber-groe"),
        ("", "prompt"),
        ("x" * 100, "x" * 40),
        ("a circle left of a square and a triangle", "a-circle-left-of-a-square-and-a-triangle"),
        ("a circle left of a square and a triangles", "a-circle-left-of-a-square-and-a"),
    ],
)
def test_a_slug_is_short_ascii_and_cannot_leave_its_folder(text, expected):
    assert slug(text) == expected


def test_prompts_with_one_slug_get_folders_of_their_own():
    names = {prompt_folder(i, 20000, "a circle!" if i % 2 else "A circle?") for i in range(6)}
    assert len(names) == 6 and all(n.endswith("-a-circle") for n in names)
    assert prompt_folder(3, 5, "x") == "0003-x" and prompt_folder(3, 20000, "x") == "00003-x"


# -- the package's own names ------------------------------------------------------------------


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, scalingar_fw as sar; sar.hookimpl, sar.ScalingarError, sar.__version__, "
        "sar.load_registry; print([m for m in ('torch', 'numpy', 'rich') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_is_there_and_typed_where_editors_look():
    for name in sar.__all__:
        assert getattr(sar, name) is not None and name in dir(sar)
    source = pathlib.Path(sar.__file__).read_text()
    for module, names in sar._HOMES.items():
        for name in names:
            assert f"from scalingar_fw.{module} import {name} as {name}" in source
    assert set(sar.__all__) == {*sar._HOME, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sar.nonsense  # noqa: B018
