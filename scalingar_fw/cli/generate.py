"""`scalingar generate`: from a prompt to a folder with the picture and how it came about."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scalingar_fw.cli import completion
from scalingar_fw.cli.command import Grouped
from scalingar_fw.cli.group import app_of, common_options, ending_tidily
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from scalingar_fw.cli.progress import Reporter
    from scalingar_fw.generation.plan import Plan

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SEED = click.IntRange(0, 2**64 - 1)


@click.command(
    cls=Grouped,
    groups={
        "What to make": ("--class", "--negative", "--prompts", "--model", "--weights", "--option"),
        "How to search": ("--strategy", "-n", "--seed", "--set", "--config", "--check"),
        "How to sample": ("--guidance", "--temperature", "--top-k", "--top-p"),
        "Where to run": ("--device", "--dtype", "--reward-device", "--max-memory"),
        "What to write": ("--out", "--overwrite", "--json"),
    },
    examples=(
        'scalingar generate "a circle left of a square"',
        'scalingar generate "two squares" --strategy best-of-n -n 4 --seed 1',
        'scalingar generate "a red ring" --set termination.quantile=0.3',
        "scalingar generate --prompts prompts.txt --out pictures",
        "scalingar generate --config pictures/config.yaml --out again",
    ),
)
@click.argument("prompt", required=False)
@click.option(
    "--class", "class_id", type=int, metavar="ID", help="A class, where a model takes one."
)
@click.option("--negative", metavar="TEXT", help="What to avoid, where a model takes it.")
@click.option(
    "--model",
    metavar="NAME",
    help="The model (default: shapes).",
    shell_complete=completion.names("model"),
)
@click.option(
    "--strategy",
    metavar="NAME",
    help="The strategy (default: scalingar).",
    shell_complete=completion.names("strategy"),
)
@click.option(
    "-n", "n", type=click.IntRange(1), metavar="N", help="Candidates (default: the strategy's, 8)."
)
@click.option("--seed", type=_SEED, metavar="S", help="Keys all randomness (default: 0).")
@click.option("--guidance", type=float, metavar="S", help="Guidance scale (default: the model's).")
@click.option(
    "--temperature", type=float, metavar="T", help="Sampling temperature (default: the model's)."
)
@click.option(
    "--top-k", type=int, metavar="K", help="Keep K tokens; 0 keeps all (default: the model's)."
)
@click.option(
    "--top-p", type=float, metavar="P", help="Keep this probability (default: the model's)."
)
@click.option(
    "--prompts",
    "prompts_file",
    type=_FILE,
    metavar="FILE",
    help='A prompt on each line, or JSON Lines with "prompt"; one subfolder for each.',
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting: termination.quantile=0.2, termination=never (repeatable).",
    shell_complete=completion.settings,
)
@click.option(
    "--config",
    type=_FILE,
    metavar="FILE",
    help="YAML with these options as keys, such as a run's config.yaml; options win.",
)
@click.option("--device", metavar="D", help="auto, cpu, cuda, cuda:1 or mps (default: auto).")
@click.option(
    "--dtype", metavar="D", help="auto, float32, bfloat16 or float16 (default: auto, the model's)."
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="WEIGHTS",
    help="A folder, a file or org/name[@revision] (default: the model's own repository).",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the model's loader, such as t5=DIR or preset=NAME (repeatable).",
)
@click.option(
    "--reward-device",
    metavar="D",
    help="Where the strategy's reward model runs, such as cuda:1 (default: auto).",
)
@click.option(
    "--max-memory",
    metavar="SIZE",
    help="Memory for the candidates beside the weights, such as 8GiB; decodes them in parts.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Output folder (default: runs/<prompt>-<strategy>-<seed>-<hash>).",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in the output folder.")
@click.option("--check", is_flag=True, help="Hold every component to its contract (slower).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@common_options
@click.pass_context
def generate(
    ctx: click.Context,
    /,
    prompt: str | None,
    class_id: int | None,
    negative: str | None,
    prompts_file: Path | None,
    settings: tuple[str, ...],
    options: tuple[str, ...],
    reward_device: str | None,
    config: Path | None,
    out: Path | None,
    overwrite: bool,
    check: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Make a picture from PROMPT.

    Several candidates are decoded, hopeless ones are ended early, and one becomes the answer.
    Writes image.png, candidates.png, dynamics.png, trace/, run.json and config.yaml.
    """
    since = time.perf_counter()
    one = {"text": prompt, "class_id": class_id, "negative": negative}
    one = {k: v for k, v in one.items() if v is not None}
    if one and prompts_file is not None:
        raise click.UsageError("Give PROMPT, --class and --negative, or --prompts, not both.")
    if one.keys() == {"negative"}:
        raise click.UsageError("--negative belongs to a PROMPT: give one.")
    from scalingar_fw.cli.progress import make_reporter

    reporter = make_reporter()
    registry = app_of(ctx).registry
    with ending_tidily(), reporter:
        share_cores()
        # torch is imported from here on
        from scalingar_fw.config.keys import read_settings
        from scalingar_fw.files import check_target, new_folder
        from scalingar_fw.generation import run_folder
        from scalingar_fw.generation.plan import prepare
        from scalingar_fw.generation.request import GenerationRequest, laid_over

        if out is not None:
            check_target(out, overwrite)
        flags["settings"] = parse_set(with_reward_device(settings, reward_device)) or None
        flags["options"] = parse_options(options) or None
        if one:
            flags["prompts"] = [one]
        elif prompts_file is not None:
            from scalingar_fw.cli.prompts import read_prompts

            flags["prompts"] = read_prompts(prompts_file)
        given = laid_over(read_settings(config) if config is not None else {}, flags)
        if "prompts" not in given:
            raise click.UsageError(
                "Missing PROMPT: give one, --prompts FILE, or a --config with it."
            )
        request = GenerationRequest(**given)
        # A typing error is told before anything says that it loads.
        plan = prepare(request, registry, before_load=lambda: reporter.phase("loading"))
        folder = run_folder.default_folder(plan, prompts_file) if out is None else out
        with new_folder(folder, overwrite) as place:
            many = prompts_file is not None or len(plan.prompts) > 1
            document, lines = _decode(plan, place, reporter, many, since, check)
    document["folder"] = str(folder)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join([*lines, f"{'written':12}{folder}"]))


