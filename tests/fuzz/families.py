"""Kinds of input that somebody else may have made: how each is read, and how each is made up.

An input is one text or some bytes, so that every failure can be kept as a file: `corpus/<family>/`
holds those that once failed.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from attrs import frozen
from hypothesis import strategies as st

from scalingar_fw import Registry, ScalingarError, load_registry, read_trace
from scalingar_fw.cli.prompts import read_prompts
from scalingar_fw.config.keys import KEYS, parse_settings, to_prompts
from scalingar_fw.experiments import open_store
from scalingar_fw.experiments.condition import trouble
from scalingar_fw.experiments.layout import Layout
from scalingar_fw.experiments.sweep import make_sweep, parse_sweep
from scalingar_fw.generation.request import GenerationRequest
from scalingar_fw.reading import load_yaml, read_text
from scalingar_fw.trust import only_named

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"


@frozen
class Family:
    """`read(data, folder)`: does what a user does with such an input, in an empty folder; what it
    raises must be a `ScalingarError`. `inputs`: of bytes. `share`: of all inputs of a run."""

    read: Callable[[bytes, Path], None]
    inputs: st.SearchStrategy[bytes]
    share: float


@functools.cache
def registry() -> Registry:
    return load_registry([])


def encoded(text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return text.map(lambda t: t.encode("utf-8", "surrogatepass"))


# --- values --------------------------------------------------------------------------------------

#: Texts that mean something to somebody on the way.
WORDS = st.sampled_from(
    "a circle|scalingar|base|best-of-n|beam|smc|shapes|termination|termination.quantile|selector|"
    "selector.reward|os:system|builtins:exit|torch.hub:load|scalingar_fw.files:new_folder|../../x|"
    "/etc/passwd|\x00|\x1b[2J|null|~|true|1e400|-0.0|.nan|.inf|0x10|1_000|2026-13-01|1:60|<<|*a|&a x|"
    "!!int x|!!python/object:os.system|{}|[]|{|[|'|\"|%|{0}|{a.b}|$(id)|\\|\u202e|\ud83d|一只猫|###|-|--|"
    "auto|cpu|float32|8GiB|-1|0|1|2|0.5|64|999999999999999999999".split("|")
)
TEXTS = WORDS | st.text(max_size=20) | st.text(string.printable, max_size=40)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**64, 10**400, -1, 0, 1, 2])
    | st.floats()
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def dumped(data: Any) -> str:
    try:
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError, ValueError):
        return repr(data)


def sometimes_damaged(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Some as they are, some cut, some with a few bytes changed."""

    def cut(pair: tuple[bytes, float]) -> bytes:
        return pair[0][: int(len(pair[0]) * pair[1])]

    def flip(triple: tuple[bytes, float, bytes]) -> bytes:
        whole, place, new = triple
        at = int(len(whole) * place)
        return whole[:at] + new + whole[at + len(new) :]

    places = st.floats(0, 1, exclude_max=True)
    return (
        data
        | st.tuples(data, places).map(cut)
        | st.tuples(data, places, st.binary(min_size=1, max_size=8)).map(flip)
    )


# --- configurations, sweeps, prompts -------------------------------------------------------------


def read_configuration(data: bytes, folder: Path) -> None:
    path = folder / "c.yaml"
    path.write_bytes(data)
    with only_named():
        given = parse_settings(load_yaml(read_text(path), "c.yaml"), "c.yaml")
        if "prompts" in given:
            GenerationRequest(**given).build_strategy(registry())


def read_sweep(data: bytes, folder: Path) -> None:
    path = folder / "s.yaml"
    path.write_bytes(data)
    with only_named():
        sweep = make_sweep(parse_sweep(load_yaml(read_text(path), "s.yaml"), "s.yaml"), registry())
    again = make_sweep(parse_sweep(load_yaml(sweep.to_yaml(), "again"), "again"), registry())
    assert again.to_data() == sweep.to_data(), "its own file means another sweep"


