"""The same answers in a fresh process: other hash seed, cases in reverse order.

What a component keeps in its module, or reads off `hash(text)`, is the same as long as a process
lives, so no check inside of it can tell. `answers_elsewhere` plays cases in a new one, which gets
the component as its configuration (and the files of modules that cannot be imported by name), and
nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import attrs
import torch

from scalingar_fw.config.serialization import build, describe
from scalingar_fw.registry import default_registry
from scalingar_fw.testing.battery import BATTERY, LARGE
from scalingar_fw.testing.cases import Case
from scalingar_fw.testing.catalogue import CHOOSING, STEPPING, Broken, NotHere, check
from scalingar_fw.testing.choosing import pool_of, ready, said
from scalingar_fw.testing.play import Refused
from scalingar_fw.testing.plays import played

#: The order matters: in the new process it is the other way round, so the first and the last
#: differ in everything that a cache could leave out of its key.
CASES = (BATTERY[0], BATTERY[2], LARGE[0], BATTERY[4])
_SECONDS = 300


def answers(kind: str, component: Any, case: Case) -> list[str]:
    """What a component says in a case, as one digest for each step (one in all for a pool)."""
    try:
        if kind in CHOOSING:
            ready(component, case)
            return [_digest(repr(said(component, pool_of(component, case))).encode())]
        outs = played(kind, component, case).outs
    except Refused:
        return ["refused"]
    lines = []
    for out in outs:
        values = [
            f"{name}:{value.dtype}".encode() + value.cpu().numpy().tobytes()
            for name, value in sorted(out.values.items())
        ]
        lines.append(_digest(repr(out.names).encode(), *values))
    return lines


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]


def answers_elsewhere(
    components: Sequence[tuple[str, Any]], cases: Sequence[Case]
) -> list[list[list[str]]]:
    """`answers` of components (kind, object) to cases, from one fresh process for all of them.

    Raises:
        NotHere: a component cannot be made from its configuration there.
        Broken: the process ended without answers.
    """
    registry = default_registry()
    given: dict[str, Any] = {
        "components": [[kind, describe(c, registry, full=True)] for kind, c in components],
        "modules": _files([c for _, c in components]),
        "cases": [case.to_data() for case in cases],
        "path": [p or os.getcwd() for p in sys.path],
        "threads": torch.get_num_threads(),
    }
    try:
        words = json.dumps(given)
    except TypeError as error:
        raise NotHere(f"its configuration is no plain data: {error}") from error
    # Another hash seed than this process's, whatever that is.
    seed = "2" if os.environ.get("PYTHONHASHSEED") != "2" else "3"
    ran = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import _child; _child()"],
        input=words,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(given["path"])},
        check=False,
    )
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Broken(f"in a fresh process it fails: {last}")
    found: list[list[list[str]]] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _files(components: Sequence[Any]) -> dict[str, str]:
    """Files of modules that a fresh process would not find by name, by that name."""
    found: dict[str, str] = {}
    left, seen = list(components), set()
    while left:
        one = left.pop()
        name = type(one).__module__
        if attrs.has(type(one)):
            left += [getattr(one, a) for a in attrs.fields_dict(type(one))]
        if name in seen:
            continue
        seen.add(name)
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if file and not _importable(name):
            found[name] = os.path.abspath(file)
    return found


def _importable(name: str) -> bool:
    """Whether an import by name alone finds the module (and not only because it is loaded)."""
    from importlib.machinery import PathFinder

    parent, _, _ = name.rpartition(".")
    if parent:
        return _importable(parent)
    return name in sys.builtin_module_names or PathFinder.find_spec(name) is not None


def _child() -> None:
    """What the fresh process does: cases from standard input, answers to standard output."""
    given = json.load(sys.stdin)
    torch.set_num_threads(given["threads"])
    for name, file in given["modules"].items():
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    cases = [Case.from_data(data) for data in given["cases"]]
    registry = default_registry()
    found = []
    with torch.inference_mode():
        for kind, data in given["components"]:
            component = build(kind, data, registry)
            backwards = [answers(kind, component, case) for case in reversed(cases)]
            found.append(backwards[::-1])
    print(json.dumps(found))


def compare(here: list[list[str]], there: list[list[str]], cases: Sequence[Case]) -> None:
    """Raise `Broken` where two processes differ."""
    for case, one, other in zip(cases, here, there, strict=True):
        if one != other:
            step = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
            raise Broken(
                f"a fresh process answers differently from step {step} on, to the case of seed "
                f"{case.seed} with {case.n} candidates over {case.total} steps.",
                "it keeps something in its module (a cache, a counter), or reads hash(text) or the "
                "order of a set, which change from process to process.",
            )


def by_name(component: Any) -> str | None:
    """Why a component cannot be made elsewhere; None where it can."""
    cls = type(component)
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        return f"{cls.__qualname__} can not be imported from elsewhere by name"
    return None


@check("fresh-process", *STEPPING, *CHOOSING, applies=by_name, cases=CASES[:1])
def same_in_a_fresh_process(kind: str, component: Any, case: Case) -> None:
    """A fresh process gives the same answers, with another hash seed and in another order.

    A resumed sweep, another machine and tomorrow are fresh processes. What is cached in a module,
    or read off `hash(text)`, makes their results others.
    """
    here = [answers(kind, component, one) for one in CASES]
    [there] = answers_elsewhere([(kind, component)], CASES)
    compare(here, there, CASES)


__all__ = ["CASES", "answers", "answers_elsewhere", "compare"]
