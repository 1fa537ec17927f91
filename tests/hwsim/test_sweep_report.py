"""The report of a sweep: its data, its command lines, and the page in a real browser."""

from __future__ import annotations

import json
import re
import shlex
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from browser import Browser, find_chromium

from hwsim.cli import app
from hwsim.config import load_config, replace
from hwsim.errors import UserError
from hwsim.html import write_report
from hwsim.sweep_execute import SerialExecutor
from hwsim.sweep_report import make_page, study, write_sweep_report
from hwsim.sweep_report_data import command_lines, load_sweep, works_of
from hwsim.sweep_run import run_sweep

EVIL = "</script><b id=evil>&\u2028"
SPEC = {
    "accelerator": "sat",
    "workloads": [
        {"name": "digits_mlp", "label": EVIL},
        {"name": "digits_cnn", "batch": 2, "phase": "training", "label": "it's cnn"},
    ],
    "parameters": {
        "rows": [4, 8],
        "cols": [4, 8, 16],
        "sparsity": ["dense", "2:4"],
        "dram.bytes_per_cycle": {"values": [8.0, None], "when": "rows > 4"},
        "pregeneration": [True, False],
        "psum_depth": [64, 100],
    },
    "together": [["pregeneration", "psum_depth"]],
    "constraints": ["pes > 16", "utilization >= 0"],
    "measures": ["macs_dense"],
}  # 100 is no power of two: those points fail


def columns(page):
    """What the page's script reads."""
    found = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', page, re.S)
    return {name: json.loads(text) for name, text in found}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "out"
    run_sweep(SPEC, path, workers=1)
    return path


