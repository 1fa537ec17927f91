"use strict";
(() => {
  const about = JSON.parse(document.getElementById("about").textContent);
  const data = JSON.parse(document.getElementById("points").textContent);
  const rows = data.key.length;
  const at = (id) => document.getElementById(id);

  // ---------------------------------------------------------------- elements and numbers
  function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }
  function draw(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const whole = new Intl.NumberFormat("en-US");
  function number(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value) && Math.abs(value) < 1e15) return whole.format(value);
    if (value && Math.abs(value) < 1e-4) return value.toExponential(4);
    return String(Number(value.toPrecision(6)));
  }
  function tick(value) {
    const size = Math.abs(value);
    const marks = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
    for (const [unit, mark] of marks)
      if (size >= unit) return Number((value / unit).toPrecision(4)) + mark;
    if (size && size < 1e-3) return value.toExponential(1);
    return String(Number(value.toPrecision(4)));
  }
  function level(text) { // of a binary size, as people say it
    if (/^\d+\.0$/.test(text)) return text.slice(0, -2);
    if (!/^\d+$/.test(text)) return text;
    const value = Number(text);
    for (const [unit, mark] of [[1048576, "Mi"], [1024, "Ki"]])
      if (value >= unit && value % (unit / 4) === 0) return value / unit + mark;
    return text;
  }
  const plural = (n, word) => `${whole.format(n)} ${word}${n === 1 ? "" : "s"}`;
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---------------------------------------------------------------- columns
  const goals = new Map(about.objectives.map((o) => [o.name, o.goal]));
  const columns = new Map();
  function span(column, list) {
    let low = Infinity, high = -Infinity;
    for (const i of list) {
      const value = column.get(i);
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return [low, high];
  }
  const every = Array.from({ length: rows }, (_, i) => i);
  function addColumn(column) {
    const [low, high] = span(column, every);
    Object.assign(column, { low, high, varied: low < high });
    column.canLog = column.numeric && low > 0 && Number.isFinite(low);
    column.log = column.canLog && high >= 10 * low;
    if (low <= high) columns.set(column.name, column);
  }
  for (const p of data.parameters) {
    const values = p.levels.map((text, i) => (p.numeric ? Number(text) : i));
    addColumn({
      name: p.name, parameter: true, numeric: p.numeric, levels: p.levels, index: p.index,
      get: (i) => (p.index[i] < 0 ? null : values[p.index[i]]),
      text: (i) => (p.index[i] < 0 ? null : p.levels[p.index[i]]),
    });
  }
  for (const m of data.measures) {
    const raw = m.values ? (i) => m.values[i] : (i) => m.levels[m.index[i]];
    addColumn({
      name: m.name, parameter: false, numeric: true, raw,
      get: (i) => (typeof raw(i) === "number" ? raw(i) : null),
      text: (i) => number(raw(i)),
    });
  }
  const status = (i) => data.status.levels[data.status.index[i]];
  const errorOf = (i) => data.error.levels[data.error.index[i]];
  const workload = (i) => data.workload.index[i];
  const onFront = (i) => data.pareto[i] === 1;
  // parameters in step are one axis: that of the first where its values say all
  function axisColumn(axis) {
    const parts = axis.map((name) => columns.get(name)).filter(Boolean);
    if (parts.length < 2) return parts[0];
    const found = new Map(); // indices in all parts and text, by the text of all parts
    const texts = every.map((i) => {
      const words = parts.map((p) => p.text(i) ?? "–");
      const text = new Set(words).size === 1 ? words[0] : words.join(", ");
      if (!found.has(text)) found.set(text, parts.map((p) => p.index[i]));
      return text;
    });
    const levels = [...found.keys()].sort((a, b) => {
      const [m, n] = [found.get(a), found.get(b)], k = m.findIndex((v, j) => v !== n[j]);
      return k < 0 ? 0 : m[k] - n[k];
    });
    const place = new Map(levels.map((text, k) => [text, k])), index = texts.map((t) => place.get(t));
    if (parts[0].numeric && parts[0].levels.length === levels.length) return parts[0];
    addColumn({
      name: axis.join("+"), parameter: true, numeric: false, levels, index,
      get: (i) => index[i], text: (i) => levels[index[i]],
    });
    return columns.get(axis.join("+"));
  }
  const varied = about.axes.map(axisColumn).filter((c) => c && c.varied);
  const objectives = about.objectives.map((o) => columns.get(o.name)).filter(Boolean);
  const arrow = (name) => (goals.has(name) ? (goals.get(name) === "max" ? " ↑" : " ↓") : "");

  // ---------------------------------------------------------------- command lines, as shlex quotes
  function quote(text) {
    if (text && !/[^A-Za-z0-9_@%+=:,./-]/.test(text)) return text;
    return "'" + text.replaceAll("'", "'\"'\"'") + "'";
  }
  function commands(i) {
    const sets = [];
    for (const p of data.parameters)
      if (p.index[i] >= 0) sets.push("-s " + quote(`${p.name}=${p.levels[p.index[i]]}`));
    return about.runs[workload(i)].map(([before, after]) =>
      [...before.map(quote), ...sets, ...after.map(quote)].join(" "));
  }

  // ---------------------------------------------------------------- what is shown
  const view = {
    workload: about.workloads.length > 1 ? 0 : -1, x: null, y: null, box: null,
    ranges: new Map(), picked: null, colour: "front", infeasible: false,
    sort: null, descending: false, all: false, axis: 0,
  };
  const drawable = [...columns.values()].filter((c) => c.varied || goals.has(c.name));
  const inOrder = columns.get("order");
  view.y = objectives[0] || drawable[0] || null;
  view.x = objectives[1] || (inOrder && inOrder !== view.y ? inOrder : null)
    || drawable.find((c) => c !== view.y) || view.y;

  function visible(i) {
    if (view.workload >= 0 && workload(i) !== view.workload) return false;
    const state = status(i);
    return state === "done" || (state === "infeasible" && view.infeasible);
  }
  function inside(value, range) { return value !== null && value >= range[0] && value <= range[1]; }
  function selected(i) {
    if (view.box && !(inside(view.x.get(i), view.box.x) && inside(view.y.get(i), view.box.y)))
      return false;
    for (const [name, range] of view.ranges)
      if (!inside(columns.get(name).get(i), range)) return false;
    return true;
  }
  const restricted = () => view.box !== null || view.ranges.size > 0;
  let shown = [], kept = new Uint8Array(rows);
  function choose() { // other points: the axes span what is shown
    shown = every.filter(visible);
    for (const column of columns.values()) {
      const [low, high] = span(column, shown);
      if (low > high) continue;
      Object.assign(column, { low, high });
      if (!column.fixed) column.log = column.canLog && high >= 10 * low;
    }
    for (const side of ["x", "y"]) if (view[side]) at(side + "log").checked = view[side].log;
    refresh();
  }
  function refresh() {
    kept = new Uint8Array(rows);
    let count = 0;
    for (const i of shown) if (selected(i)) { kept[i] = 1; count++; }
    at("clear").disabled = !restricted();
    at("count").textContent = restricted()
      ? `${whole.format(count)} of ${plural(shown.length, "point")} selected` : plural(shown.length, "point");
    drawScatter();
    drawParallel();
    fillTable();
  }

  // ---------------------------------------------------------------- scales
  function scale(column, log, from, to) {
    let low = column.low, high = column.high;
    const map = log ? Math.log : (v) => v;
    if (low === high) { low = log ? low / 2 : low - 1; high = log ? high * 2 : high + 1; }
    const a = map(low), b = map(high), pad = (b - a) * 0.04;
    const k = (to - from) / (b - a + 2 * pad);
    const place = (v) => from + (map(v) - a + pad) * k;
    const value = (p) => {
      const v = (p - from) / k + a - pad;
      return log ? Math.exp(v) : v;
    };
    return { place, value, ticks: ticks(column, log, low, high, Math.abs(to - from)) };
  }
  function ticks(column, log, low, high, pixels) {
    if (!column.numeric) {
      const step = Math.ceil((high - low + 1) / Math.max(2, pixels / 30));
      return column.levels.map((t, i) => [i, level(t)]).filter(([i]) => i >= low && i <= high && i % step === 0);
    }
    if (column.parameter && column.levels.length <= pixels / 60)
      return column.levels.map((t) => [Number(t), level(t)]).filter(([v]) => v >= low && v <= high);
    const wanted = Math.max(2, pixels / 70), found = [];
    if (log) {
      const decades = Math.log10(high / low);
      const steps = decades > wanted ? [1] : decades * 2 > wanted ? [1, 3] : decades > 0.8 ? [1, 2, 5]
        : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
      const jump = Math.max(1, Math.ceil(decades / wanted));
      for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e += jump)
        for (const s of steps) {
          const v = s * 10 ** e;
          if (v >= low * 0.999 && v <= high * 1.001) found.push([v, tick(v)]);
        }
      if (found.length > 1) return found;
      found.length = 0;
    }
    const rough = (high - low) / wanted, unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((s) => s * unit).find((s) => s >= rough);
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step)
      found.push([v, tick(Math.abs(v) < step * 1e-6 ? 0 : v)]);
    return found;
  }
  function prepare(canvas) {
    const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    const width = Math.max(50, box.width), height = Math.max(50, box.height);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = "12px system-ui, sans-serif";
    return { pen, width, height };
  }
  function clipped(pen, text, room) {
    if (pen.measureText(text).width <= room) return text;
    let end = text.length;
    while (end > 1 && pen.measureText(text.slice(0, end) + "…").width > room) end--;
    return text.slice(0, end) + "…";
  }

  // ---------------------------------------------------------------- colours
  const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c00", "#999999"];
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
    if (column.parameter && column.levels.length <= PALETTE.length)
      return (i) => (column.index[i] < 0 ? "#888" : PALETTE[column.index[i]]);
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
    } else if (column.parameter && column.levels.length <= PALETTE.length) {
      column.levels.forEach((text, i) => box.append(key(PALETTE[i]), level(text)));
    } else {
      box.append(`${column.name}: `, tick(column.low), " ");
      for (let i = 0; i <= 10; i++)
        box.append(make("span", { className: "key", style: `background:${ramp(i / 10)};margin:0` }));
      box.append(" ", tick(column.high), column.log ? " (logarithmic)" : "");
    }
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
        pen.fillStyle = colour(i);
        pen.beginPath();
        pen.arc(xs.place(x), ys.place(y), last ? size + 1 : size, 0, 7);
        pen.fill();
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

  // ---------------------------------------------------------------- one point
  function pairs(list) {
    const box = make("dl");
    for (const [name, value, kind] of list)
      box.append(make("dt", { textContent: name }), make("dd", { textContent: value, className: kind || "" }));
    return box;
  }
  function pick(i) {
    view.picked = i;
    const box = at("pick");
    box.replaceChildren();
    const words = `Point ${whole.format(i + 1)}: ${about.workloads[workload(i)]}`;
    box.append(make("h3", { textContent: words }));
    const badges = make("p");
    if (onFront(i)) badges.append(make("span", { className: "badge front", textContent: "on the front" }), " ");
    badges.append(make("span", { className: "badge", textContent: status(i) }));
    box.append(badges);
    if (errorOf(i)) box.append(make("p", { textContent: errorOf(i) }));
    box.append(make("h3", { textContent: "Parameters" }),
      pairs(data.parameters.filter((p) => p.index[i] >= 0).map((p) => [p.name, p.levels[p.index[i]]])));
    const lines = commands(i), text = lines.join("\n");
    const button = make("button", { type: "button", id: "copy", textContent: "Copy" });
    button.addEventListener("click", () => copy(text, button));
    box.append(make("h3", {}, lines.length > 1 ? "Command lines that reproduce it " : "Command line that reproduces it ",
      button), commandBox(lines));
    if (status(i) !== "failed") {
      const list = [...columns.values()].filter((c) => !c.parameter && c.get(i) !== null)
        .map((c) => [c.name + arrow(c.name), c.text(i), goals.has(c.name) ? "goal" : ""]);
      list.sort((a, b) => (b[2] === "goal") - (a[2] === "goal"));
      box.append(make("h3", { textContent: "Measures" }), pairs(list));
    }
    if (status(i) === "done") addNeighbours(box, i);
    const own = new Map(data.parameters.filter((p) => p.index[i] >= 0).map((p) => [p.name, p.levels[p.index[i]]]));
    const fields = about.fields.map(([path, value]) =>
      own.has(path) ? [path, own.get(path), "changed"] : [path, value]);
    box.append(make("details", {}, make("summary", { textContent: "Whole configuration" }), pairs(fields)),
      make("p", { className: "note", textContent: `key ${data.key[i]}` }));
    box.scrollTop = 0;
    drawScatter();
    drawParallel();
    for (const row of at("front").tBodies[0].rows)
      row.setAttribute("aria-selected", String(Number(row.dataset.row) === i));
  }
  function commandBox(lines) { // broken between options only
    const box = make("pre", { id: "command" });
    lines.forEach((line, k) => {
      if (k) box.append("\n");
      for (const part of line.split(/ (?=-)/)) {
        if (box.lastChild && box.lastChild.textContent !== "\n") box.append(" ");
        box.append(make("span", { textContent: part }));
      }
    });
    return box;
  }
  function addNeighbours(box, i) {
    const found = [];
    for (const j of shown) {
      if (j === i || status(j) !== "done" || workload(j) !== workload(i)) continue;
      const other = about.axes.filter((axis) => axis.some((name) => {
        const p = columns.get(name);
        return p && p.index[j] !== p.index[i];
      }));
      if (other.length === 1) found.push([other[0], j]);
    }
    if (!found.length || !objectives.length) return;
    found.sort((a, b) => about.axes.indexOf(a[0]) - about.axes.indexOf(b[0])
      || columns.get(a[0][0]).get(a[1]) - columns.get(b[0][0]).get(b[1]));
    const table = make("table", { id: "neighbours" });
    table.append(make("tr", {}, make("th", { className: "text", textContent: "instead" }),
      ...objectives.map((c) => make("th", { textContent: c.name }))));
    for (const [axis, j] of found.slice(0, 60)) {
      const shownAs = axis.map((name) => level(columns.get(name).text(j) ?? "–"));
      const same = new Set(shownAs).size === 1 ? shownAs[0] : shownAs.join(", ");
      const link = make("button", { type: "button", textContent: `${axis[0]} ${same}` });
      link.addEventListener("click", () => pick(j));
      table.append(make("tr", {}, make("td", { className: "text" }, link),
        ...objectives.map((c) => make("td", { textContent: change(c.get(i), c.get(j)) }))));
    }
    box.append(make("h3", { textContent: "Points that differ in one parameter" }),
      make("div", { className: "scroll" }, table));
  }
  function change(from, to) {
    if (from === null || to === null) return "–";
    if (from === to) return "=";
    if (from <= 0) return (to > from ? "+" : "−") + tick(Math.abs(to - from));
    const percent = (to / from - 1) * 100;
    return (percent > 0 ? "+" : "−") + Number(Math.abs(percent).toPrecision(3)) + " %";
  }
  async function copy(text, button) {
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch { // no permission, or no clipboard for pages from disk
      const area = make("textarea", { value: text });
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    button.textContent = done ? "Copied" : "Select the text and copy it";
    button.focus();
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  // ---------------------------------------------------------------- table of the front
  const listed = [...varied, ...objectives.filter((c) => !varied.includes(c)), ...(inOrder ? [inOrder] : [])];
  function fillHead() {
    const row = make("tr");
    if (about.workloads.length > 1) row.append(make("th", { className: "text", textContent: "workload" }));
    for (const column of listed) {
      const button = make("button", { type: "button", textContent: column.name + arrow(column.name) });
      button.addEventListener("click", () => {
        view.descending = view.sort === column ? !view.descending : false;
        view.sort = column;
        fillTable();
      });
      const head = make("th", {}, button);
      head.dataset.column = column.name;
      row.append(head);
    }
    at("front").tHead.replaceChildren(row);
  }
  function fillTable() {
    const found = shown.filter((i) => onFront(i) && (!restricted() || kept[i]));
    const by = view.sort || objectives[0];
    if (by) {
      const sign = view.sort && view.descending ? -1 : 1;
      const value = (i) => by.get(i) ?? Infinity;
      found.sort((a, b) => sign * (value(a) - value(b)) || a - b);
    }
    for (const head of at("front").tHead.querySelectorAll("th[data-column]"))
      head.setAttribute("aria-sort", by && head.dataset.column === by.name
        ? (view.sort && view.descending ? "descending" : "ascending") : "none");
    const some = view.all ? found : found.slice(0, 100);
    at("front").tBodies[0].replaceChildren(...some.map((i) => {
      const row = make("tr", { tabIndex: 0 });
      row.dataset.row = i;
      row.setAttribute("aria-selected", String(view.picked === i));
      if (about.workloads.length > 1)
        row.append(make("td", { className: "text", textContent: about.workloads[workload(i)] }));
      for (const c of listed) row.append(make("td", { textContent: c.parameter ? level(c.text(i) ?? "–") : c.text(i) }));
      return row;
    }));
    at("front-note").textContent = found.length
      ? `${plural(found.length, "point")} that no other beats in ${about.objectives.map((o) =>
        `${o.name} (${o.goal})`).join(", ")}${restricted() ? ", of those selected" : ""}. Click a row for all of the point.`
      : "No point of the front is shown.";
    at("more").hidden = some.length === found.length;
    at("more").textContent = `Show all ${whole.format(found.length)}`;
  }
  at("volume-x").addEventListener("change", () => fillVolume(current()));
  at("more").addEventListener("click", () => { view.all = true; fillTable(); });
  const rowOf = (event) => event.target.closest("tr[data-row]");
  at("front").tBodies[0].addEventListener("click", (event) => {
    if (rowOf(event)) pick(Number(rowOf(event).dataset.row));
  });
  at("front").tBodies[0].addEventListener("keydown", (event) => {
    const row = rowOf(event);
    if (!row) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(Number(row.dataset.row)); }
    const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (next) { event.preventDefault(); next.focus(); }
  });

  // ---------------------------------------------------------------- analysis
  const current = () => about.studies[Math.max(0, view.workload)];
  function fillAnalysis() {
    const study = current();
    for (const name of ["volume", "importance", "effects"]) {
      const title = at(name + "-title");
      title.dataset.words ??= title.textContent;
      title.textContent = title.dataset.words + (about.workloads.length > 1 && study ? `: ${study.workload}` : "");
    }
    fillVolume(study);
    fillImportance(study);
    fillEffects(study);
  }
  function fillVolume(study) {
    const volume = study && study.volume, box = at("volume");
    at("volume-section").hidden = !volume;
    box.replaceChildren();
    if (!volume) return;
    const logs = study.objectives.filter((o) => o.scale === "log").map((o) => o.name);
    const same = study.objectives.filter((o) => o.best === o.worst).map((o) => o.name);
    at("volume-note").textContent =
      "Share of the box between the best and the worst value of every objective that the points finished "
      + "so far dominate, exact. The reference point is the worst value of each objective over all finished "
      + `points: ${study.objectives.map((o) => `${o.name} ${tick(o.worst)}`).join(", ")}. `
      + (logs.length ? `Solid: ${logs.join(", ")} on a logarithmic scale; dashed: all linear. ` : "All objectives are linear. ")
      + (same.length ? `Left out, as they are the same at all points: ${same.join(", ")}. ` : "");
    const width = 760, height = 250, left = 46, right = width - 12, top = 8, bottom = height - 34;
    const timed = volume.seconds.every((v) => v !== null);
    at("volume-box").hidden = !timed;
    const steps = timed && at("volume-x").value === "seconds" ? volume.seconds : volume.order;
    const last = steps[steps.length - 1] || 1;
    const px = (v) => left + ((right - left) * v) / last, py = (v) => bottom - (bottom - top) * v;
    const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img",
      "aria-label": `Hypervolume reaches ${(100 * volume.scaled[volume.scaled.length - 1]).toFixed(1)} % of the box` });
    for (let v = 0; v <= 1.001; v += 0.2) {
      picture.append(draw("line", { x1: left, x2: right, y1: py(v), y2: py(v), stroke: "var(--line)" }));
      picture.append(label(left - 6, py(v) + 4, `${Math.round(v * 100)} %`, "end"));
    }
    for (const [v, text] of ticks({ numeric: true }, false, 0, last, right - left))
      picture.append(label(px(v), bottom + 16, text, "middle"));
    picture.append(label((left + right) / 2, height - 2, steps === volume.order
      ? "points in the order of finishing" : "seconds of the sweep", "middle"));
    const path = (values) => values.map((v, k) =>
      (k ? `H${px(steps[k]).toFixed(1)}V` : `M${px(steps[0]).toFixed(1)},`) + py(v).toFixed(1)).join("");
    if (logs.length)
      picture.append(draw("path", { d: path(volume.linear), fill: "none", stroke: "var(--accent)", "stroke-dasharray": "5 4" }));
    picture.append(draw("path", { d: path(volume.scaled), fill: "none", stroke: "var(--accent)", "stroke-width": 2 }));
    box.append(picture);
  }
  function label(x, y, text, anchor, kind) {
    const element = draw("text", { x, y, "text-anchor": anchor || "start", class: kind || "soft" });
    element.textContent = text;
    return element;
  }
  const axisName = (name) => { // of parameters in step
    const parts = name.split("+");
    return parts.length > 1 && name.length > 26 ? `${parts[0]} +${parts.length - 1}` : name;
  };
  function fillImportance(study) {
    const list = study ? study.importance : [], box = at("importance");
    at("importance-section").hidden = !list.length;
    box.replaceChildren();
    if (!list.length) return;
    const exact = list.every((s) => s.exact);
    at("importance-note").replaceChildren(
      make("span", { className: "key", style: "background:var(--accent)" }), "share of the variance due to the parameter alone",
      ...(exact ? [make("span", { className: "key", style: "background:var(--second)" }), "together with others"] : []),
      exact ? ". Analysis of variance over the whole grid, exact."
        : ". Estimated from the points there are, less what levels explain by chance; they are no whole grid.",
      study.constant.length ? ` Constant: ${study.constant.join(", ")}.` : "");
    for (const share of list) {
      const log = study.objectives.find((o) => o.name === share.objective).scale === "log";
      const height = 20 * share.names.length + 6, width = 340, left = 150, span = width - left - 46;
      const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img",
        "aria-label": `Importance for ${share.objective}: ${share.names.map((n, k) =>
          `${n} ${(100 * share.first[k]).toFixed(0)} %`).join(", ")}` });
      share.names.forEach((name, k) => {
        const y = 20 * k + 4, all = share.total[k] ?? share.first[k];
        const text = axisName(name);
        picture.append(label(left - 6, y + 11, text.length > 24 ? "…" + text.slice(-23) : text, "end", "plain"));
        picture.append(draw("rect", { x: left, y, width: Math.max(0, all * span), height: 14, fill: "var(--second)" }));
        picture.append(draw("rect", { x: left, y, width: Math.max(0, share.first[k] * span), height: 14, fill: "var(--accent)" }));
        picture.append(label(left + Math.max(0, all * span) + 5, y + 11, `${(100 * share.first[k]).toFixed(share.first[k] < 0.1 ? 1 : 0)} %`));
      });
      box.append(make("div", {}, make("h3", { textContent: share.objective + (log ? ", logarithm" : "") }), picture));
    }
    const strong = list.flatMap((s) => s.pairs.filter((p) => p[2] >= 0.01).map((p) => [s.objective, ...p]))
      .sort((a, b) => b[3] - a[3]).slice(0, 8);
    at("pairs").textContent = strong.length ? "Pairs beyond each alone: " + strong.map(([o, a, b, v]) =>
      `${axisName(a)} with ${axisName(b)} ${(100 * v).toFixed(1)} % of ${o}`).join("; ") + "." : "";
  }
  function fillEffects(study) {
    const list = study ? study.effects : [], box = at("effects"), table = at("elasticity");
    at("effects-section").hidden = !list.length;
    box.replaceChildren();
    table.replaceChildren();
    if (!list.length) return;
    const matched = list.every((e) => e.matched);
    at("effects-note").textContent = matched
      ? "Each objective at each value of a parameter, compared with its mean over points that differ in that parameter alone: median and quartiles over all such sets. Nothing was run for it."
      : "Where no points differ in one parameter alone, the mean over the points of a level stands in (no band): there other parameters vary too.";
    const names = [...new Set(list.map((e) => e.parameter))], aims = [...new Set(list.map((e) => e.objective))];
    const w = 165, h = 104, left = 118, foot = 66, top = 4;
    const picture = draw("svg", { width: left + w * names.length + 8, height: top + h * aims.length + foot, role: "img",
      "aria-label": "Effect of each parameter on each objective" });
    picture.style.maxWidth = "none";
    aims.forEach((aim, r) => {
      const row = list.filter((e) => e.objective === aim), ratio = row.every((e) => e.ratio);
      const map = ratio ? Math.log : (v) => v;
      let low = Math.min(...row.flatMap((e) => e.low)), high = Math.max(...row.flatMap((e) => e.high));
      if (!(low < high)) { low = ratio ? 0.9 : low - 1; high = ratio ? 1.1 : high + 1; }
      const y0 = top + r * h, pad = 8;
      const py = (v) => y0 + h - 14 - pad - ((map(v) - map(low)) / (map(high) - map(low))) * (h - 14 - 2 * pad);
      picture.append(label(4, y0 + (h - 14) / 2 + 4, aim.length > 11 ? aim.slice(0, 10) + "…" : aim, "start", "plain"));
      for (const v of [low, ratio ? 1 : 0, high])
        if (v === low || v === high || Math.min(Math.abs(py(v) - py(low)), Math.abs(py(v) - py(high))) > 13)
          picture.append(label(left - 5, py(v) + 4, ratio ? `×${Number(v.toPrecision(3))}` : tick(v), "end"));
      names.forEach((name, c) => {
        const effect = row.find((e) => e.parameter === name), x0 = left + c * w;
        picture.append(draw("rect", { x: x0 + 4, y: y0, width: w - 10, height: h - 14, fill: "none", stroke: "var(--line)" }));
        if (!effect) return;
        const n = effect.labels.length, px = (k) => x0 + 14 + ((w - 30) * k) / Math.max(1, n - 1);
        const zero = py(effect.ratio ? 1 : 0);
        if (zero >= y0 && zero <= y0 + h - 14)
          picture.append(draw("line", { x1: x0 + 4, x2: x0 + w - 6, y1: zero, y2: zero, stroke: "var(--line)" }));
        const line = (values) => values.map((v, k) => `${px(k).toFixed(1)},${py(v).toFixed(1)}`);
        const band = [...line(effect.high), ...line(effect.low).reverse()].join(" ");
        picture.append(draw("polygon", { points: band, fill: "var(--second)", opacity: 0.4 }));
        picture.append(draw("polyline", { points: line(effect.middle).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 1.6 }));
        effect.middle.forEach((v, k) => {
          const dot = draw("circle", { cx: px(k), cy: py(v), r: 2.6, fill: "var(--accent)" });
          const words = draw("title");
          words.textContent = `${name} = ${effect.labels[k]}: ${effect.objective} ${effect.ratio ? "×" : ""}${number(v)}`;
          dot.append(words);
          picture.append(dot);
        });
      });
    });
    names.forEach((name, c) => {
      const effect = list.find((e) => e.parameter === name), x0 = left + c * w, y = top + h * aims.length;
      const n = effect.labels.length, every = Math.ceil(n / 6);
      effect.labels.forEach((text, k) => {
        if (k % every) return;
        const x = x0 + 14 + ((w - 30) * k) / Math.max(1, n - 1);
        const parts = text.split(", "), same = new Set(parts).size === 1 ? level(parts[0]) : parts[parts.length - 1];
        const element = label(x, y, same.length > 12 ? same.slice(0, 11) + "…" : same, "end");
        element.setAttribute("transform", `rotate(-40 ${x} ${y - 4})`);
        picture.append(element);
      });
      const words = axisName(name);
      picture.append(label(x0 + w / 2, y + 54, words.length > 26 ? "…" + words.slice(-25) : words, "middle", "plain"));
    });
    box.append(picture);
    const some = list.filter((e) => e.elasticity);
    table.hidden = !some.length;
    if (!some.length) return;
    table.append(make("caption", { className: "note", textContent:
      "Elasticity: per cent that the objective changes for one per cent of the parameter, between neighbouring values; median (quartiles)." }));
    table.append(make("tr", {}, make("th", { className: "text", textContent: "parameter" }), ...aims.map((a) => make("th", { textContent: a }))));
    const digits = (v) => (Math.abs(v) < 0.005 ? "0" : v.toFixed(2));
    for (const name of new Set(some.map((e) => e.parameter)))
      table.append(make("tr", {}, make("td", { className: "text", textContent: name }), ...aims.map((aim) => {
        const effect = some.find((e) => e.parameter === name && e.objective === aim);
        return make("td", { textContent: effect
          ? `${digits(effect.elasticity[1])} (${digits(effect.elasticity[0])} to ${digits(effect.elasticity[2])})` : "–" });
      })));
  }

  // ---------------------------------------------------------------- errors, head
  function fillErrors() {
    at("errors-section").hidden = !about.errors.length;
    const head = make("tr", {}, ...["points", "status"].map((t) => make("th", { textContent: t })),
      make("th", { className: "text", textContent: "why" }), make("th", { textContent: "" }));
    at("errors").append(head, ...about.errors.slice(0, 200).map((e) => {
      const row = make("tr", {}, make("td", { textContent: whole.format(e.count) }), make("td", { textContent: e.status }),
        make("td", { className: "text", textContent: e.error }));
      let first = null;
      for (let i = 0; i < rows && first === null; i++) if (status(i) === e.status && errorOf(i) === e.error) first = i;
      const cell = make("td");
      if (first !== null) {
        const button = make("button", { type: "button", textContent: "Show one" });
        button.addEventListener("click", () => { pick(first); at("pick").scrollIntoView({ block: "nearest" }); });
        cell.append(button);
      }
      row.append(cell);
      return row;
    }));
  }
  function fillHeader() {
    const c = about.counts;
    at("summary").textContent = [
      `method ${about.method}`, `${plural(c.done, "point")} done`, c.failed ? `${whole.format(c.failed)} failed` : "none failed",
      c.infeasible ? `${whole.format(c.infeasible)} infeasible` : "none infeasible",
      `${whole.format(data.pareto.reduce((a, b) => a + b, 0))} on the front`, `hwsim ${about.version}`,
    ].join(" · ");
    const words = [];
    if (!about.complete)
      words.push(`This sweep is not finished: ${about.unfinished ? plural(about.unfinished, "point") + " to come" : "its table is not written yet"}; hwsim sweep with --resume goes on.`);
    if (about.shown < about.total)
      words.push(`This page shows ${whole.format(about.shown)} of ${plural(about.total, "point")}: the front and evenly spaced others; results.csv has all.`);
    at("warning").hidden = !words.length;
    at("warning").textContent = words.join(" ");
    at("spec").textContent = about.spec;
  }
  function fillControls() {
    const boxes = at("workload-box"), list = at("workload");
    boxes.hidden = about.workloads.length < 2;
    about.workloads.forEach((name, i) => list.append(make("option", { value: i, textContent: name })));
    if (about.workloads.length > 1) list.append(make("option", { value: -1, textContent: "all" }));
    list.value = view.workload;
    list.addEventListener("change", () => {
      view.workload = Number(list.value);
      choose();
      fillAnalysis();
    });
    for (const side of ["x", "y"]) {
      const list = at(side), log = at(side + "log");
      for (const c of drawable) list.append(make("option", { value: c.name, textContent: c.name + arrow(c.name) }));
      const update = () => {
        if (!view[side]) return;
        list.value = view[side].name;
        log.checked = view[side].log;
        log.disabled = !view[side].canLog;
      };
      list.addEventListener("change", () => {
        view[side] = columns.get(list.value);
        view.box = null;
        update();
        refresh();
      });
      log.addEventListener("change", () => {
        Object.assign(view[side], { log: log.checked, fixed: true });
        refresh();
      });
      update();
    }
    at("colour").append(make("option", { value: "front", textContent: "front" }));
    for (const c of drawable.filter((c) => c.varied)) at("colour").append(make("option", { value: c.name, textContent: c.name }));
    at("colour").addEventListener("change", (event) => {
      view.colour = event.target.value;
      fillLegend();
      drawScatter();
      drawParallel();
    });
    at("infeasible-box").hidden = !about.counts.infeasible;
    at("infeasible").addEventListener("change", (event) => { view.infeasible = event.target.checked; choose(); });
    at("clear").addEventListener("click", clear);
  }

  fillHeader();
  fillControls();
  fillLegend();
  fillHead();
  choose();
  fillAnalysis();
  fillErrors();
  const start = about.studies.map((s) => s.chosen).find((i) => i !== null && i !== undefined);
  if (start !== undefined) {
    pick(start);
    at("pick").append(make("p", { className: "note", textContent:
      "Shown at first: the point of the front that is nearest to the best value of every objective." }));
  }
  else at("pick").append(make("p", { className: "note", textContent: "No finished point yet." }));
  new ResizeObserver(() => later(() => { drawScatter(); drawParallel(); })).observe(at("scatter-box"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawScatter(); drawParallel(); });

  window.hwsimReport = { // for tests and for the console
    view, pick, commands, shown: () => shown.slice(), kept: () => shown.filter((i) => kept[i]),
    place(i) { // of a point of the scatter plot, in pixels of the window
      const box = scatter.getBoundingClientRect();
      return [box.left + frame.xs.place(view.x.get(i)), box.top + frame.ys.place(view.y.get(i))];
    },
    bars: () => bars.map((bar) => {
      const box = parallel.getBoundingClientRect();
      return { name: bar.column.name, x: box.left + bar.x, low: box.top + bar.scale.place(bar.column.low), high: box.top + bar.scale.place(bar.column.high) };
    }),
  };
})();