def read_list_of_prompts(data: bytes, folder: Path) -> None:
    for name in ("p.txt", "p.jsonl"):
        (folder / name).write_bytes(data)
        for prompt in to_prompts(read_prompts(folder / name)):
            prompt.label.encode()


KEYS_AND_VALUES = st.dictionaries(st.sampled_from(KEYS) | TEXTS, PLAIN, max_size=5)
CONFIGURATIONS = st.builds(
    lambda more, prompt: dumped({"prompt": prompt, **more}), KEYS_AND_VALUES, TEXTS
)
ENTRIES = st.lists(
    st.sampled_from(["base", "scalingar", "best-of-n", {"base": {}}, {"strategy": "base"}]) | PLAIN,
    max_size=3,
)
SWEEP_KEYS = st.sampled_from(
    "model weights options benchmark benchmark_options split limit n seeds guidance temperature "
    "device dtype batch threads record images set strategies".split()
)
SWEEPS = st.builds(
    lambda entries, more: dumped({"strategies": entries, "limit": 1, **more}),
    ENTRIES,
    st.dictionaries(SWEEP_KEYS, PLAIN, max_size=3),
)
PROMPTS = st.lists(
    TEXTS
    | PLAIN.map(lambda x: json.dumps(x))
    | st.dictionaries(st.sampled_from(["prompt", "class_id", "negative", "tag"]), PLAIN).map(
        json.dumps
    ),
    max_size=6,
).map("\n".join)


# --- stores and traces: edits of a whole one ------------------------------------------------------


@functools.cache
def files_of(name: str) -> tuple[str, ...]:
    root = FIXTURES / name
    return tuple(sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()))


def edits(name: str) -> st.SearchStrategy[bytes]:
    """Changes of the files of a fixture, as JSON: a file's number, where, what to put there."""
    one = st.fixed_dictionaries(
        {
            "file": st.integers(0, len(files_of(name)) - 1),
            "path": st.lists(st.integers(0, 30), max_size=4),
            "how": st.sampled_from(["put", "drop", "cut", "flip", "column"]),
            "value": PLAIN,
        }
    )
    document = st.fixed_dictionaries(
        {"edits": st.lists(one, min_size=1, max_size=3), "signed": st.booleans()}
    )
    return document.map(lambda d: json.dumps(d).encode())


def edit_json(data: Any, path: list[int], how: str, value: Any) -> Any:
    here = data
    for depth, step in enumerate(path):
        if isinstance(here, dict) and here:
            key: Any = sorted(here)[step % len(here)]
        elif isinstance(here, list) and here:
            key = step % len(here)
        else:
            break
        if depth == len(path) - 1:
            if how == "drop":
                del here[key]
            else:
                here[key] = value
            return data
        here = here[key]
    return value


def edit_table(path: Path, place: int, how: str, value: Any) -> None:
    table = pq.read_table(path)
    name = table.column_names[place % len(table.column_names)]
    if how == "drop":
        table = table.drop_columns([name])
    elif how == "cut":
        table = table.slice(0, place % (len(table) + 1))
    else:
        try:
            column = pa.array([value] * len(table))
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
            return
        table = table.set_column(table.column_names.index(name), name, column)
    try:
        pq.write_table(table, path)
    except (pa.ArrowException, UnicodeError):
        return


def apply_edits(root: Path, name: str, data: bytes) -> bool:
    """Edit the files; whether whoever did it signs them as its own."""
    document = json.loads(data)
    for edit in document["edits"]:
        path = root / files_of(name)[edit["file"] % len(files_of(name))]
        places = edit["path"] or [0]
        if edit["how"] in ("cut", "flip") and path.suffix != ".parquet" or not path.exists():
            whole = path.read_bytes() if path.exists() else b""
            at = places[0] * len(whole) // 31
            tail = b"" if edit["how"] == "cut" else b"\xff" + whole[at + 1 :]
            path.write_bytes(whole[:at] + tail)
        elif path.suffix == ".json":
            try:
                content = json.loads(path.read_text())
            except (ValueError, UnicodeError):
                continue
            path.write_text(json.dumps(edit_json(content, places, edit["how"], edit["value"])))
        elif path.suffix == ".parquet":
            try:
                edit_table(path, places[0], edit["how"], edit["value"])
            except pa.ArrowException:  # an edit before this one broke it
                continue
    return bool(document["signed"])