def test_files(folder):
    for name in ("pareto", "hypervolume", "importance", "sensitivity"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    sweep = load_sweep(folder)
    assert make_page(sweep, study(sweep)) == (folder / "report.html").read_text()


def test_a_table_reads_back_with_the_values_of_the_specification(folder):
    sweep = load_sweep(folder)
    for (_, row), (_, raw) in zip(
        sweep.frame.iterrows(), pd.read_csv(folder / "results.csv").iterrows(), strict=True
    ):
        assert type(row["rows"]) is int
        assert isinstance(row["pregeneration"], bool)
        width = row["dram.bytes_per_cycle"]
        assert width is None or (type(width) is float and width == raw["dram.bytes_per_cycle"])
        assert (width is None) == bool(np.isnan(raw["dram.bytes_per_cycle"]))
        assert row["cycles"] == raw["cycles"] or np.isnan(raw["cycles"])


def test_every_command_line_gives_the_configuration_of_its_point(folder):
    sweep = load_sweep(folder)
    base = load_config("sat")
    tried = 0
    for _, row in sweep.frame.iterrows():
        values = {path: row[path] for path in SPEC["parameters"]}
        (line,) = command_lines(sweep.spec, row["workload"], values)
        words = shlex.split(line)
        overrides = [words[i + 1] for i, word in enumerate(words) if word == "-s"]
        if row["status"] == "done":
            assert load_config("sat", overrides) == replace(base, values)
            tried += 1
    assert tried == 2 * (6 + 12 - 2)  # the last are those with too few PEs


@pytest.mark.parametrize("label", [EVIL, "it's cnn"])
def test_a_command_line_run_reproduces_its_point(label, folder, capsys):
    sweep = load_sweep(folder)
    rows = sweep.frame[(sweep.frame["workload"] == label) & (sweep.frame["status"] == "done")]
    row = rows.iloc[-1]
    values = {path: row[path] for path in SPEC["parameters"]}
    (line,) = command_lines(sweep.spec, label, values)
    app([*shlex.split(line)[1:], "--json"], standalone_mode=False)
    summary = json.loads(capsys.readouterr().out)
    for name in ("cycles", "energy_pj", "dram_read_bytes", "macs_effective"):
        assert summary[name] == pytest.approx(row[name], rel=1e-12), name
    assert summary["cycles"] == row["cycles"]


def test_a_mix_has_a_command_line_for_each_workload(tmp_path):
    spec = {
        "accelerator": "sat",
        "workloads": [{"name": "digits_mlp", "weight": 2}, {"name": "digits_cnn", "weight": 0.5}],
        "parameters": {"rows": [4]},
        "seed": 3,
    }
    run_sweep(spec, tmp_path, workers=1)
    sweep = load_sweep(tmp_path)
    label = sweep.frame["workload"][0]
    assert [work.name for work in works_of(sweep.spec, label)] == ["digits_mlp", "digits_cnn"]
    assert command_lines(sweep.spec, label, {"rows": 4}) == [
        "hwsim simulate digits_mlp -a sat -s rows=4 --seed 3",
        "hwsim simulate digits_cnn -a sat -s rows=4 --seed 3",
    ]
    about = columns((tmp_path / "report.html").read_text())["about"]
    assert len(about["runs"][0]) == 2
    assert about["counts"] == {"done": 1, "failed": 0, "infeasible": 0}
    (found,) = about["studies"]
    assert (found["points"], found["front"], found["volume"]) == (1, 1, None)


def test_texts_never_become_markup(folder):
    page = (folder / "report.html").read_text()
    assert "<b id=evil>" not in page
    assert page.count("</script>") == 3
    found = columns(page)
    assert found["about"]["workloads"] == [EVIL, "it's cnn"]
    assert found["about"]["total"] == len(found["points"]["key"]) == 72
    assert "http" not in re.sub(r"http://www.w3.org/2000/svg", "", page)


def test_counts_and_errors(folder):
    about = columns((folder / "report.html").read_text())["about"]
    frame = pd.read_csv(folder / "results.csv")
    for state, count in about["counts"].items():
        assert count == (frame["status"] == state).sum()
    assert sum(about["counts"].values()) == len(frame)
    assert sum(e["count"] for e in about["errors"]) == (frame["status"] != "done").sum()
    texts = [e["error"] for e in about["errors"]]
    assert any("psum_depth must be a power of two" in text for text in texts)
    assert "constraint pes > 16 does not hold" in texts


class Interrupted:
    """Executes some runs and is then stopped by Ctrl-C."""

    def __init__(self, count):
        self._count = count

    def run(self, runs):
        for run in runs[: self._count]:
            yield from SerialExecutor().run([run])
        raise KeyboardInterrupt


@pytest.fixture(params=[0, 5], scope="module")
def interrupted(request, tmp_path_factory):
    """How many points were finished, and the report."""
    spec = {
        "accelerator": "sat", "workloads": ["digits_mlp"], "objectives": {"cycles": "min"},
        "parameters": {"rows": [4, 8, 16], "cols": [4, 8, 16]},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, path, executor=Interrupted(request.param))
    assert not (path / "results.csv").exists()
    return request.param, write_report(path)


def test_an_interrupted_sweep_reports_what_is_finished(interrupted):
    count, page = interrupted
    found = columns(page.read_text())
    assert not found["about"]["complete"]
    assert found["about"]["unfinished"] == 9 - count
    assert found["about"]["counts"]["done"] == len(found["points"]["key"]) == count
    assert sum(found["points"]["pareto"]) == min(count, 1)
    assert not page.with_name("results.csv").exists()  # which --resume writes


def test_an_interrupted_search_reports_its_whole_rounds_and_more(tmp_path):
    pytest.importorskip("optuna")
    spec = {
        "accelerator": "sat", "workloads": ["digits_mlp"], "budget": 12,
        "parameters": {"rows": {"low": 1, "high": 16}, "cols": {"low": 1, "high": 16}},
        "method": {"name": "tpe", "batch": 4},
    }  # fmt: skip

    class Later(Interrupted):
        rounds = 0

        def run(self, runs):
            self.rounds += 1
            if self.rounds == 1:
                yield from SerialExecutor().run(runs)
            else:
                yield from super().run(runs)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, tmp_path, executor=Later(2))
    sweep = load_sweep(tmp_path)
    assert (sweep.frame["status"] == "done").tolist() == [True] * 6
    assert not sweep.complete
    assert sweep.unfinished == 6


def test_no_finished_points_and_one_objective(tmp_path):
    spec = {
        "accelerator": "sat", "workloads": ["digits_mlp"], "objectives": {"utilization": "max"},
        "parameters": {"rows": [4, 8]}, "constraints": ["cycles < 1"],
    }  # fmt: skip
    run_sweep(spec, tmp_path, workers=1)
    about = columns((tmp_path / "report.html").read_text())["about"]
    assert about["counts"] == {"done": 0, "failed": 0, "infeasible": 2}
    assert about["studies"][0]["chosen"] is None
    assert (tmp_path / "pareto.png").exists()
    assert not (tmp_path / "importance.png").exists()


