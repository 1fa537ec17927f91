// One point, and the table of the front.
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
