"use strict";
// The time-travel viewer: one number, the step, decides what every view shows. `step` counts the
// tokens decoded so far, from 0 to T.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const travel = document.getElementById("travel");
  if (!travel || !data.examples.length) return;
  const by = (id) => document.getElementById(id);
  const slider = by("step");
  const SVG = "http://www.w3.org/2000/svg";
  const END = ["pruned", "dropped", "out of budget"];
  let example, place, maps, chart;
  let timer = null;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const make = (parent, name, attributes = {}, text = "") => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    parent.append(node);
    return node;
  };
  const kindOf = (c) => (c.chosen ? "answer" : c.status === "completed" ? "other" : "ended");

  // --- the confidence curves ---------------------------------------------------------------
  function drawChart() {
    const box = by("chart");
    box.replaceChildren();
    chart = null;
    const known = [...example.candidates.flatMap((c) => c.confidence), ...example.threshold]
      .filter((v) => v !== null);
    if (!example.candidates.some((c) => c.confidence.length)) {
      box.textContent = "This strategy estimates no confidence.";
      return;
    }
    const width = Math.max(280, box.clientWidth);
    const height = width < 560 ? 210 : 260;
    const left = 40, right = 8, top = 8, bottom = 34;
    let low = Math.min(...known), high = Math.max(...known);
    const pad = 0.06 * (high - low || 1);
    low -= pad;
    high += pad;
    const x = (step) => left + ((width - left - right) * step) / example.total;
    const y = (value) => top + ((height - top - bottom) * (high - value)) / (high - low);
    const svg = make(box, "svg", {
      viewBox: `0 0 ${width} ${height}`, height, role: "img",
      "aria-label": "Confidence of each candidate over the steps, with the threshold and events",
    });
    const clip = make(make(svg, "clipPath", { id: "past" }), "rect", { x: 0, y: 0, height, width: 0 });
    const power = 10 ** Math.floor(Math.log10((high - low) / 4));
    const rise = [1, 2, 5, 10].map((m) => m * power).find((r) => (high - low) / r <= 6);
    const digits = Math.max(0, -Math.floor(Math.log10(rise) + 1e-9));
    for (let i = Math.ceil(low / rise); i * rise <= high; i++) {
      const value = i * rise;
      make(svg, "line", { class: "gridline", x1: left, x2: width - right, y1: y(value), y2: y(value) });
      make(svg, "text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(digits));
    }
    const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((e) => example.total / e <= 8) || 2000;
    for (let step = 0; step <= example.total; step += every) {
      make(svg, "text", { x: x(step), y: height - bottom + 15, "text-anchor": "middle" }, String(step));
    }
    make(svg, "text", { x: (left + width) / 2, y: height - 3, "text-anchor": "middle" },
      "step (image token); vertical: confidence C");
    const line = (values, from) => {
      let d = "", pen = "M";
      values.forEach((value, i) => {
        if (value === null || i < from) { pen = "M"; return; }
        d += `${pen}${x(i + 1).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = "L";
      });
      return d;
    };
    const order = { other: 0, ended: 1, answer: 2 };
    const curves = example.candidates
      .map((c) => [kindOf(c), line(c.confidence, c.chosen ? 0 : c.from)])
      .sort((a, b) => order[a[0]] - order[b[0]]);
    curves.push(["threshold", line(example.threshold, 0)]);
    const ahead = make(svg, "g", { class: "ahead" });
    const past = make(svg, "g", { "clip-path": "url(#past)" });
    for (const [kind, d] of curves) {
      for (const group of [ahead, past]) make(group, "path", { class: `curve ${kind}`, d });
    }
    const marks = [];
    for (const event of example.events) {
      const c = example.candidates.find((other) => other.id === event.candidate);
      const value = c.confidence[event.step - 1];
      const end = END.includes(event.kind);
      if (value === undefined || value === null || (!end && !["flagged", "recovered"].includes(event.kind))) continue;
      const cx = x(event.step), cy = y(value), r = 4.2;
      const d = end
        ? `M${cx - r} ${cy - r}L${cx + r} ${cy + r}M${cx - r} ${cy + r}L${cx + r} ${cy - r}`
        : event.kind === "flagged"
          ? `M${cx - r} ${cy - r}L${cx + r} ${cy - r}L${cx} ${cy + r}Z`
          : `M${cx - r} ${cy + r}L${cx + r} ${cy + r}L${cx} ${cy - r}Z`;
      const mark = make(svg, "path", { class: `event ${end ? "end" : event.kind}`, d });
      make(mark, "title", {}, `#${c.id} ${event.kind} at ${event.step}`);
      marks.push([event.step, mark]);
    }
    const cursor = make(svg, "line", { class: "cursor", y1: top, y2: height - bottom });
    chart = { x, clip, cursor, marks, width };
  }

  function moveChart(step) {
    if (!chart) return;
    const at = chart.x(step);
    chart.clip.setAttribute("width", at + 0.5);
    chart.cursor.setAttribute("x1", at);
    chart.cursor.setAttribute("x2", at);
    chart.cursor.dataset.step = step;
    for (const [when, mark] of chart.marks) mark.classList.toggle("later", when > step);
  }

  // --- the token grids ---------------------------------------------------------------------
  function drawGrids() {
    by("grids").replaceChildren();
    const cell = Math.max(4, Math.floor(192 / example.cols));
    maps = example.candidates.map((c) => {
      const figure = document.createElement("figure");
      figure.className = kindOf(c);
      const canvas = document.createElement("canvas");
      canvas.width = cell * example.cols;
      canvas.height = cell * example.rows;
      canvas.setAttribute("role", "img");
      const caption = document.createElement("figcaption");
      figure.append(canvas, caption);
      by("grids").append(figure);
      const values = Object.fromEntries(Object.entries(c.maps).map(([k, v]) => [k, bytes(v)]));
      return { c, figure, canvas, caption, values, image: by(`image-${place}-${c.id}`) };
    });
  }

  function moveGrids(step) {
    const name = by("map").value, mode = by("mode").value;
    const scale = example.maps[name];
    for (const { c, figure, canvas, caption, values, image } of maps) {
      const filled = Math.min(step, c.length);
      const w = canvas.width / example.cols, h = canvas.height / example.rows;
      const row = Math.floor(filled / example.cols), col = filled % example.cols;
      const paint = canvas.getContext("2d");
      paint.clearRect(0, 0, canvas.width, canvas.height);
      const pictured = image && image.complete && image.naturalWidth > 0 && mode !== "map";
      if (pictured) {
        paint.save();
        paint.beginPath();
        paint.rect(0, 0, canvas.width, row * h);
        paint.rect(0, row * h, col * w, h);
        paint.clip();
        paint.imageSmoothingEnabled = image.naturalWidth > canvas.width;
        paint.drawImage(image, 0, 0, canvas.width, canvas.height);
        paint.restore();
      }
      if (scale && values[name] && (mode !== "image" || !pictured)) {
        paint.globalAlpha = pictured ? 0.6 : 1;
        for (let i = 0; i < filled; i++) {
          const level = scale.reversed ? 255 - values[name][i] : values[name][i];
          paint.fillStyle = data.colours[Math.round((level / 255) * (data.colours.length - 1))];
          paint.fillRect((i % example.cols) * w, Math.floor(i / example.cols) * h, w, h);
        }
        paint.globalAlpha = 1;
      }
      if (filled > 0 && step <= c.length) {
        paint.strokeStyle = "#d55e00";
        paint.lineWidth = Math.max(2, w / 6);
        const last = filled - 1;
        paint.strokeRect((last % example.cols) * w + 1, Math.floor(last / example.cols) * h + 1, w - 2, h - 2);
      }
      const over = c.status !== "completed" && step >= c.length;
      const value = filled ? c.confidence[filled - 1] : null;
      const words = [`#${c.id}${c.chosen ? " answer" : ""}`];
      words.push(over ? `${c.status} at ${c.length}` : `${filled} of ${example.total}`);
      if (value !== null && value !== undefined) words.push(`C ${value.toFixed(3)}`);
      if (c.score !== null && step >= example.total) words.push(c.score > 0.5 ? "correct" : "incorrect");
      caption.textContent = words.join(", ");
      figure.classList.toggle("ended", over);
      canvas.dataset.filled = filled;
      canvas.setAttribute("aria-label", `Token grid of candidate ${words.join(", ")}`);
    }
  }

  function drawScale() {
    const scale = example.maps[by("map").value];
    by("scale").replaceChildren();
    if (!scale) return;
    const bar = document.createElement("i");
    const list = scale.reversed ? [...data.colours].reverse() : data.colours;
    bar.style.background = `linear-gradient(to right, ${list.join(",")})`;
    by("scale").append(`${scale.label}: ${scale.low.toFixed(2)}`, bar, scale.high.toFixed(2));
  }

  // --- what happened, and the slider -------------------------------------------------------
  function moveEvents(step) {
    const so_far = example.events.filter((e) => e.step <= step);
    by("events").replaceChildren(...so_far.reverse().map((e) => {
      const item = document.createElement("li");
      item.textContent = `${e.step}: #${e.candidate} ${e.kind}. ${e.text}`;
      item.classList.toggle("now", e.step === step);
      return item;
    }));
    const live = example.candidates.filter((c) => step < c.length && step >= c.from).length;
    const tokens = example.candidates.reduce((sum, c) => sum + Math.max(0, Math.min(step, c.length) - c.from), 0);
    const text = `Token ${step} of ${example.total}: ${live} live, ${tokens} tokens so far`;
    by("status").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }

  function go(step) {
    const at = Math.max(0, Math.min(example.total, Math.round(step)));
    slider.value = String(at);
    moveChart(at);
    moveGrids(at);
    moveEvents(at);
  }

  function toEvent(direction) {
    const now = Number(slider.value);
    const steps = example.events.map((e) => e.step).filter((s) => (s - now) * direction > 0);
    if (steps.length) go(direction > 0 ? Math.min(...steps) : Math.max(...steps));
    else go(direction > 0 ? example.total : 0);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    by("play").setAttribute("aria-pressed", "false");
    by("play").textContent = "Play";
  }

  function play() {
    if (timer !== null) return stop();
    if (Number(slider.value) >= example.total) go(0);
    by("play").setAttribute("aria-pressed", "true");
    by("play").textContent = "Pause";
    const stride = Math.max(1, Math.round(example.total / 144));
    timer = setInterval(() => {
      if (Number(slider.value) >= example.total) stop();
      else go(Number(slider.value) + stride);
    }, 80);
  }

  function choose(number, step) {
    stop();
    place = number;
    example = data.examples.find((e) => e.place === number);
    by("example").value = String(number);
    const before = by("map").value;
    by("map").replaceChildren(...Object.entries(example.maps).map(([name, scale]) => {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = scale.label;
      return option;
    }));
    if (example.maps[before]) by("map").value = before;
    slider.max = String(example.total);
    drawChart();
    drawGrids();
    drawScale();
    go(step === undefined ? example.total : step);
    // Images far down the page may not be decoded yet.
    const images = maps.map((m) => m.image).filter(Boolean);
    Promise.allSettled(images.map((image) => image.decode())).then(() => {
      if (place === number) moveGrids(Number(slider.value));
    });
  }

  travel.hidden = false;
  slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
  by("example").addEventListener("change", (e) => choose(Number(e.target.value)));
  by("map").addEventListener("change", () => { drawScale(); moveGrids(Number(slider.value)); });
  by("mode").addEventListener("change", () => moveGrids(Number(slider.value)));
  by("play").addEventListener("click", play);
  by("back").addEventListener("click", () => { stop(); toEvent(-1); });
  by("forth").addEventListener("click", () => { stop(); toEvent(1); });
  for (const button of document.querySelectorAll("button.open")) {
    button.addEventListener("click", () => {
      choose(Number(button.dataset.example), 0);
      by("viewer").scrollIntoView();
      slider.focus({ preventScroll: true });
    });
  }
  let width = 0;
  new ResizeObserver(() => {
    const now = by("chart").clientWidth;
    if (now && now !== width) {
      width = now;
      drawChart();
      moveChart(Number(slider.value));
    }
  }).observe(by("chart"));
  choose(data.examples[0].place);
})();