def test_folders_without_a_sweep_are_refused(tmp_path, folder):
    with pytest.raises(UserError, match="cannot read sweep"):
        write_sweep_report(tmp_path)
    (tmp_path / "sweep.yaml").write_bytes((folder / "sweep.yaml").read_bytes())
    with pytest.raises(UserError, match="holds no results"):
        write_sweep_report(tmp_path)
    table = (folder / "results.csv").read_text()
    (tmp_path / "results.csv").write_text(table.replace("cols,", "colz,", 1))
    with pytest.raises(UserError, match="must have the column cols, but has none"):
        write_sweep_report(tmp_path)
    broken = re.sub(r",\d+,2:4,", ",17,2:4,", table, count=1)
    (tmp_path / "results.csv").write_text(broken)
    with pytest.raises(UserError, match="cols has the value '17'"):
        write_sweep_report(tmp_path)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """5,000 points with results that nobody simulated, and their studies."""
    path = tmp_path_factory.mktemp("many")
    spec = {
        "accelerator": "sat", "workloads": ["resnet18"], "method": "random", "budget": 5000,
        "parameters": {
            "rows": {"low": 1, "high": 128}, "cols": {"low": 1, "high": 128},
            "dram.bytes_per_cycle": {"low": 1.0, "high": 400.0, "log": True},
            "sparsity": ["dense", "2:4", "2:8"], "psum_depth": [64, 128, 256, 512],
            "buffers.input_bytes": {"low": 65536, "high": 4194304, "factor": 2},
        },
        "objectives": {"cycles": "min", "energy_pj": "min", "pes": "min", "dram_read_bytes": "min"},
        "measures": [f"energy_parts_pj.part{k}" for k in range(8)],
    }  # fmt: skip
    (path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"key": [rng.bytes(12).hex() for _ in range(5000)]})
    frame["workload"] = "resnet18"
    frame["rows"], frame["cols"] = rng.integers(1, 129, (2, 5000))
    frame["dram.bytes_per_cycle"] = np.exp(rng.uniform(0, np.log(400), 5000))
    for name, values in (("sparsity", ["dense", "2:4", "2:8"]), ("psum_depth", [64, 128, 256, 512]),
                         ("buffers.input_bytes", [65536 << k for k in range(7)])):  # fmt: skip
        frame[name] = rng.choice(values, 5000)
    frame["status"], frame["error"] = "done", ""
    names = ["pes", "cycles", "seconds", "macs_dense", "macs_effective", "utilization",
             "dram_read_bytes", "dram_write_bytes", "energy_pj", *spec["measures"]]  # fmt: skip
    for name in names:
        frame[name] = np.exp(rng.uniform(10, 25, 5000)).round(0 if "bytes" in name else 12)
    frame["order"] = np.arange(1, 5001)
    frame["run_seconds"], frame["elapsed_seconds"] = rng.random((2, 5000))
    frame["pareto"] = rng.random(5000) < 0.1
    frame.to_csv(path / "results.csv", index=False)
    sweep = load_sweep(path)
    return sweep, study(sweep)