def share_cores() -> None:
    """Let torch's idle threads sleep early instead of spinning; heard if torch is not loaded yet.

    On two cores shared with two busy processes, 144 steps of the embedded model took 12 s with
    libgomp's default and 2 s with this; alone on the machine both take 1 s. Results are the same:
    the number of threads is.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def parse_set(pairs: tuple[str, ...]) -> dict[str, str]:
    """`("a.b=1",)` as `{"a.b": "1"}`."""
    return {k: v.strip() for k, v in _pairs("--set", pairs, "termination.quantile=0.2").items()}


def with_reward_device(settings: tuple[str, ...], device: str | None) -> tuple[str, ...]:
    """`--set` with what `--reward-device` stands for."""
    return settings if device is None else (*settings, f"selector.reward.device={device}")


def parse_options(pairs: tuple[str, ...]) -> dict[str, str]:
    """`("t5=DIR",)` as `{"t5": "DIR"}`; spaces in a value are the value's."""
    return _pairs("--option", pairs, "t5=DIR")


def _pairs(flag: str, pairs: tuple[str, ...], example: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise ScalingarError(
                f"{flag} {pair!r} must have the form key=value, such as {example}."
            )
        out[key.strip()] = value
    return out


def _decode(
    plan: Plan, place: Path, reporter: Reporter, many: bool, since: float, check: bool
) -> tuple[dict[str, Any], list[str]]:
    """Decode and write; the document for `--json` and the summary's lines."""
    from scalingar_fw.cli import summary
    from scalingar_fw.generation import run_folder
    from scalingar_fw.generation.generate import run_plan

    reporter.expect(len(plan.prompts))
    runs = run_plan(plan, [reporter], check)
    if not many:
        run = next(runs)
        reporter.phase("writing")
        data = run_folder.write_run(run, place, since=since)
        return data, summary.of_one(data)
    lines, reports = [], []
    for run, data in run_folder.write_many(plan, runs, place, since):
        lines.append(summary.row(data, run.index))
        reports.append({"notes": data["notes"]})
    whole = json.loads((place / "run.json").read_text(encoding="utf-8"))
    index = json.loads((place / "index.json").read_text(encoding="utf-8"))
    return {**whole, "prompts": index["prompts"]}, [*lines, *summary.of_many(whole, reports)]
