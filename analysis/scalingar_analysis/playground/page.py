"""The page: its fields and buttons, and what they do. Gradio draws them and carries the pictures."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from scalingar_analysis.playground import drawing, repeat
from scalingar_analysis.playground.decodes import Decodes
from scalingar_analysis.playground.painter import Painter
from scalingar_analysis.playground.scene import Scene
from scalingar_analysis.playground.session import Form, Session
from scalingar_fw import ContractError, ScalingarError
from scalingar_fw.generation.run_folder import notes

TITLE = "ScalingAR playground"
NOBODY = "nobody"  # to compare with
#: Seconds that a token is shown for, by what the page calls it.
PACES = {"slowly, to follow": 0.06, "as fast as it decodes": 0.0}
PROMPTS = (
    "a red circle left of a blue square",
    "two green triangles",
    "a yellow cross above a purple diamond",
    "a circle left of a square",
)
_HEAD = (
    f"<h1>{TITLE}</h1><p>Several candidates for one prompt grow token by token. "
    "A strategy ends the hopeless ones early and keeps one.</p>"
)
# On a phone the pictures lie below the fields.
_SHOW = """() => {
  const show = document.getElementById("sp-show");
  if (window.innerWidth <= 720 && show) show.scrollIntoView();
}"""


def import_gradio() -> Any:
    """Gradio, told to report nothing to anybody; `ScalingarError` without the extra."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise ScalingarError(
            "The playground needs Gradio: pip install 'scalingar-fw[ui]'."
        ) from error
    return gradio


def style() -> str:
    """The page's own style sheet."""
    folder = resources.files(__package__ or "") / "assets"
    return (folder / "playground.css").read_text(encoding="utf-8")


def theme() -> Any:
    """Gradio's plainest look in the system's own letters: none are fetched."""
    gr = import_gradio()
    font = [
        gr.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
    ]
    mono = [gr.themes.Font(name) for name in ("ui-monospace", "Menlo", "Consolas", "monospace")]
    return gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=font, font_mono=mono)


