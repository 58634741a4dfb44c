"""The playground as a visitor has it: a real server, a real Chromium, and nobody else.

Needs the extras `ui` and `browser` and a Chromium: $SCALINGAR_BROWSER, or one on the PATH. With
$SCALINGAR_SCREENSHOTS, a folder, the picture of the documentation is written there.
"""

from __future__ import annotations

import base64
import http.cookiejar
import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import scalingar_fw as sar

if importlib.util.find_spec("gradio") is None:
    pytest.skip("needs the extra ui", allow_module_level=True)

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("SCALINGAR_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()
PATIENCE = 240_000  # ms: for a machine that is busy with other things
PROMPT = "two green triangles"

#: Loaded by the server's Python before anything else: notes whom it connects to or asks for.
NOTING = """
import os, socket

def noting(function, place):
    def call(*args, **kwargs):
        with open(os.environ["NOTED"], "a") as out:
            print(function.__name__, args[place], file=out)
        return function(*args, **kwargs)
    return call

socket.socket.connect = noting(socket.socket.connect, 1)
socket.socket.connect_ex = noting(socket.socket.connect_ex, 1)
socket.getaddrinfo = noting(socket.getaddrinfo, 0)
"""


class Server:
    """`scalingar ui` in a process of its own; `address` once it answers."""

    def __init__(self, folder: Path, *words: str) -> None:
        (folder / "sitecustomize.py").write_text(NOTING)
        self.noted = folder / "noted"
        self.noted.touch()
        path = os.pathsep.join([str(folder), *filter(None, sys.path)])
        # The package's own arrangements are tested, not those of this process.
        env = {k: v for k, v in os.environ.items() if not k.startswith(("GRADIO_", "HF_"))}
        env |= {"PYTHONPATH": path, "NOTED": str(self.noted)}
        self.errors = folder / "err"
        words = ("ui", "--port", "0", "--no-browser", *words)
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scalingar_fw", *words],
                env=env,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        line = self.process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), (line, self.errors.read_text())
        self.address = line.split()[0]

    def ask(self, path, opener=None, **more):
        """Status, headers and text of an answer."""
        request = urllib.request.Request(self.address + path, **more)
        opener = opener or urllib.request.build_opener()
        try:
            with opener.open(request, timeout=PATIENCE / 1000) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("ui"))
    yield found
    found.end()
    assert "Traceback" not in found.errors.read_text()


# --- the server --------------------------------------------------------------------------------


def test_only_its_own_name_is_answered(server):
    """A page of somebody else's, whose name points here, gets nothing."""
    host = server.address.removeprefix("http://")
    assert server.ask("/")[0] == 200
    assert server.ask("/", headers={"Host": host.replace("127.0.0.1", "localhost")})[0] == 200
    assert server.ask("/", headers={"Host": "rebound.example"})[0] == 400


def test_every_answer_forbids_to_load_from_others(server):
    for path in ("/", "/config", "/report/x"):
        policy = server.ask(path)[1]["content-security-policy"]
        assert (
            policy.startswith("default-src 'self' ") and "http" not in policy and "*" not in policy
        )
        assert "frame-ancestors 'none'" in policy


def test_there_is_no_report_for_a_key_that_nobody_was_given(server):
    status, _, text = server.ask("/report/AAAAAAAAAAAAAAAA")
    assert status == 404 and "Generate again" in text


def test_with_a_password_nothing_is_answered_without_it(tmp_path):
    (tmp_path / "password").write_text("correct horse\n")
    server = Server(tmp_path, "--password-file", str(tmp_path / "password"))
    try:
        visitor = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )

        def login(password):
            data = urllib.parse.urlencode({"username": "me", "password": password}).encode()
            return server.ask("/login", visitor, data=data)[0]

        closed = ["/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x"]
        assert [server.ask(path, visitor)[0] for path in closed] == [401] * 3
        assert login("correct") == login("CORRECT HORSE") == 400
        assert server.ask("/config", visitor)[0] == 401
        assert login("correct horse") == 200
        assert server.ask("/config", visitor)[0] == 200
    finally:
        server.end()


# --- the page ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
    if BROWSER is None:
        pytest.skip("needs a Chromium: set SCALINGAR_BROWSER, or install one")
    with playwright.sync_playwright() as p:
        found = p.chromium.launch(executable_path=BROWSER, args=QUIET, timeout=PATIENCE)
        yield found
        found.close()


