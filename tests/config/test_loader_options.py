"""Options of a model's loader: read by its annotations, refused by name."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import pytest

from scalingar_fw.config.loader_options import accepted_options, resolve_options
from scalingar_fw.errors import ScalingarError
from scalingar_fw.generation.plan import load_model
from scalingar_fw.registry import Registry
from scalingar_fw.testing import ReferenceModel


def load(
    size: str = "B",
    *,
    device: Any = "cpu",
    dtype: Any = None,
    weights: Path | None = None,
    pixels: int = 256,
    scale: float = 1.0,
    official: bool = False,
    ratio: str = "1:1",
    padding: Literal["left", "right"] = "left",
    t5: Path | str | None = None,
    limit: int | None = None,
    anything: Any = None,
) -> Any:
    return ReferenceModel(name=f"{size} {pixels}")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("size", "3", "3"),
        ("pixels", "512", 512),
        ("scale", "2", 2),
        ("scale", "1e-3", 1e-3),
        ("official", "true", True),
        ("official", "off", False),
        ("ratio", "4:3", "4:3"),  # 243 to a YAML reader
        ("padding", "right", "right"),
        ("limit", "none", None),
        ("limit", "3", 3),
        ("t5", "none", "none"),
        ("anything", "3", 3),
        ("anything", "false", False),
        ("anything", "a: b", "a: b"),
    ],
)
def test_text_is_read_by_the_parameters_annotation(key: str, text: str, value: Any) -> None:
    found = resolve_options("m", load, {key: text})[key]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pixel": "1"}, "Did you mean 'pixels'?"),
        ({"pixels": "many"}, "pixels='many' of model 'm' must be a whole number"),
        ({"pixels": True}, "a whole number"),
        ({"official": "perhaps"}, "true or false"),
        ({"padding": "middle"}, "must be 'left' or 'right'"),
        ({"ratio": 243}, "must be text"),
        ({"weights": "here"}, "has its own flag: --weights"),
        ({"device": "cpu"}, "--device"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ScalingarError) as error:
        resolve_options("m", load, options)
    assert says in str(error.value)


def test_a_path_that_exists_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t5").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_options("m", load, {"t5": "t5"}) == {"t5": str((tmp_path / "t5").resolve())}
    assert resolve_options("m", load, {"size": "t5"}) == {"size": "t5"}, "text is text"


def test_what_a_partial_has_filled_in_is_no_option() -> None:
    bound = functools.partial(load, "XL")
    known, others = accepted_options(bound)
    assert "pixels" in known and "size" not in known and not others
    registry = Registry()
    registry.add("model", "xl", bound)
    assert load_model("xl", registry, options={"pixels": "64"})[1].name == "XL 64"


def test_an_option_that_an_open_loader_does_not_know_is_an_error_without_a_traceback() -> None:
    def open_loader(*, device: Any, **more: Any) -> Any:
        return load(device=device, **more)

    registry = Registry()
    registry.add("model", "open", open_loader)
    assert load_model("open", registry, options={"pixels": "64"})[1].name == "B 64"
    with pytest.raises(ScalingarError, match="could not be loaded.*'pixel'"):
        load_model("open", registry, options={"pixel": "64"})
