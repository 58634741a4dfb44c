"""The command and the Python that do again what the page did."""

from __future__ import annotations

import shlex
from typing import Any

from scalingar_analysis.playground.session import Form, Loading

_FLAGS = {
    "model": "--model",
    "strategy": "--strategy",
    "n": "-n",
    "seed": "--seed",
    "guidance": "--guidance",
    "temperature": "--temperature",
    "device": "--device",
    "dtype": "--dtype",
    "weights": "--weights",
}
_LINE = 88  # characters, beyond which a command continues on the next line


def command(form: Form, loading: Loading) -> str:
    """`scalingar generate ...`, for each strategy one, as a shell reads it."""
    return "\n".join(_command(form, loading, i) for i in range(len(form.strategies)))


def _command(form: Form, loading: Loading, place: int) -> str:
    words = [["scalingar", "generate", form.prompt]]
    given = {**form.asked(place), **loading.of(form.model)}
    for name, value in given.items():
        if name in ("settings", "options"):
            flag = "--set" if name == "settings" else "--option"
            words += [[flag, f"{k}={v}"] for k, v in value.items()]
        else:
            words.append([_FLAGS[name], str(value)])
    if form.prompt.startswith("-"):  # or the shell's word would be read as a flag
        words = [["scalingar", "generate"], *words[1:], ["--", form.prompt]]
    lines = [""]
    for part in map(shlex.join, words):
        if len(lines[-1]) + len(part) > _LINE and lines[-1]:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {part}" if lines[-1] else part
    return " \\\n".join(lines)


def python(form: Form, loading: Loading) -> str:
    """A script of a few lines that makes the same pictures."""
    out = ["import scalingar_fw as sar", ""]
    several = len(form.strategies) > 1
    names = ["first", "second"] if several else ["result"]
    for place, name in zip(range(len(form.strategies)), names, strict=False):
        given: dict[str, Any] = {**form.asked(place), **loading.of(form.model)}
        out += [f"{name} = sar.generate(", f"    {form.prompt!r},"]
        out += [f"    {k}={str(v) if k == 'weights' else v!r}," for k, v in given.items()]
        out += [")", f"{name}.image.show()"]
    return "\n".join(out)


__all__ = ["command", "python"]