class Page:
    """An open page, with all that it complained about or asked anybody for."""

    def __init__(self, browser, server):
        self.context = browser.new_context(color_scheme="light")
        self.address = server.address
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.complaints, self.requests = [], []
        self.context.on("request", lambda r: self.requests.append(r.url))
        self.tab.on("console", self._hear)
        self.tab.on("pageerror", lambda e: self.complaints.append(str(e)))

    def fresh(self, width):
        """As a visitor finds it, on a screen of this width."""
        self.complaints.clear()
        self.requests.clear()
        self.tab.set_viewport_size({"width": width, "height": 900})
        self.tab.goto(self.address)
        self.tab.wait_for_selector("#sp-go")
        return self

    def _hear(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def fast(self):
        self.tab.get_by_label("as fast as it decodes").check()

    def alone(self):
        """One strategy, without another beside it."""
        self.tab.click("#sp-second input")
        self.tab.get_by_role("option", name="nobody").click()

    def ask(self, prompt, n=4):
        self.tab.fill("#sp-n input[type=number]", str(n))
        self.tab.fill("#sp-prompt input, #sp-prompt textarea", prompt)
        self.tab.press("#sp-prompt input, #sp-prompt textarea", "Enter")

    def done(self):
        self.tab.wait_for_selector('.sp-side[data-done="1"]')
        self.tab.wait_for_selector(".sp-report a")

    def message(self):
        return self.tab.inner_text("#sp-message")

    def pixels(self, selector):
        """A picture's pixels, `[H, W, 4]`."""
        data = self.tab.get_attribute(selector, "src").split(",", 1)[1]
        return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))

    def fits(self):
        inner, content = self.tab.evaluate(
            "[document.documentElement.clientWidth, document.documentElement.scrollWidth]"
        )
        return content <= inner


@pytest.fixture(scope="module")
def visitor(browser, server):
    """One browser's window: what it loaded once it does not compile again."""
    opened = Page(browser, server)
    yield opened
    opened.context.close()


@pytest.fixture
def page(visitor, request):
    return visitor.fresh(getattr(request, "param", 1280))


def test_a_prompt_gives_the_picture_that_generate_gives_and_its_curves(page):
    page.fast()
    page.ask(PROMPT)
    page.done()
    assert page.tab.locator(".sp-side").count() == 2
    for strategy in ("scalingar", "best-of-n"):
        side = f'.sp-side[data-strategy="{strategy}"]'
        expected = sar.generate(PROMPT, strategy=strategy, n=4, seed=0)
        assert page.tab.locator(f"{side} .sp-tile").count() == 4
        framed = page.tab.locator(f"{side} .sp-tile.sp-answer")
        assert framed.get_attribute("data-candidate") == str(expected.answer.id)
        picture = page.pixels(f"{side} .sp-lead.sp-answer img")
        assert (picture[..., :3] == expected.pixels).all() and (picture[..., 3] == 255).all()
        for candidate in expected.candidates:
            tile = page.tab.locator(f'{side} .sp-tile[data-candidate="{candidate.id}"]')
            ended = f"pruned at {len(candidate.tokens)}"
            assert (ended in tile.inner_text()) == (not candidate.completed)
            if not candidate.completed:
                assert " ".join(candidate.reason.split()) in tile.text_content()
    curves = '.sp-side[data-strategy="scalingar"] polyline'
    assert page.tab.locator(f"{curves}[data-candidate]").count() == 4
    assert page.tab.locator(f"{curves}.sp-best").count() == 1
    assert "kept from 4 candidates" in page.message()
    assert page.complaints == []
    if folder := os.environ.get("SCALINGAR_SCREENSHOTS"):
        shot = PIL.Image.open(io.BytesIO(page.tab.screenshot())).convert("RGB")
        shot.quantize(128, dither=PIL.Image.Dither.NONE).save(
            Path(folder) / "playground.png", optimize=True
        )


