// Elements, columns, what is shown, scales. The parts of the script share one scope.
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
