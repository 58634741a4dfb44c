"use strict";
// The time-travel viewer: one number, the step, decides what every view shows. `step` counts the
// tokens decoded so far, from 0 to T.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  theme();
  const travel = document.getElementById("travel");
  if (!travel || !data.examples.length) return;
  const by = (id) => document.getElementById(id);
  const slider = by("step");
  const SVG = "http://www.w3.org/2000/svg";
  const END = ["pruned", "dropped", "out of budget"];
  let example, place, maps, chart;
  let timer = null;
  let picked = null; // a candidate's id
  let hovered = null; // [candidate, cell]

  // The reader's choice goes before the system's; a page on disk keeps nothing between two visits.
  function theme() {
    const button = document.getElementById("theme");
    const root = document.documentElement;
    let dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const say = () => { button.textContent = dark ? "Light" : "Dark"; };
    button.hidden = false;
    button.addEventListener("click", () => {
      dark = !dark;
      root.dataset.theme = dark ? "dark" : "light";
      say();
    });
    say();
  }

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const words = (packed) => {
    if (!packed) return null;
    const view = new DataView(bytes(packed.data).buffer);
    const read = packed.size === 2 ? "getUint16" : "getUint32";
    return Array.from({ length: view.byteLength / packed.size }, (_, i) => view[read](i * packed.size, true));
  };
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
      .map((c) => [kindOf(c), line(c.confidence, c.chosen ? 0 : c.from), c.id])
      .sort((a, b) => order[a[0]] - order[b[0]]);
    curves.push(["threshold", line(example.threshold, 0), ""]);
    const ahead = make(svg, "g", { class: "ahead" });
    const past = make(svg, "g", { "clip-path": "url(#past)" });
    for (const [kind, d, id] of curves) {
      for (const group of [ahead, past]) make(group, "path", { class: `curve ${kind}`, d, "data-candidate": id });
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
      const caption = document.createElement("button");
      caption.type = "button";
      const below = document.createElement("figcaption");
      below.append(caption);
      figure.append(canvas, below);
      by("grids").append(figure);
      const values = Object.fromEntries(Object.entries(c.maps).map(([k, v]) => [k, bytes(v)]));
      const map = {
        c, figure, canvas, caption, values, tokens: words(c.tokens), drawn: words(c.probability),
        image: by(`image-${place}-${c.id}`),
      };
      caption.addEventListener("click", () => pick(picked === c.id ? null : c.id));
      canvas.addEventListener("pointermove", (e) => hover(map, e));
      canvas.addEventListener("pointerleave", () => { hovered = null; tellCell(); });
      canvas.addEventListener("click", (e) => { hover(map, e); pick(c.id); });
      return map;
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
      const said = [`#${c.id}${c.chosen ? " answer" : ""}`];
      said.push(over ? `${c.status} at ${c.length}` : `${filled} of ${example.total}`);
      if (value !== null && value !== undefined) said.push(`C ${value.toFixed(3)}`);
      if (c.score !== null && step >= example.total) said.push(c.score > 0.5 ? "correct" : "incorrect");
      caption.textContent = said.join(", ");
      figure.classList.toggle("ended", over);
      canvas.dataset.filled = filled;
      canvas.setAttribute("aria-label", `Token grid of candidate ${said.join(", ")}`);
    }
  }

  // --- one cell, and one candidate ----------------------------------------------------------
  function hover(map, event) {
    const box = map.canvas.getBoundingClientRect();
    const edge = map.canvas.clientLeft;
    const share = (at, from, size) => (at - from - edge) / (size - 2 * edge);
    const col = Math.floor(share(event.clientX, box.left, box.width) * example.cols);
    const row = Math.floor(share(event.clientY, box.top, box.height) * example.rows);
    const inside = col >= 0 && row >= 0 && col < example.cols && row < example.rows;
    hovered = inside ? [map, row * example.cols + col] : null;
    tellCell();
  }

  function tellCell() {
    const step = Number(slider.value);
    const own = maps.find((m) => m.c.id === picked);
    const at = hovered || (own && step > 0 ? [own, Math.min(step, own.c.length) - 1] : null);
    if (!at) {
      by("cell").textContent = "Point at a cell or choose a candidate to read token, probability and signals.";
      return;
    }
    const [map, cell] = at;
    const where = `#${map.c.id}, token ${cell + 1} (row ${Math.floor(cell / example.cols) + 1}, `
      + `column ${(cell % example.cols) + 1})`;
    if (cell >= map.c.length) {
      by("cell").textContent = `${where}: never decoded, ${map.c.status} at ${map.c.length}.`;
      return;
    }
    const facts = [`id ${map.tokens[cell]}`];
    if (map.drawn) {
      const p = map.drawn[cell] / 65535;
      facts.push(p < 0.0005 ? "probability below 0.001" : `probability ${p.toFixed(3)}`);
    }
    for (const [name, scale] of Object.entries(example.maps)) {
      if (!map.values[name]) continue;
      const value = scale.low + (map.values[name][cell] / 255) * (scale.high - scale.low);
      facts.push(`${scale.label} ${value.toFixed(2)}`);
    }
    const c = map.c.confidence[cell];
    if (c !== null && c !== undefined) facts.push(`confidence ${c.toFixed(3)}`);
    by("cell").textContent = `${where}: ${facts.join(", ")}.`;
  }

  function pick(id) {
    picked = id;
    markPicked();
    tellCell();
    link();
  }

  function markPicked() {
    for (const { c, figure, caption } of maps) {
      figure.classList.toggle("picked", c.id === picked);
      caption.setAttribute("aria-pressed", String(c.id === picked));
    }
    for (const path of document.querySelectorAll("#chart .curve")) {
      path.classList.toggle("picked", path.dataset.candidate === String(picked));
    }
  }

  // Which candidates are shown, in which order; both may depend on the step.
  function arrange(step) {
    const only = by("only").value, order = by("order").value;
    const wanted = {
      all: () => true,
      completed: (c) => c.status === "completed",
      ended: (c) => c.status !== "completed",
      live: (c) => step < c.length,
      correct: (c) => c.score !== null && c.score > 0.5,
      incorrect: (c) => c.score !== null && c.score <= 0.5,
    }[only];
    const here = (c) => c.confidence[Math.min(step, c.length) - 1] ?? -Infinity;
    const key = { id: () => 0, confidence: (c) => -here(c), length: (c) => -c.length }[order];
    const sorted = [...maps].sort((a, b) => (key(a.c) - key(b.c)) || a.c.id - b.c.id);
    for (const { c, figure } of maps) figure.hidden = !wanted(c);
    by("none").hidden = maps.some((m) => !m.figure.hidden);
    const box = by("grids");
    if (sorted.some((m, i) => box.children[i] !== m.figure)) box.append(...sorted.map((m) => m.figure));
  }

  // --- the address: #prompt=0&candidate=3&step=41 --------------------------------------------
  let pending = null;
  function link() {
    // Browsers refuse an address that changes many times a second.
    clearTimeout(pending);
    pending = setTimeout(() => {
      const parts = [`prompt=${place}`];
      if (picked !== null) parts.push(`candidate=${picked}`);
      parts.push(`step=${slider.value}`);
      try { history.replaceState(null, "", `#${parts.join("&")}`); } catch { /* the page works without */ }
    }, 250);
  }

  function follow() {
    const given = new URLSearchParams(location.hash.slice(1));
    const read = (name) => (/^\d+$/.test(given.get(name) ?? "") ? Number(given.get(name)) : undefined);
    const number = read("prompt"), candidate = read("candidate"), step = read("step");
    if (number === undefined && candidate === undefined && step === undefined) return false;
    const known = data.examples.some((e) => e.place === number);
    const target = known ? number : place ?? data.open;
    stop();
    if (target !== place) choose(target, step);
    else if (step !== undefined) go(step);
    if (example.candidates.some((c) => c.id === candidate)) pick(candidate);
    by("viewer").scrollIntoView();
    return true;
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
    arrange(at);
    moveEvents(at);
    tellCell();
    if (timer === null) link();
  }

  function toEvent(direction) {
    const now = Number(slider.value);
    const steps = example.events.map((e) => e.step).filter((s) => (s - now) * direction > 0);
    if (steps.length) go(direction > 0 ? Math.min(...steps) : Math.max(...steps));
    else go(direction > 0 ? example.total : 0);
  }

  function stop() {
    clearInterval(timer);
    if (timer !== null) link();
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
    picked = hovered = null;
    example = data.examples.find((e) => e.place === number);
    const judged = example.candidates.some((c) => c.score !== null);
    for (const option of by("only").options) {
      option.hidden = option.disabled = !judged && ["correct", "incorrect"].includes(option.value);
    }
    if (by("only").selectedOptions[0].disabled) by("only").value = "all";
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
    markPicked();
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
  for (const id of ["only", "order"]) by(id).addEventListener("change", () => arrange(Number(slider.value)));
  addEventListener("hashchange", follow);
  for (const anchor of document.querySelectorAll("a.deep")) {
    // Also where the address says already what the link does.
    anchor.addEventListener("click", () => setTimeout(follow));
  }
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.altKey || e.metaKey || e.target.closest("input, select, textarea, pre, .scroll")) return;
    const now = Number(slider.value), way = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (way) {
      stop();
      if (e.shiftKey) toEvent(way);
      else go(now + way);
    } else if (e.key === "c") {
      const shown = [...by("grids").children].filter((f) => !f.hidden).map((f) => maps.find((m) => m.figure === f).c.id);
      pick(shown[(shown.indexOf(picked) + 1) % shown.length] ?? null);
    } else if (e.key === "p") play();
    else return;
    e.preventDefault();
  });
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
      markPicked();
    }
  }).observe(by("chart"));
  if (!follow()) choose(data.open);
})();
