"""The command and the Python that the page offers do what the page did."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalingar_analysis.playground import repeat
from scalingar_analysis.playground.session import Form, Loading, Session
from scalingar_fw.cli.generate import generate
from scalingar_fw.errors import ScalingarError
from scalingar_fw.trust import only_named

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
FORMS = st.builds(
    Form,
    prompt=TEXT.filter(lambda text: text.strip() != ""),
    model=st.sampled_from(["shapes", "llamagen-c2i-b-256"]),
    strategies=st.sampled_from([("scalingar",), ("scalingar", "best-of-n")]),
    settings=st.just((("termination.quantile=0.2", "sampler.name=it's & that"), ())),
    n=st.none() | st.integers(1, 32),
    seed=st.integers(0, 2**64 - 1),
    guidance=st.none() | st.floats(0, 100),
    temperature=st.none() | st.floats(0, 100),
)
LOADING = Loading(device="cpu", weights=Path("a folder/w"), options={"preset": "x y"})


def commands(text):
    """Each command's words, as a shell reads them."""
    words = shlex.split(text.replace("\\\n", " "))
    starts = [i for i in range(len(words) - 1) if words[i : i + 2] == ["scalingar", "generate"]]
    return [words[a + 2 : b] for a, b in zip(starts, [*starts[1:], len(words)], strict=True)]


@given(FORMS)
def test_the_command_is_read_as_what_was_asked(form):
    whole = repeat.command(form, LOADING)
    found = commands(whole)
    if len(found) != len(form.strategies):  # the prompt itself holds the words
        return
    for place, words in enumerate(found):
        given = generate.make_context("generate", words).params
        assert given["prompt"] == form.prompt
        assert given["strategy"] == form.strategies[place]
        assert given["settings"] == form.settings[place]
        own = form.model == "shapes"
        assert given["weights"] == (Path("a folder/w") if own else None)
        assert given["options"] == (("preset=x y",) if own else ())
        for name in ("model", "n", "seed", "guidance", "temperature"):
            assert given[name] == getattr(form, name)


@given(FORMS)
def test_the_python_calls_generate_with_what_was_asked(form):
    calls = []

    class Called:
        def generate(self, prompt, **asked):
            calls.append((prompt, asked))
            return self

        image = property(lambda self: self)

        def show(self):
            pass

    text = repeat.python(form, LOADING)
    assert text.startswith("import scalingar_fw as sar\n")
    exec(text.split("\n", 1)[1], {"sar": Called()})
    assert len(calls) == len(form.strategies)
    for place, (prompt, asked) in enumerate(calls):
        expected = {**form.asked(place), **LOADING.of(form.model)}
        expected |= {k: str(v) for k, v in expected.items() if k == "weights"}
        assert (prompt, asked) == (form.prompt, expected)


def test_the_offered_python_makes_the_very_picture(registry, tmp_path):
    form = Form("a red circle", n=2, seed=3, settings=(("termination.quantile=0.2",),))
    session = Session(registry, Loading(device="cpu"))
    from scalingar_fw.generation.generate import run_plan

    for _ in range(2):  # the second time on the model that is loaded already
        (plan,) = session.plans(form)
        shown = next(run_plan(plan))
        text = re.sub(r"result\.image\.show\(\)", "", repeat.python(form, session.loading))
        scope = {}
        exec(text, scope)
        assert (scope["result"].pixels == shown.pixels).all()
        assert scope["result"].config == shown.config


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (Form("  "), "The prompt is empty"),
        (Form("a zirkle"), "unknown word 'zirkle'"),
        (Form("a circle", strategies=("scaling",)), "Did you mean"),
        (Form("a circle", settings=(("termination.quantile",),)), "must have the form key=value"),
        (Form("a circle", settings=(("termination.quantile=2",),)), "quantile=2"),
        (Form("a circle", model="shape"), "Did you mean 'shapes'?"),
    ],
)
def test_a_field_that_cannot_be_is_refused_before_anything_is_decoded(registry, form, says):
    with pytest.raises(ScalingarError, match=re.escape(says).replace("'", ".")):
        Session(registry, Loading()).plans(form)


def test_a_setting_imports_no_module_that_was_not_named_on_the_command_line(registry):
    form = Form("a circle", settings=(("termination=subprocess:Popen",),))
    with only_named(), pytest.raises(ScalingarError, match="--allow-import subprocess"):
        Session(registry, Loading()).plans(form)


def test_only_the_last_runs_are_kept_and_a_key_cannot_be_guessed(registry):
    session = Session(registry, Loading())
    keys = [session.keep([]) for _ in range(10)]
    assert [session.runs(k) is None for k in keys] == [True] * 2 + [False] * 8
    assert len(set(keys)) == 10 and min(map(len, keys)) >= 16
    assert session.runs("../etc/passwd") is None
