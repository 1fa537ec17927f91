// The scatter plot and the parallel coordinates.
// ---------------------------------------------------------------- colours
// Okabe and Ito's colours, in the dark lighter ones of the same hues
const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c00", "#777777"];
const DARK = ["#4aa3e0", "#ff8a3c", "#2fc492", "#e3a0c4", "#f5c04d", "#9ad6f7", "#c9c94a", "#b0b0b0"];
const night = matchMedia("(prefers-color-scheme: dark)");
const palette = () => (night.matches ? DARK : LIGHT);
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis
function ramp(share) {
  const p = Math.min(0.9999, Math.max(0, share)) * (RAMP.length - 1), i = Math.floor(p);
  return `rgb(${RAMP[i].map((v, k) => Math.round(v + (RAMP[i + 1][k] - v) * (p - i))).join(",")})`;
}
function colouring() {
  const column = columns.get(view.colour);
  if (!column || view.colour === "front") {
    const plain = style("--point"), front = style("--front");
    return (i) => (onFront(i) ? front : plain);
  }
  const colours = palette();
  if (column.parameter && column.levels.length <= colours.length)
    return (i) => (column.index[i] < 0 ? "#888" : colours[column.index[i]]);
  const map = column.log ? Math.log : (v) => v, a = map(column.low), b = map(column.high);
  return (i) => (column.get(i) === null ? "#888" : ramp((map(column.get(i)) - a) / (b - a || 1)));
}
function fillLegend() {
  const column = columns.get(view.colour), box = at("legend");
  const key = (colour) => make("span", { className: "key", style: `background:${colour}` });
  box.replaceChildren();
  if (!column || view.colour === "front") {
    box.append(key("var(--front)"), `on the front of ${about.objectives.map((o) => o.name).join(", ")}`,
      key("var(--point)"), "other points");
  } else if (column.parameter && column.levels.length <= palette().length) {
    column.levels.forEach((text, i) => box.append(key(palette()[i]), level(text)));
  } else {
    box.append(`${column.name}: `, tick(column.low), " ");
    for (let i = 0; i <= 10; i++)
      box.append(make("span", { className: "key", style: `background:${ramp(i / 10)};margin:0` }));
    box.append(" ", tick(column.high), column.log ? " (logarithmic)" : "");
  }
  if (view.infeasible) box.append(" · hollow: infeasible");
}

