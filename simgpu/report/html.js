"use strict";
const $$ = (node, what) => [...node.querySelectorAll(what)];

// ---- the pointer's label: what an element says of itself, or the kernel's row in the table
const tip = document.getElementById("tip");
function rowOf(node) {
  const home = node.closest("details.run, main");
  return home.querySelector(`tr[data-k="${node.dataset.k}"]`);
}
function said(node) {
  if (node.dataset.t) return node.dataset.t;
  if (node.dataset.n) return node.dataset.n;
  const row = rowOf(node);
  if (!row) return "one of the shortest kernels";
  const heads = $$(row.closest("table"), "th");
  const cells = [...row.cells].map((cell) => cell.textContent);
  const lines = cells.map((text, i) => [heads[i].textContent, text]).slice(3).filter(([, text]) => text && text !== "–");
  return [cells[1], cells[2], ...lines.map(([head, text]) => `${head}: ${text}`)].join("\n");
}
function show(event) {
  const node = event.target.closest?.("[data-t], .view [data-k], .view [data-n]");
  $$(document, "rect.on").forEach((rect) => rect.classList.remove("on"));
  tip.hidden = !node;
  if (!node) return;
  if (node.dataset.k) $$(node.closest(".view"), `rect[data-k="${node.dataset.k}"]`).forEach((rect) => rect.classList.add("on"));
  tip.textContent = said(node);
  const [w, h] = [tip.offsetWidth, tip.offsetHeight];
  const x = Math.min(Math.max(8, event.clientX + 14), innerWidth - w - 8);
  const y = event.clientY + 18 + h < innerHeight ? event.clientY + 18 : Math.max(8, event.clientY - h - 14);
  tip.style.transform = `translate(${x}px,${y}px)`;
}
document.addEventListener("pointermove", (event) => event.pointerType === "mouse" && !event.buttons && show(event));
document.addEventListener("click", show);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });

// ---- timelines: the part shown is [from, to] of 1e6; the view box zooms, names and ticks are written over it
const UNITS = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]];
function timeline(figure) {
  const [view, grid, labels, ticks] = [".view", ".grid", ".labels", ".ticks"].map((what) => figure.querySelector(what));
  const svg = view.querySelector("svg"), output = figure.querySelector("output");
  const all = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height, length = +figure.dataset.length;
  const bars = $$(svg, ".sections rect, .stream rect, .host [data-n]").map((rect) => ({
    rect, x: rect.x.baseVal.value, width: rect.width.baseVal.value, height: rect.height.baseVal.value,
    top: rect.parentNode.transform.baseVal.consolidate()?.matrix.f ?? 0,
  }));
  let from = 0, to = all, asked = false;
  function draw() {
    asked = false;
    const width = view.clientWidth;
    if (!width) return;
    const scale = width / (to - from);
    svg.setAttribute("viewBox", `${from} 0 ${to - from} ${height}`);
    view.classList.toggle("near", to - from < all / 4);
    const [unit, name] = UNITS.find(([size]) => length * (to - from) / all >= 2 * size) ?? UNITS[2];
    const second = length / all / unit, rough = (to - from) * second / Math.max(2, width / 110);
    const power = 10 ** Math.floor(Math.log10(rough)), step = power * [1, 2, 5, 10].find((n) => n * power >= rough);
    const marks = [], lines = [];
    for (let n = Math.ceil(from * second / step); n * step <= to * second; n++) {
      const x = (n * step / second - from) * scale;
      const digits = Math.max(0, -Math.floor(Math.log10(step)));
      if (x > 14 && x < width - 22) marks.push(piece("span", `left:${x}px`, `${(n * step).toFixed(digits)} ${name}`));
      lines.push(piece("i", `left:${x}px`));
    }
    ticks.replaceChildren(...marks);
    const names = [];
    for (const bar of bars) {
      const left = Math.max(0, (bar.x - from) * scale), right = Math.min(width, (bar.x + bar.width - from) * scale);
      if (right - left < 26 || names.length > 400) continue;
      const text = bar.rect.dataset.n ?? rowOf(bar.rect)?.cells[1].textContent;
      if (!text) continue;
      const fits = Math.floor((right - left - 8) / 6.6);
      const parts = text.split(".");
      while (parts.length > 1 && parts.join(".").length > fits) parts.shift();
      if (parts.join(".").length > fits + 6 && fits < 5) continue;
      const label = piece("span", `left:${left}px;width:${right - left}px;top:${bar.top}px;line-height:${bar.height}px`, parts.join("."));
      label.className = bar.rect.getAttribute("class") ?? "";
      names.push(label);
    }
    grid.replaceChildren(...lines);
    labels.replaceChildren(...names);
    const places = Math.max(0, 2 - Math.floor(Math.log10((to - from) * second)));
    output.textContent = `${(from * second).toFixed(places)} – ${(to * second).toFixed(places)} ${name}`;
  }
  function look(start, width) {
    width = Math.min(all, Math.max(all / 2e4, width));
    from = Math.min(all - width, Math.max(0, start));
    to = from + width;
    if (!asked) requestAnimationFrame(draw);
    asked = true;
  }
  function zoom(factor, at = (from + to) / 2) { look(at - (at - from) * factor, (to - from) * factor); }
  const place = (event) => from + (event.clientX - view.getBoundingClientRect().left) / view.clientWidth * (to - from);
  const acts = { in: () => zoom(1 / 2), out: () => zoom(2), left: () => look(from - (to - from) / 3, to - from), right: () => look(from + (to - from) / 3, to - from), all: () => look(0, all) };
  figure.addEventListener("click", (event) => acts[event.target.dataset.do]?.());
  const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all" };
  view.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[keys[event.key]]();
  });
  view.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 120), place(event));
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) look(from + event.deltaX / view.clientWidth * (to - from), to - from);
    else return;
    event.preventDefault();
  }, { passive: false });
  const held = new Map();
  let moved = 0;
  view.addEventListener("pointerdown", (event) => { held.set(event.pointerId, event.clientX); if (held.size === 1) moved = 0; });
  view.addEventListener("pointermove", (event) => {
    if (!held.has(event.pointerId)) return;
    const before = [...held.values()];
    held.set(event.pointerId, event.clientX);
    const after = [...held.values()], middle = (xs) => xs.reduce((a, b) => a + b) / xs.length;
    moved += Math.abs(middle(after) - middle(before)) + (held.size > 1 ? 9 : 0);
    if (moved < 4) return;
    if (!view.hasPointerCapture(event.pointerId)) view.setPointerCapture(event.pointerId);
    view.classList.add("held");
    tip.hidden = true;
    look(from - (middle(after) - middle(before)) / view.clientWidth * (to - from), to - from);
    const spread = (xs) => Math.max(24, Math.abs(xs[0] - xs[1]));
    if (held.size === 2) zoom(spread(before) / spread(after), place({ clientX: middle(after) }));
  });
  const drop = (event) => { held.delete(event.pointerId); if (!held.size) view.classList.remove("held"); };
  view.addEventListener("pointerup", drop);
  view.addEventListener("pointercancel", drop);
  view.addEventListener("dblclick", (event) => zoom(1 / 4, place(event)));
  view.addEventListener("click", (event) => {
    const row = event.target.dataset.k && moved < 4 && rowOf(event.target);
    if (!row) return;
    $$(row.parentNode, ".on").forEach((other) => other.classList.remove("on"));
    row.classList.add("on");
    const box = row.closest(".scroll");
    box.scrollTop = row.offsetTop - box.clientHeight / 2;
  });
  new ResizeObserver(() => look(from, to - from)).observe(view);
}
function piece(kind, style, text = "") {
  const node = document.createElement(kind);
  node.style.cssText = style;
  node.textContent = text;
  return node;
}

// ---- kernel tables: a click on a column's head sorts, words in the field select
function finder(box) {
  const body = box.querySelector("tbody"), heads = $$(box, "th"), output = box.querySelector("output"), field = box.querySelector("input");
  const rows = [...body.rows], text = rows.map((row) => row.textContent.toLowerCase()), share = rows.map((row) => parseFloat(row.cells[4].textContent) || 0);
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const number = head.classList.contains("n");
    const was = head.getAttribute("aria-sort"), down = was ? was === "ascending" : number && column > 0;
    const key = new Map(rows.map((row) => [row, number ? parseFloat(row.cells[column].textContent) : row.cells[column].textContent]));
    const order = number ? (a, b) => (isNaN(a) ? -1 : a) - (isNaN(b) ? -1 : b) : (a, b) => a.localeCompare(b, "en", { numeric: true });
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...[...rows].sort((a, b) => (down ? -1 : 1) * order(key.get(a), key.get(b))));
  }));
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0, sum = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => text[i].includes(word));
      if (!row.hidden) { count++; sum += share[i]; }
    });
    const of = `${rows.length.toLocaleString("en")} kernels`;
    output.textContent = words.length ? `${count.toLocaleString("en")} of ${of}, ${sum.toFixed(1)} % of the time` : of;
  });
}
$$(document, ".timeline").forEach(timeline);
$$(document, ".finder").forEach(finder);