def test_5000_points_take_less_than_3_mb(many):
    sweep, studies = many
    page = make_page(sweep, studies)
    assert len(page.encode()) < 3_000_000
    found = columns(page)
    assert found["about"]["shown"] == 5000
    measure = next(m for m in found["points"]["measures"] if m["name"] == "energy_pj")
    assert measure["values"] == pytest.approx(sweep.frame["energy_pj"].tolist(), rel=1e-8)
    widths = next(p for p in found["points"]["parameters"] if p["name"] == "dram.bytes_per_cycle")
    shown = [float(widths["levels"][i]) for i in widths["index"]]
    assert shown == sweep.frame["dram.bytes_per_cycle"].tolist()  # to the last digit

    small = make_page(sweep, studies, limit=200_000)
    found = columns(small)
    assert len(small.encode()) < 300_000
    assert found["about"]["total"] == 5000
    assert found["about"]["shown"] == len(found["points"]["key"]) < 1000
    assert found["points"]["key"][found["about"]["studies"][0]["chosen"]] in set(sweep.frame["key"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if find_chromium() is None:
        pytest.skip("there is no Chromium on this machine")
    with Browser(tmp_path_factory.mktemp("chromium"), width=1400, height=1000) as opened:
        opened.allow_clipboard()
        yield opened


def sparse_point(browser):
    """A shown point with nothing near it, and where it is."""
    return browser.js(
        "(() => {const r = window.hwsimReport, all = r.shown().map((i) => [i, r.place(i)]);"
        "all.sort((a, b) => b[1][0] - a[1][0]); const [i, at] = all[0]; return [i, ...at]})()"
    )


def test_the_page_in_a_browser(browser, folder):
    """Hover, pick, copy, brush in both plots, sort, axes, keys; no error, nothing fetched."""
    browser.open(folder / "report.html")
    sweep = load_sweep(folder)
    report = "window.hwsimReport"
    done = sweep.frame[(sweep.frame["status"] == "done") & (sweep.frame["workload"] == EVIL)]
    assert browser.js(f"{report}.shown()") == done.index.tolist()
    assert browser.js("document.getElementById('evil')") is None

    row, x, y = sparse_point(browser)
    browser.move(x, y)
    tip = browser.until("!document.getElementById('tip').hidden && tip.textContent")
    assert f"cols: {sweep.frame['cols'][row]}" in tip
    assert EVIL in tip
    browser.click(x, y)
    shown = browser.until(f"{report}.view.picked !== null && [{report}.view.picked]")[0]
    same = ["pes", "cycles"]
    assert sweep.frame.loc[shown, same].tolist() == sweep.frame.loc[row, same].tolist()
    values = {path: sweep.frame[path][shown] for path in SPEC["parameters"]}
    want = "\n".join(command_lines(sweep.spec, EVIL, values))
    assert browser.js("document.getElementById('command').textContent") == want
    for i in sweep.frame.index:
        line = browser.js(f"{report}.commands({i})")
        values = {path: sweep.frame[path][i] for path in SPEC["parameters"]}
        assert line == command_lines(sweep.spec, sweep.frame["workload"][i], values)

    browser.click_on("#copy")
    browser.until("document.getElementById('copy').textContent === 'Copied'")
    assert browser.js("navigator.clipboard.readText()") == want

    browser.js("window.scrollTo(0, 0)")
    row, x, y = sparse_point(browser)
    browser.drag((x - 9, y - 9), (x + 9, y + 9))
    kept = browser.until(f"{report}.view.box && {report}.kept()")
    assert row in kept
    assert len(kept) < len(done)
    assert f"{len(kept)} of {len(done)} points selected" in browser.js("count.textContent")
    browser.js("scatter.focus()")
    browser.press("Escape")
    assert browser.js(f"{report}.view.box === null && count.textContent") == f"{len(done)} points"

    bars = {bar["name"]: bar for bar in browser.js(f"{report}.bars()")}
    bar = bars["cols"]
    browser.drag((bar["x"], bar["high"] - 8), (bar["x"], bar["high"] + 8))
    kept = browser.until(f"{report}.view.ranges.size && {report}.kept()")
    assert kept == done.index[done["cols"] == 16].tolist()
    browser.click(bar["x"], (bar["low"] + bar["high"]) / 2)
    assert browser.js(f"{report}.view.ranges.size") == 0

    browser.js("scatter.focus()")
    browser.press("ArrowRight")
    picked = browser.js(f"{report}.view.picked")
    assert sweep.frame["pareto"][picked]
    browser.click_on("#front th[data-column=cols] button")
    assert (
        browser.js(
            "document.querySelector('#front th[data-column=cols]').getAttribute('aria-sort')"
        )
        == "ascending"
    )
    browser.js("document.querySelector('#front tbody tr').focus()")
    browser.press("Enter")
    chosen = browser.js(f"{report}.view.picked")
    front = done[done["pareto"]]
    assert sweep.frame["cols"][chosen] == front["cols"].min()

    browser.js(
        "x.value = 'energy_pj'; x.dispatchEvent(new Event('change'));"
        "xlog.checked = !xlog.checked; xlog.dispatchEvent(new Event('change'));"
        "workload.value = '1'; workload.dispatchEvent(new Event('change'));"
        "colour.value = 'sparsity'; colour.dispatchEvent(new Event('change'))"
    )
    other = sweep.frame[(sweep.frame["status"] == "done") & (sweep.frame["workload"] != EVIL)]
    assert browser.js(f"{report}.shown()") == other.index.tolist()
    browser.click_on("#errors button")
    assert browser.js("pick.textContent").startswith("Point ")
    browser.dark(True)
    browser.resize(700, 900)
    browser.until("document.documentElement.scrollWidth <= 700")
    browser.dark(False)
    browser.resize(1400, 1000)
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [
        (folder / "report.html").resolve().as_uri()
    ]


def test_thousands_of_points_are_drawn_at_once(browser, many, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(make_page(*many))
    started = time.monotonic()
    browser.open(page)
    assert browser.js("window.hwsimReport.shown().length") == 5000
    assert time.monotonic() - started < 30  # under a second on an idle core
    assert browser.problems == []


def test_unfinished_pages_have_no_error(interrupted, browser):
    count, page = interrupted
    browser.open(page)
    assert browser.js("window.hwsimReport.shown().length") == count
    assert "not finished" in browser.js("warning.textContent")
    assert browser.problems == []