def test_candidates_grow_cell_by_cell_while_one_watches(page):
    page.alone()
    page.tab.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => {
            const side = document.querySelector(".sp-side");
            if (side) window.seen.push([+side.dataset.steps,
              side.querySelector(".sp-counts").textContent,
              side.querySelector("polyline")?.getAttribute("points").split(" ").length ?? 0]);
          }).observe(document.getElementById("sp-stage"), {childList: true, subtree: true});
        }"""
    )
    page.ask(PROMPT, n=2)
    page.tab.wait_for_function("window.seen.some(([step]) => step > 4)")
    image = page.pixels(".sp-tile img")
    page.done()
    seen = page.tab.evaluate("window.seen")
    steps = [step for step, _, _ in seen]
    total = sar.generate(PROMPT, strategy="base", n=1).grid.size
    assert steps == sorted(steps) and len(set(steps)) >= 5 and steps[-1] == total
    assert 0 < (image[..., 3] == 255).mean() <= 1
    assert all(points <= step for step, _, points in seen)
    assert any(f"token {step} of {total}, 2 of 2 alive" in text for step, text, _ in seen)


def test_a_wrong_word_gives_the_message_and_takes_nothing_away(page):
    page.fast()
    page.alone()
    page.ask(PROMPT, n=1)
    page.done()
    page.ask("a zirkle", n=1)
    page.tab.wait_for_selector('[role="alert"]')
    assert "unknown word 'zirkle'" in page.message()
    assert page.tab.locator(".sp-tile.sp-answer").count() == 1
    assert page.tab.locator(".sp-report a").count() == 1
    assert PROMPT in page.tab.inner_text("#sp-command")
    page.ask("a circle", n=1)
    page.tab.wait_for_function("!document.querySelector('[role=alert]')")
    page.done()


def test_stop_ends_it_where_it_is(page):
    page.alone()
    page.ask(PROMPT, n=2)
    page.tab.wait_for_selector('.sp-side:not([data-steps="0"])')
    page.tab.click("#sp-stop")
    page.tab.wait_for_function(
        "/Stopped at token/.test(document.getElementById('sp-message').innerText)"
    )
    at = int(re.search(r"Stopped at token (\d+)", page.message())[1])
    assert 0 < at < sar.generate(PROMPT, strategy="base", n=1).grid.size
    assert page.tab.locator(".sp-tile.sp-answer").count() == 0
    assert page.tab.locator(".sp-report a").count() == 0


def test_the_next_seed_is_another_picture_and_the_command_says_which(page):
    page.fast()
    page.alone()
    page.ask(PROMPT, n=1)
    page.done()
    first = page.pixels(".sp-lead img")
    page.tab.click("#sp-next")
    page.tab.wait_for_function("/--seed 1/.test(document.getElementById('sp-command').innerText)")
    page.done()
    assert page.tab.input_value("#sp-seed input") == "1"
    assert "seed=1" in page.tab.inner_text("#sp-python")
    assert (page.pixels(".sp-lead img") != first).any()


@pytest.mark.parametrize("page", [390], indirect=True)
def test_a_phone_shows_all_of_it_without_scrolling_sideways(page):
    assert page.fits()
    page.fast()
    page.ask(PROMPT, n=3)
    page.done()
    assert page.fits()
    boxes = [page.tab.locator(".sp-tile").nth(i).bounding_box() for i in range(6)]
    assert all(b["x"] >= 0 and b["x"] + b["width"] <= 390 and b["width"] >= 80 for b in boxes)
    plot = page.tab.locator(".sp-plot").first.bounding_box()
    assert plot["width"] >= 120 and plot["x"] + plot["width"] <= 390


def test_the_keyboard_alone_is_enough(page):
    def tab_to(selector):
        for _ in range(60):
            if page.tab.evaluate("s => document.activeElement.matches(s)", selector):
                return
            page.tab.keyboard.press("Tab")
        raise AssertionError(f"no way to {selector}")

    page.tab.evaluate("document.activeElement.blur()")
    tab_to("#sp-prompt input, #sp-prompt textarea")
    page.tab.keyboard.press("Control+A")
    page.tab.keyboard.type("a blue square")
    tab_to("#sp-second input")
    page.tab.keyboard.press("Control+A")
    page.tab.keyboard.type("nobody")
    page.tab.get_by_role("option", name="nobody").wait_for()
    page.tab.keyboard.press("Enter")
    page.tab.get_by_role("option", name="nobody").wait_for(state="hidden")
    assert page.tab.input_value("#sp-second input") == "nobody"
    tab_to("#sp-n input[type=number]")
    page.tab.keyboard.press("Control+A")
    page.tab.keyboard.type("2")
    tab_to("#sp-pace input")
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("Shift+Tab")
    for _ in range(60):
        if page.tab.evaluate("document.activeElement.id") == "sp-go":
            break
        page.tab.keyboard.press("Shift+Tab")
    page.tab.keyboard.press("Enter")
    page.done()
    assert "scalingar generate 'a blue square'" in page.tab.inner_text("#sp-command")
    assert page.tab.locator(".sp-side").count() == 1 and page.tab.locator(".sp-tile").count() == 2
    tab_to(".sp-report a")
    with page.context.expect_page() as opened:
        page.tab.keyboard.press("Enter")
    opened.value.wait_for_load_state()
    assert "scalingar report" in opened.value.title()
    assert "a blue square" in opened.value.inner_text("body")


def test_nobody_else_is_asked_for_anything(page, server):
    """Neither by the browser (letters, scripts, pictures) nor by the server (telemetry, versions)."""
    page.fast()
    page.ask(PROMPT, n=1)
    page.done()
    with page.context.expect_page() as report:
        page.tab.click(".sp-report a")
    report.value.wait_for_load_state()
    others = [u for u in page.requests if not u.startswith((server.address, "data:", "blob:"))]
    assert others == [] and len(page.requests) > 20
    assert page.complaints == []
    asked = [line for line in server.noted.read_text().splitlines() if "127.0.0.1" not in line]
    assert asked == []