// ---------------------------------------------------------------- scatter
const scatter = at("scatter");
let frame = null; // scales of what is drawn
function drawScatter() {
  const { pen, width, height } = prepare(scatter);
  if (!view.x || !view.y || !shown.length) {
    frame = null;
    pen.fillStyle = style("--muted");
    pen.fillText("no finished points", width / 2 - 50, height / 2);
    return;
  }
  const area = { left: 76, right: width - 14, top: 12, bottom: height - 46 };
  const xs = scale(view.x, view.x.log, area.left, area.right);
  const ys = scale(view.y, view.y.log, area.bottom, area.top);
  frame = { xs, ys, area };
  drawAxes(pen, xs, ys, area);
  const colour = colouring(), size = shown.length > 3000 ? 2 : 3;
  const faint = restricted();
  // later ones are drawn over earlier ones: what matters comes last
  for (const last of [false, true]) {
    for (const i of shown) {
      if ((onFront(i) && (!faint || kept[i] === 1)) !== last) continue;
      const x = view.x.get(i), y = view.y.get(i);
      if (x === null || y === null) continue;
      pen.globalAlpha = faint && !kept[i] ? 0.08 : last ? 0.95 : 0.5;
      pen.fillStyle = pen.strokeStyle = colour(i);
      pen.beginPath();
      pen.arc(xs.place(x), ys.place(y), last ? size + 1 : size, 0, 7);
      if (status(i) === "done") pen.fill();
      else pen.stroke(); // infeasible: hollow
    }
  }
  pen.globalAlpha = 1;
  drawFrontLine(pen, xs, ys);
  if (view.box) {
    const [left, right] = view.box.x.map(xs.place), [bottom, top] = view.box.y.map(ys.place);
    pen.fillStyle = style("--brush");
    pen.strokeStyle = style("--accent");
    pen.fillRect(left, top, right - left, bottom - top);
    pen.strokeRect(left, top, right - left, bottom - top);
  }
  if (view.picked !== null && visible(view.picked)) ring(pen, view.picked, xs, ys);
}
function drawAxes(pen, xs, ys, area) {
  pen.strokeStyle = style("--line");
  pen.fillStyle = style("--muted");
  pen.lineWidth = 1;
  pen.textAlign = "center";
  let end = -Infinity;
  for (const [value, text] of xs.ticks) {
    const x = xs.place(value), half = pen.measureText(text).width / 2;
    pen.beginPath(); pen.moveTo(x, area.top); pen.lineTo(x, area.bottom); pen.stroke();
    if (x - half < end + 6) continue;
    pen.fillText(text, x, area.bottom + 16);
    end = x + half;
  }
  pen.textAlign = "right";
  for (const [value, text] of ys.ticks) {
    const y = ys.place(value);
    pen.beginPath(); pen.moveTo(area.left, y); pen.lineTo(area.right, y); pen.stroke();
    pen.fillText(clipped(pen, text, area.left - 30), area.left - 6, y + 4);
  }
  pen.fillStyle = style("--fg");
  pen.textAlign = "center";
  const words = (c) => c.name + arrow(c.name) + (c.log ? ", logarithmic" : "");
  pen.fillText(words(view.x), (area.left + area.right) / 2, area.bottom + 37);
  pen.save();
  pen.translate(13, (area.top + area.bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(words(view.y), 0, 0);
  pen.restore();
  pen.textAlign = "left";
}
function drawFrontLine(pen, xs, ys) { // of the two shown objectives
  const xGoal = goals.get(view.x.name), yGoal = goals.get(view.y.name);
  if (!xGoal || !yGoal || view.x === view.y) return;
  const xSign = xGoal === "max" ? -1 : 1, ySign = yGoal === "max" ? -1 : 1;
  const groups = new Map();
  for (const i of shown) {
    if (status(i) !== "done" || view.x.get(i) === null || view.y.get(i) === null) continue;
    if (!groups.has(workload(i))) groups.set(workload(i), []);
    groups.get(workload(i)).push([xSign * view.x.get(i), ySign * view.y.get(i)]);
  }
  pen.strokeStyle = style("--front");
  pen.lineWidth = 1.5;
  for (const group of groups.values()) {
    group.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let best = Infinity;
    pen.beginPath();
    for (const [x, y] of group) {
      if (y >= best) continue;
      if (best === Infinity) pen.moveTo(xs.place(xSign * x), ys.place(ySign * y));
      else {
        pen.lineTo(xs.place(xSign * x), ys.place(ySign * best));
        pen.lineTo(xs.place(xSign * x), ys.place(ySign * y));
      }
      best = y;
    }
    pen.stroke();
  }
  pen.lineWidth = 1;
}
function ring(pen, i, xs, ys) {
  const x = view.x.get(i), y = view.y.get(i);
  if (x === null || y === null) return;
  pen.strokeStyle = style("--ring");
  pen.lineWidth = 2.5;
  pen.beginPath();
  pen.arc(xs.place(x), ys.place(y), 8, 0, 7);
  pen.stroke();
  pen.lineWidth = 1;
}
function nearest(x, y, reach) {
  let found = null, best = reach * reach;
  if (!frame) return null;
  for (const i of shown) {
    if (restricted() && !kept[i]) continue;
    const a = view.x.get(i), b = view.y.get(i);
    if (a === null || b === null) continue;
    const far = (frame.xs.place(a) - x) ** 2 + (frame.ys.place(b) - y) ** 2;
    if (far < best || (far === best && found !== null && onFront(i) && !onFront(found))) {
      best = far;
      found = i;
    }
  }
  return found;
}
function showTip(i, x, y) {
  const tip = at("tip");
  if (i === null) { tip.hidden = true; return; }
  const lines = varied.map((c) => `${c.name}: ${level(c.text(i) ?? "–")}`);
  for (const c of new Set([...objectives, view.x, view.y]))
    if (!c.parameter) lines.push(`${c.name}: ${c.text(i)}`);
  const words = [about.workloads[workload(i)]];
  if (onFront(i)) words.push("on the front");
  if (status(i) !== "done") words.push(status(i));
  tip.textContent = [words.join(", "), ...lines].join("\n");
  tip.hidden = false;
  const box = at("scatter-box").getBoundingClientRect();
  const left = x + 16 + tip.offsetWidth > box.width ? x - 16 - tip.offsetWidth : x + 16;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, Math.min(y + 10, box.height - tip.offsetHeight))}px`;
}
function position(event, canvas) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}
let drag = null;
scatter.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !frame) return;
  drag = { from: position(event, scatter), moved: false };
  scatter.setPointerCapture(event.pointerId);
});
scatter.addEventListener("pointermove", (event) => {
  const [x, y] = position(event, scatter);
  if (!drag) { showTip(nearest(x, y, 14), x, y); return; }
  const [a, b] = drag.from;
  drag.moved ||= Math.hypot(x - a, y - b) > 4;
  if (!drag.moved || !frame) return;
  showTip(null);
  const span = (p, q, s, low, high) =>
    [p, q].map((v) => s.value(Math.max(low, Math.min(high, v)))).sort((m, n) => m - n);
  const { area, xs, ys } = frame;
  view.box = { x: span(a, x, xs, area.left, area.right), y: span(b, y, ys, area.top, area.bottom) };
  later(refresh);
});
scatter.addEventListener("pointerup", (event) => {
  if (drag && !drag.moved) {
    const found = nearest(...position(event, scatter), 14);
    if (found !== null) pick(found);
  }
  drag = null;
});
scatter.addEventListener("pointerleave", () => showTip(null));
scatter.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (event.key === "Escape") clear();
  if (!step || !view.x) return;
  event.preventDefault();
  const along = shown.filter((i) => onFront(i) && (!restricted() || kept[i]))
    .sort((a, b) => view.x.get(a) - view.x.get(b) || view.y.get(a) - view.y.get(b));
  if (!along.length) return;
  const now = along.indexOf(view.picked);
  pick(along[now < 0 ? 0 : Math.max(0, Math.min(along.length - 1, now + step))]);
});
let waiting = 0;
function later(work) { // at most once a frame
  if (waiting) return;
  waiting = requestAnimationFrame(() => { waiting = 0; work(); });
}
function clear() {
  view.box = null;
  view.ranges.clear();
  refresh();
}

// ---------------------------------------------------------------- parallel coordinates
const parallel = at("parallel");
let bars = [];
function drawParallel() {
  const { pen, width, height } = prepare(parallel);
  const list = [...new Set([...varied, ...objectives])];
  const left = 46, right = width - 46, top = 34, bottom = height - 12;
  bars = list.map((column, k) => ({
    column, x: list.length > 1 ? left + ((right - left) * k) / (list.length - 1) : width / 2,
    scale: scale(column, column.log, bottom, top),
  }));
  at("parallel-box").hidden = at("parallel-help").hidden = !bars.length || !shown.length;
  if (!bars.length) return;
  const strong = colouring(), faint = restricted();
  const line = (i) => {
    pen.beginPath();
    let open = false;
    for (const bar of bars) {
      const value = bar.column.get(i);
      if (value === null) { open = false; continue; }
      const y = bar.scale.place(value);
      if (open) pen.lineTo(bar.x, y); else pen.moveTo(bar.x, y);
      open = true;
    }
    pen.stroke();
  };
  const alpha = Math.max(0.06, Math.min(0.5, 60 / Math.max(1, shown.length)));
  for (const last of [false, true]) {
    for (const i of shown) {
      const on = faint ? kept[i] === 1 : onFront(i);
      if (on !== last) continue;
      pen.globalAlpha = last ? Math.max(alpha, 0.3) : faint ? alpha / 2 : alpha;
      pen.strokeStyle = strong(i);
      line(i);
    }
  }
  pen.globalAlpha = 1;
  if (view.picked !== null && visible(view.picked)) {
    pen.strokeStyle = style("--ring");
    pen.lineWidth = 2.5;
    line(view.picked);
    pen.lineWidth = 1;
  }
  bars.forEach((bar, k) => drawBar(pen, bar, k, top, bottom, width));
}
function drawBar(pen, bar, k, top, bottom, width) {
  const room = bars.length > 1 ? (bars[1].x - bars[0].x) * 0.94 : width;
  const side = k === 0 ? "left" : k === bars.length - 1 ? "right" : "center";
  pen.strokeStyle = style("--fg");
  pen.beginPath(); pen.moveTo(bar.x, top - 4); pen.lineTo(bar.x, bottom + 4); pen.stroke();
  pen.fillStyle = style("--fg");
  pen.textAlign = side;
  const shift = side === "left" ? -42 : side === "right" ? 42 : 0;
  pen.font = "600 11.5px system-ui, sans-serif";
  const short = clipped(pen, bar.column.name.split(".").pop(), room - 14);
  pen.fillText(short + arrow(bar.column.name), bar.x + shift, k % 2 && room < 70 ? 26 : 13);
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "left";
  let end = Infinity;
  for (const [value, text] of bar.scale.ticks) {
    const y = bar.scale.place(value);
    if (y > end - 12 && end !== Infinity) continue;
    end = y;
    const label = clipped(pen, text, Math.max(24, room - 8)), w = pen.measureText(label).width;
    const x = k === bars.length - 1 ? bar.x - w - 5 : bar.x + 5;
    pen.globalAlpha = 0.78;
    pen.fillStyle = style("--bg");
    pen.fillRect(x - 2, y - 6, w + 4, 12);
    pen.globalAlpha = 1;
    pen.fillStyle = style("--fg");
    pen.fillText(label, x, y + 4);
  }
  const range = view.ranges.get(bar.column.name);
  if (range) {
    const [low, high] = range.map(bar.scale.place);
    pen.fillStyle = style("--brush");
    pen.strokeStyle = style("--accent");
    pen.fillRect(bar.x - 7, high, 14, low - high);
    pen.strokeRect(bar.x - 7, high, 14, low - high);
  }
  if (document.activeElement === parallel && k === view.axis) {
    pen.fillStyle = style("--accent");
    pen.beginPath(); pen.arc(bar.x, top - 7, 4, 0, 7); pen.fill();
  }
}
let pull = null;
parallel.addEventListener("pointerdown", (event) => {
  const [x, y] = position(event, parallel);
  const near = bars.reduce((a, b) => (Math.abs(b.x - x) < Math.abs(a.x - x) ? b : a), bars[0]);
  if (event.button !== 0 || !near || Math.abs(near.x - x) > 24) return;
  pull = { bar: near, from: y, moved: false };
  view.axis = bars.indexOf(near);
  parallel.setPointerCapture(event.pointerId);
});
parallel.addEventListener("pointermove", (event) => {
  if (!pull) return;
  const y = position(event, parallel)[1];
  pull.moved ||= Math.abs(y - pull.from) > 3;
  if (!pull.moved) return;
  const ends = [pull.from, y].map(pull.bar.scale.value).sort((a, b) => a - b);
  view.ranges.set(pull.bar.column.name, ends);
  later(refresh);
});
parallel.addEventListener("pointerup", () => {
  if (pull && !pull.moved) { view.ranges.delete(pull.bar.column.name); refresh(); }
  pull = null;
});
parallel.addEventListener("keydown", (event) => {
  if (!bars.length) return;
  const bar = bars[Math.min(view.axis, bars.length - 1)], name = bar.column.name;
  if (event.key === "ArrowRight") view.axis = Math.min(bars.length - 1, view.axis + 1);
  else if (event.key === "ArrowLeft") view.axis = Math.max(0, view.axis - 1);
  else if (event.key === "Delete" || event.key === "Backspace") view.ranges.delete(name);
  else if (event.key === "Escape") { clear(); return; }
  else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    const low = bar.scale.place(bar.column.low), high = bar.scale.place(bar.column.high);
    const range = view.ranges.get(name), width = (high - low) / 5; // pixels, upwards is less
    const middle = range ? (bar.scale.place(range[0]) + bar.scale.place(range[1])) / 2
      : event.key === "ArrowUp" ? low - width / 2 : high + width / 2;
    const next = middle + (event.key === "ArrowUp" ? width : -width) / 2;
    if (next < high - 1 || next > low + 1) { event.preventDefault(); return; }
    view.ranges.set(name, [bar.scale.value(next - width / 2), bar.scale.value(next + width / 2)]);
  } else return;
  event.preventDefault();
  refresh();
});
parallel.addEventListener("focus", () => drawParallel());
parallel.addEventListener("blur", () => drawParallel());
