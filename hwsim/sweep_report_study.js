// Hypervolume, importance, sensitivity, errors; and the start.
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
  at("infeasible").addEventListener("change", (event) => { 
    view.infeasible = event.target.checked;
    fillLegend();
    choose();
  });
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
night.addEventListener("change", () => { fillLegend(); drawScatter(); drawParallel(); });

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