def signed_again(root: Path) -> None:
    """Receipts and manifests with the hashes of the edited files."""
    for path in [*root.glob("receipts/*.json"), *root.rglob("manifest.json")]:
        try:
            document = json.loads(path.read_text())
            if "sha256" in document:
                for name in document["sha256"]:
                    document["sha256"][name] = digest(path.parent / name)[0]
            else:
                folder = root / "units" / path.stem[:2] / path.stem
                for name, said in document["files"].items():
                    said["sha256"], said["bytes"] = digest(folder / name)
        except (ValueError, TypeError, KeyError, OSError, AttributeError):
            continue
        path.write_text(json.dumps(document))


def digest(path: Path) -> tuple[str, int]:
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest(), len(data)


def read_edited_store(data: bytes, folder: Path) -> None:
    root = folder / "s"
    shutil.copytree(FIXTURES / "bench_steps", root)
    if apply_edits(root, "bench_steps", data):
        signed_again(root)
    layout = Layout(root)
    well = all(trouble(layout, key) is None for key in layout.keys())
    store = open_store(root)
    labels = store.labels()
    try:
        store.candidates(), store.steps()
        for label in labels:
            store.trajectories(label), store.grid(label), store.sampling(label)
    except ScalingarError:
        assert not well or not labels, "finished to `bench` and damaged to whoever reads"
        raise


def read_edited_trace(data: bytes, folder: Path) -> None:
    root = folder / "t"
    shutil.copytree(FIXTURES / "run" / "trace", root)
    if apply_edits(root, "run/trace", data):
        signed_again(root)
    trace = read_trace(root)
    trace.steps()
    for place in range(len(trace.prompts)):
        assert trace.decoded.of_prompt(place)


# --- checkpoints ---------------------------------------------------------------------------------


@functools.cache
def checkpoint(kind: int) -> bytes:
    import safetensors.torch

    state = {"a.weight": torch.zeros(3, 2), "b": torch.ones(1)}
    if kind == 0:
        return safetensors.torch.save(state)
    circle: dict[str, Any] = {"model": state, "args": [1, {"x": None}]}
    if kind == 2:
        circle["model"] = circle
    out = io.BytesIO()
    torch.save(circle, out, _use_new_zipfile_serialization=kind != 3)
    return out.getvalue()


def read_checkpoint(data: bytes, folder: Path) -> None:
    from scalingar_plugins.models.checkpoints import read_state

    for name in ("w.safetensors", "w.pt"):
        (folder / name).write_bytes(data)
        try:
            state = read_state(folder / name)
        except ScalingarError as error:
            assert name in str(error)
            continue
        assert all(isinstance(v, torch.Tensor) for v in state.values())


FAMILIES: dict[str, Family] = {
    "configurations": Family(
        read_configuration,
        sometimes_damaged(encoded(CONFIGURATIONS)) | encoded(PLAIN.map(dumped)) | encoded(TEXTS),
        0.2,
    ),
    "sweeps": Family(read_sweep, sometimes_damaged(encoded(SWEEPS)), 0.1),
    "prompts": Family(read_list_of_prompts, sometimes_damaged(encoded(PROMPTS)), 0.15),
    "stores": Family(read_edited_store, edits("bench_steps"), 0.2),
    "traces": Family(read_edited_trace, edits("run/trace"), 0.15),
    "checkpoints": Family(
        read_checkpoint,
        sometimes_damaged(st.integers(0, 3).map(checkpoint)) | st.binary(max_size=64),
        0.1,
    ),
}
