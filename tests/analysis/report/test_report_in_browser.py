"""The report in a real Chromium: it loads from disk in silence, and the slider moves every view.

Needs the extra `browser` and a Chromium: $SCALINGAR_BROWSER, or one on the PATH (Debian's package
is `chromium`).
"""

from __future__ import annotations

import os
import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("SCALINGAR_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="needs a Chromium: set SCALINGAR_BROWSER, or install one"
)
# Nothing that it does by itself may reach for a network that is not there.
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()
PATIENCE = 120_000  # ms: for a machine that is busy with other things


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        found = p.chromium.launch(executable_path=BROWSER, args=QUIET, timeout=PATIENCE)
        yield found
        found.close()


@pytest.fixture(scope="module")
def file(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report, encoding="utf-8")
    return path


class Page:
    """An open report, with all that it complained about or asked the network for."""

    def __init__(self, browser, file, width, fragment="", **options):
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, reduced_motion="reduce", **options
        )
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.complaints, self.requests = [], []
        self.tab.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        self.tab.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.tab.on(
            "dialog", lambda d: (self.complaints.append(f"dialog {d.message}"), d.dismiss())
        )
        self.tab.on("request", lambda r: self.requests.append(r.url))
        self.tab.goto(file.as_uri() + fragment)

    def views(self):
        """What each view says of the step."""
        return self.tab.evaluate(
            """() => ({
              slider: Number(document.getElementById("step").value),
              cursor: Number(document.querySelector("#chart .cursor").dataset.step),
              past: Number(document.querySelector("#chart clipPath rect").getAttribute("width")),
              filled: [...document.querySelectorAll("#grids canvas")].map((c) => +c.dataset.filled),
              inked: [...document.querySelectorAll("#grids canvas")].map((c) => {
                const copy = new OffscreenCanvas(c.width, c.height);
                const paint = copy.getContext("2d", { willReadFrequently: true });
                paint.drawImage(c, 0, 0);
                const d = paint.getImageData(0, 0, c.width, c.height).data;
                let n = 0;
                for (let i = 3; i < d.length; i += 4) n += d[i] > 0;
                return n / (c.width * c.height);
              }),
              later: document.querySelectorAll("#chart .event.later").length,
              events: [...document.querySelectorAll("#events li")].map((e) => e.textContent),
              status: document.getElementById("status").textContent,
            })"""
        )

    def until(self, condition):
        """Ask until it holds; the page's policy forbids Playwright's own way, which needs eval."""
        for _ in range(PATIENCE // 50):
            if self.tab.evaluate(condition):
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(f"never came true: {condition}")

    def to(self, step):
        self.tab.evaluate(
            """(step) => {
              const slider = document.getElementById("step");
              slider.value = step;
              slider.dispatchEvent(new Event("input", { bubbles: true }));
            }""",
            step,
        )
        return self.views()


@pytest.fixture(params=[1200, 390], ids=["desk", "phone"])
def page(browser, file, request):
    opened = Page(browser, file, request.param)
    yield opened
    opened.context.close()


def test_it_loads_without_a_complaint_and_asks_for_nothing_else(page, file):
    assert page.complaints == []
    others = [u for u in page.requests if not u.startswith("data:")]
    assert others == [file.as_uri()]


def test_it_is_as_wide_as_the_screen_and_no_wider(page):
    inner, content = page.tab.evaluate(
        "[document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert content <= inner


def test_the_slider_moves_every_view_together(page):
    page.tab.select_option("#mode", "map")
    early, late = page.to(10), page.to(30)
    for views, step in ((early, 10), (late, 30)):
        assert views["slider"] == views["cursor"] == step
        assert views["status"].startswith(f"Token {step} of 48")
    assert early["filled"] == [10, 10, 10, 10] and late["filled"] == [21, 30, 30, 30]
    assert early["inked"] == pytest.approx([10 / 48] * 4, abs=0.02)
    assert late["inked"] == pytest.approx([21 / 48, 30 / 48, 30 / 48, 30 / 48], abs=0.02)
    assert early["past"] < late["past"]
    assert early["later"] > late["later"] == 0
    assert [e.split(".")[0] for e in early["events"]] == [
        "9: #2 flagged", "9: #1 flagged", "9: #0 flagged",
    ]  # fmt: skip
    assert {"13: #1 recovered", "21: #0 pruned"} <= {e.split(".")[0] for e in late["events"]}
    assert "it fell <below> & stayed" in late["events"][0]
    assert page.complaints == []


def test_the_keyboard_alone_is_enough(page):
    page.tab.focus("#example")
    page.tab.keyboard.press("ArrowDown")
    assert page.tab.input_value("#example") == "1"
    for _ in range(6):  # map, mode, play, previous event, next event, slider
        page.tab.keyboard.press("Tab")
    assert page.tab.evaluate("document.activeElement.id") == "step"
    page.tab.keyboard.press("Home")
    for _ in range(3):
        page.tab.keyboard.press("ArrowRight")
    assert page.views()["filled"] == [3, 3, 3, 3]
    page.tab.keyboard.press("Shift+Tab")
    page.tab.keyboard.press("Enter")  # next event
    assert page.views()["slider"] == 9


def test_prompts_are_shown_as_text_whatever_they_hold(page, generations):
    headings = page.tab.eval_on_selector_all("article h3", "all => all.map((e) => e.textContent)")
    assert headings == [g.prompt.label for g in generations]
    assert any("<script>" in text for text in headings)
    assert page.complaints == []


def test_a_gallery_entry_opens_in_the_viewer_from_its_start(page):
    page.tab.click("article:nth-of-type(3) button.open")
    assert page.tab.input_value("#example") == "2"
    assert page.views()["slider"] == 0
    assert page.tab.evaluate("document.activeElement.id") == "step"


def test_a_deep_link_opens_prompt_candidate_and_step(browser, file):
    opened = Page(browser, file, 800, "#prompt=2&candidate=3&step=41")
    assert opened.tab.input_value("#example") == "2"
    assert opened.views()["slider"] == 41
    assert opened.tab.inner_text("#grids .picked").startswith("#3")
    assert opened.tab.inner_text("#cell").startswith("#3, token 41 (row 6, column 1): id ")
    opened.tab.keyboard.press("ArrowLeft")
    opened.until("location.hash === '#prompt=2&candidate=3&step=40'")
    assert opened.complaints == []
    opened.context.close()


def test_a_link_that_names_what_is_not_there_opens_the_page_all_the_same(browser, file):
    opened = Page(browser, file, 800, "#prompt=99&candidate=77&step=12345")
    assert opened.views()["slider"] == 48
    assert opened.tab.locator("#grids .picked").count() == 0
    assert opened.complaints == []
    opened.context.close()


def test_the_answers_link_starts_the_story(page):
    page.tab.click("text=Watch the candidates grow")
    page.until("document.getElementById('step').value === '0'")
    assert page.tab.locator("#grids .picked.answer").count() == 1


def test_a_cell_tells_its_token_probability_and_signals(page, generations):
    place = int(page.tab.input_value("#example"))
    canvas = page.tab.locator("#grids canvas").nth(1)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    # The cell in row 2, column 3 of the grid of 6 x 8.
    canvas.click(position={"x": box["width"] * 2.5 / 8, "y": box["height"] * 1.5 / 6})
    said = page.tab.inner_text("#cell")
    t = generations[place].decoded.trajectories[1]
    p = float(t.signals["log_prob_guided"][10].astype("float64"))
    assert said.startswith(f"#1, token 11 (row 2, column 3): id {t.tokens[10]}, ")
    assert "entropy" in said and "margin" in said and "confidence" in said
    found = float(said.split("probability ")[1].split(",")[0])
    assert found == pytest.approx(2.718281828**p, abs=0.001)


def test_keys_move_the_step_and_choose_candidates_wherever_the_focus_is(page):
    page.to(20)
    page.tab.evaluate("document.activeElement.blur()")
    page.tab.keyboard.press("ArrowRight")
    assert page.views()["slider"] == 21
    page.tab.keyboard.press("Shift+ArrowLeft")  # the event before
    assert page.views()["slider"] == 13
    page.tab.keyboard.press("c")
    page.tab.keyboard.press("c")
    assert page.tab.inner_text("#grids .picked").startswith("#1")


def test_candidates_can_be_filtered_and_sorted(page):
    shown = (
        "[...document.querySelectorAll('#grids figure')].filter((f) => !f.hidden)"
        ".map((f) => Number(f.textContent.slice(1).split(/[ ,]/)[0]))"
    )
    page.to(30)
    page.tab.select_option("#only", "ended")
    assert page.tab.evaluate(shown) == [0]
    page.tab.select_option("#only", "live")
    assert page.tab.evaluate(shown) == [1, 2, 3]
    page.tab.select_option("#only", "all")
    page.tab.select_option("#order", "length")
    assert page.tab.evaluate(shown) == [1, 2, 3, 0]
    # Nobody judged this run.
    assert page.tab.locator("#only option[disabled]").count() == 2


def test_no_table_is_cut_on_a_phone(browser, file):
    opened = Page(browser, file, 390)
    cut = opened.tab.evaluate(
        "[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth).length"
    )
    assert cut == 0
    opened.context.close()


def test_the_reader_may_choose_dark_or_light(browser, file):
    opened = Page(browser, file, 800, color_scheme="light")
    opened.tab.click("#theme")
    assert opened.tab.is_visible(".plot .dark svg")
    assert opened.tab.inner_text("#theme") == "Light"
    opened.tab.click("#theme")
    assert opened.tab.is_visible(".plot .light svg")
    opened.context.close()


def test_on_paper_it_is_light_and_without_controls(browser, file):
    opened = Page(browser, file, 800, color_scheme="dark")
    opened.tab.emulate_media(media="print")
    assert opened.tab.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert opened.tab.is_visible(".plot .light svg") and not opened.tab.is_visible("#play")
    opened.context.close()


def test_playing_moves_on_and_stops(page):
    page.tab.evaluate("document.getElementById('step').value = 40")
    page.tab.click("#play")
    page.until("document.getElementById('step').value === '48'")
    page.until("document.getElementById('play').textContent === 'Play'")


def test_another_map_is_another_picture(page):
    page.tab.select_option("#mode", "map")
    looks = set()
    for name in ("entropy", "margin", "kl"):
        page.tab.select_option("#map", name)
        looks.add(page.tab.evaluate("document.querySelector('#grids canvas').toDataURL()"))
    assert len(looks) == 3


def test_images_are_drawn_under_the_map(page):
    page.to(48)
    page.until("[...document.images].slice(0, 4).every((i) => i.complete)")
    looks = set()
    for mode in ("both", "image", "map"):
        page.tab.select_option("#mode", mode)
        looks.add(page.tab.evaluate("document.querySelectorAll('#grids canvas')[1].toDataURL()"))
    assert len(looks) == 3


def test_a_script_that_is_not_ours_does_not_run(page):
    page.tab.evaluate(
        """() => {
          const foreign = document.createElement("script");
          foreign.textContent = "window.foreign = true";
          document.body.append(foreign);
        }"""
    )
    assert page.tab.evaluate("window.foreign === undefined")
    assert any("Content Security Policy" in c for c in page.complaints)


def test_without_scripts_the_rest_is_there(browser, file):
    opened = Page(browser, file, 800, java_script_enabled=False)
    assert opened.tab.is_visible("table") and opened.tab.is_visible("#gallery img")
    assert opened.tab.is_visible("noscript") or "needs JavaScript" in opened.tab.content()
    assert not opened.tab.is_visible("#travel")
    opened.context.close()


def test_in_the_dark_the_figures_are_dark(browser, file):
    opened = Page(browser, file, 800, color_scheme="dark")
    assert opened.tab.is_visible(".plot .dark svg") and not opened.tab.is_visible(
        ".plot .light svg"
    )
    assert opened.tab.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(22, 24, 28)"
    )
    opened.context.close()