class Presses:
    """What happens when a button is pressed, for every open page by its own name."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._gr = import_gradio()
        self._lock = threading.Lock()
        self._running: dict[str, Decodes] = {}

    def start(self, form: Form, pace: float, page: str) -> Iterator[tuple[Any, ...]]:
        """Stage, message, command, Python and link to the report, each time that one changes."""
        same = self._gr.skip()
        loading = self._session.loading
        yield same, drawing.message("Loading the model."), same, same, same
        try:
            plans = self._session.plans(form)
            decodes = Decodes(plans)
            with self._lock:
                self._running[page] = decodes
            code = repeat.command(form, loading), repeat.python(form, loading)
            yield same, drawing.message("Decoding."), *code, ""
            painters = [Painter(p.model) for p in plans]
            for scenes in decodes.watch(pace):
                yield drawing.stage(_looks(scenes, painters)), same, same, same, same
            if decodes.error is not None:
                raise decodes.error
            scenes = [side.scene for side in decodes.sides]
            finished = all(scene.chosen is not None for scene in scenes)
            looks = _looks(scenes, painters, final=True, done=finished)
            text, link = self._outcome(decodes) if finished else (_stopped(scenes), "")
            yield drawing.stage(looks), drawing.message(text), same, same, link
        except (ScalingarError, ContractError) as error:
            yield same, drawing.message(str(error), alert=True), same, same, same
        except Exception as error:
            traceback.print_exc()
            text = f"{type(error).__name__}: {error} (the terminal shows where)"
            yield same, drawing.message(text, alert=True), same, same, same
        finally:
            with self._lock:
                self._running.pop(page, None)

    def _outcome(self, decodes: Decodes) -> tuple[str, str]:
        """What is said of decodes that ended by themselves, and the link to their report."""
        scenes = [side.scene for side in decodes.sides]
        runs = [side.result for side in decodes.sides if side.result is not None]
        said = [*map(drawing.verdict, scenes), drawing.same_picture(scenes)]
        said += [note for run in runs for note in notes(run)]
        return "\n".join(filter(None, said)), report_link(self._session.keep(runs))

    def stop(self, page: str) -> None:
        """End what a page runs, if it runs anything."""
        with self._lock:
            decodes = self._running.get(page)
        if decodes is not None:
            decodes.stop()


def _looks(
    scenes: Sequence[Scene], painters: Sequence[Painter], final: bool = False, done: bool = False
) -> list[str]:
    return [
        drawing.side(scene, painter.pictures(scene, final), done)
        for scene, painter in zip(scenes, painters, strict=True)
    ]


def _stopped(scenes: Sequence[Scene]) -> str:
    return f"Stopped at token {max(scene.steps for scene in scenes)}."


def report_link(key: str) -> str:
    """Where the runs of a press are shown as `scalingar report` shows them."""
    return (
        f'<p class="sp-report"><a href="report/{key}" target="_blank" rel="noopener">'
        "Open the report</a> of every candidate, token and signal.</p>"
    )


def build(session: Session) -> Any:
    """The page as Gradio's `Blocks`."""
    gr = import_gradio()
    registry, loading = session.registry, session.loading
    presses = Presses(session)
    models = list(dict.fromkeys([loading.model, *sorted(registry.names("model"))]))
    strategies = sorted(registry.names("strategy"))

    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(_HEAD, elem_id="sp-head")
        with gr.Row(elem_id="sp-main"):
            with gr.Column(scale=1, min_width=300, elem_id="sp-form"):
                prompt = gr.Textbox(PROMPTS[0], label="Prompt", autofocus=True, elem_id="sp-prompt")
                if loading.model == "shapes":
                    gr.Examples([[p] for p in PROMPTS], prompt, label="Try")
                with gr.Row():
                    go = gr.Button("Generate", variant="primary", min_width=90, elem_id="sp-go")
                    another = gr.Button("Next seed", min_width=90, elem_id="sp-next")
                    stop = gr.Button("Stop", min_width=70, elem_id="sp-stop")
                with gr.Row():
                    first = gr.Dropdown(
                        strategies, value="scalingar", label="Strategy", min_width=130,
                        elem_id="sp-strategy",
                    )  # fmt: skip
                    second = gr.Dropdown(
                        [NOBODY, *strategies], value="best-of-n", label="Beside it", min_width=130,
                        elem_id="sp-second",
                    )  # fmt: skip
                with gr.Row():
                    n = gr.Slider(
                        1, 32, 8, step=1, label="Candidates (n)", min_width=150, elem_id="sp-n"
                    )
                    seed = gr.Number(
                        0, label="Seed", minimum=0, precision=0, min_width=90, elem_id="sp-seed"
                    )
                model = gr.Dropdown(models, value=loading.model, label="Model", elem_id="sp-model")
                pace = gr.Radio(
                    list(PACES), value=next(iter(PACES)), label="Show it", elem_id="sp-pace"
                )
                with gr.Accordion("More settings", open=False, elem_id="sp-more"):
                    with gr.Row():
                        guidance = gr.Number(
                            None, label="Guidance", placeholder="the model's", min_width=100
                        )
                        temperature = gr.Number(
                            None, label="Temperature", placeholder="the model's", min_width=100
                        )
                    settings = [
                        gr.Textbox(
                            label=label, lines=2, placeholder="termination.quantile=0.2",
                            info="key=value, one on each line; `scalingar show` lists the keys",
                            elem_id=place,
                        )
                        for label, place in (
                            ("Settings of the strategy", "sp-settings"),
                            ("Settings of the one beside it", "sp-settings-second"),
                        )
                    ]  # fmt: skip
            with gr.Column(scale=3, min_width=320, elem_id="sp-show"):
                message = gr.HTML(elem_id="sp-message")
                stage = gr.HTML(drawing.empty_stage(), elem_id="sp-stage")
                report = gr.HTML(elem_id="sp-report")
                with gr.Accordion("Do it again", elem_id="sp-again"):
                    options: dict[str, Any] = {
                        "interactive": False, "show_line_numbers": False, "wrap_lines": True,
                        "lines": 1, "buttons": ["copy"],
                    }  # fmt: skip
                    command = gr.Code(
                        language="shell", label="Command", elem_id="sp-command", **options
                    )
                    python = gr.Code(
                        language="python", label="Python", elem_id="sp-python", **options
                    )

        def pressed(
            prompt: str, model: str, first: str, second: str, n: float, seed: float | None,
            guidance: float | None, temperature: float | None, one: str, two: str, pace: str,
            request: Any,
        ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
            chosen = (first,) if second == NOBODY else (first, second)
            form = Form(
                prompt=prompt,
                model=model,
                strategies=chosen,
                settings=tuple(_lines(text) for text in (one, two)[: len(chosen)]),
                n=int(n),
                seed=int(seed or 0),
                guidance=guidance,
                temperature=temperature,
            )
            yield from presses.start(form, PACES[pace], str(request.session_hash))

        # Gradio finds the request by this annotation's type, not by its text.
        pressed.__annotations__["request"] = gr.Request

        def stopped(request: Any) -> None:
            presses.stop(str(request.session_hash))

        stopped.__annotations__["request"] = gr.Request

        fields = [prompt, model, first, second, n, seed, guidance, temperature, *settings, pace]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        run: dict[str, Any] = {
            "fn": pressed,
            "inputs": fields,
            "outputs": [stage, message, command, python, report],
            "concurrency_limit": 1,
            "concurrency_id": "decode",
            **quiet,
        }
        gr.on([go.click, prompt.submit], **run)
        gr.on([go.click, prompt.submit, another.click], None, js=_SHOW, **quiet)
        another.click(lambda s: int(s or 0) + 1, seed, seed, **quiet).then(**run)
        stop.click(stopped, None, None, queue=False, **quiet)
        page.unload(stopped)
    return page


def _lines(text: str | None) -> tuple[str, ...]:
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())


__all__ = ["NOBODY", "PACES", "PROMPTS", "TITLE", "build", "import_gradio", "style", "theme"]
