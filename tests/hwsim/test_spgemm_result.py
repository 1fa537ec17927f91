"""Results of sparse products: keys, sums, files that read back, a trace that a viewer loads."""

from __future__ import annotations

import csv
import json

import pytest
from machine_runs import CORES, THREADS, made_up_run

from hwsim.config import load_config, replace
from hwsim.errors import UserError
from hwsim.html import write_report
from hwsim.saved import load_result
from hwsim.spgemm_figures import FIGURES, MACHINE_FIGURES
from hwsim.spgemm_result import FIGURE_NAMES, SpgemmResult
from hwsim.spgemm_terminal import spgemm_table
from hwsim.trace_events import trace_json

CONTRACT = {
    "workload", "accelerator", "phase", "batch", "cycles", "seconds", "macs_dense",
    "macs_effective", "utilization", "dram_read_bytes", "dram_write_bytes", "energy_pj",
    "counters", "version", "seed",
}  # fmt: skip


def result(*runs, **options):
    config = replace(load_config("piuma"), {"cores": CORES})
    return SpgemmResult(workload="made up", config=config, runs=runs, **options)


@pytest.fixture
def both():
    """Two products on the machine, one after the other."""
    return result(made_up_run("p0", 1000), made_up_run("p1", 1500, seed=1), seed=7)


def test_the_summary_adds_up(both):
    summary = both.summary
    assert set(summary) > CONTRACT
    assert summary["cycles"] == 2500 == sum(summary["parts"].values())
    assert summary["seconds"] == 2500 / both.config.clock_hz
    assert summary["macs_effective"] == 540
    assert summary["utilization"] == 540 / (2500 * both.config.peak_macs_per_cycle)
    moved = summary["dram_read_bytes"] + summary["dram_write_bytes"]
    assert moved == sum(summary["bytes_by_cause"].values()) == 2 * 6720
    assert summary["dram_bandwidth_share"] == moved / (2500 * both.config.dram.bytes_per_cycle)
    assert summary["probes_per_insert"] == 405 / 270
    assert summary["cache_hit_rate"] is None
    assert summary["energy_pj"] == sum(summary["energy_parts_pj"].values())
    assert summary["energy_parts_pj"]["dram"] == moved * both.config.energy.dram_pj
    assert summary["counters"]["spgemm.multiply"] == 540
    assert summary["seed"] == 7
    assert json.loads(both.to_json(layers=False)) == summary


def test_machine_figures_of_the_summary(both):
    issued = sum(int(run.machine.thread_issue.sum()) for run in both.runs)
    summary = both.summary
    assert summary["ipc"] == issued / 2500
    threads = summary["threads"]
    assert threads["count"] == THREADS
    assert sum(threads["active_histogram"]) == 2 * THREADS
    away = sum(row["barrier"] + row["idle"] for row in both.threads)
    assert threads["active_share"] == pytest.approx(1 - away / (THREADS * 2500))
    occupancy = summary["scratchpad_occupancy"]
    entries = [row["scratchpad_entries"] for row in both.timeline]
    slots = CORES * both.config.window.table_slots
    assert occupancy["capacity_entries"] == slots
    assert occupancy["peak"] == max(entries) / slots
    weighted = sum(row["scratchpad_entries"] * row["length"] for row in both.timeline)
    assert occupancy["mean"] == pytest.approx(weighted / 2500 / slots)


def test_cache_hits_count_every_cache():
    run = made_up_run(machine=False)
    run.counters.update({"spgemm.cache.hit": 30, "spgemm.cache.miss": 10})
    assert result(run).summary["cache_hit_rate"] == 0.75
    assert result(run).summary["ipc"] is None


def test_every_thread_s_cycles_are_accounted_for(both):
    assert len(both.threads) == 2 * THREADS
    for row in both.threads:
        parts = set(row) - {"layer", "core", "thread", "cycles"}
        assert sum(row[name] for name in parts) == row["cycles"]
    assert {(row["core"], row["thread"]) for row in both.threads} == {
        (core, thread) for core in range(CORES) for thread in range(THREADS // CORES)
    }


def test_the_timeline_covers_the_workload_without_gaps(both):
    place = 0
    for row in both.timeline:
        assert row["begin"] == place
        assert row["length"] > 0
        place += row["length"]
    assert place == 2500


def test_rows_have_a_column_for_each_cause_of_any_product():
    other = made_up_run("p1", machine=False)
    rows = result(made_up_run("p0"), other).rows
    assert list(rows[0]) == list(rows[1])
    for row in rows:
        assert sum(v for k, v in row.items() if k.startswith("cycles_")) == row["cycles"]
        parts = [v for k, v in row.items() if k.startswith("energy_") and k != "energy_pj"]
        assert sum(parts) == row["energy_pj"]
    assert "cycles_cache_dram" in rows[0]


def test_files_read_back_and_the_report_draws_the_same(both, tmp_path):
    both.write(tmp_path / "run")
    saved = load_result(tmp_path / "run")
    assert (saved.rows, saved.threads, saved.timeline) == (both.rows, both.threads, both.timeline)
    assert saved.summary == both.summary
    assert saved.config == both.config
    both.write(tmp_path / "bare", figures=False)
    page = write_report(tmp_path / "bare").read_text()
    assert page.count("data:image/png;base64,") == len(FIGURES) + len(MACHINE_FIGURES)
    assert "instructions" in (tmp_path / "bare" / "timeline.csv").read_text()
    for name in [*FIGURES, *MACHINE_FIGURES]:
        for kind in ("png", "svg"):
            file = f"{name}.{kind}"
            assert (tmp_path / "bare" / file).read_bytes() == (tmp_path / "run" / file).read_bytes()


def test_what_a_run_does_not_have_is_removed(both, tmp_path):
    both.write(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    result(made_up_run(machine=False)).write(tmp_path, figures=False)
    left = {"config.yaml", "layers.csv", "summary.json", "notes.txt"}
    assert {path.name for path in tmp_path.iterdir()} == left
    write_report(tmp_path)
    figures = {f"{name}.{kind}" for name in FIGURE_NAMES for kind in ("png", "svg")}
    assert {path.name for path in tmp_path.iterdir()} == left | figures | {"report.html"}


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("summary.json", '"threads"', '"thread"', "must have the key threads"),
        ("layers.csv", "dataflow,", "flow,", "must have the column dataflow"),
        ("threads.csv", "barrier", "fence", "must have the column barrier"),
        ("timeline.csv", "\np0,0,64,", "\np0,0,x,", "length must be a number in line 2"),
    ],
)
def test_spoilt_files_are_one_sentence(name, old, new, text, both, tmp_path):
    both.write(tmp_path, figures=False)
    whole = (tmp_path / name).read_text()
    assert old in whole
    (tmp_path / name).write_text(whole.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        write_report(tmp_path)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "threads.csv").unlink()
    with pytest.raises(UserError):
        write_report(tmp_path)


def test_the_trace_has_the_form_that_viewers_read(both):
    trace = json.loads(trace_json(both))
    clock = both.config.clock_hz
    assert trace["displayTimeUnit"] == "ns"
    assert trace["otherData"]["cycles"] == 2500
    assert trace["otherData"]["events_left_out"] == 0
    kinds: dict[str, list[dict]] = {}
    for event in trace["traceEvents"]:
        kinds.setdefault(event["ph"], []).append(event)
    assert set(kinds) == {"M", "X", "C"}
    spans = sum(len(run.machine.spans) for run in both.runs)
    assert len(kinds["X"]) == spans
    for event in kinds["X"]:
        assert set(event) >= {"name", "cat", "ts", "dur", "pid", "tid"}
        assert event["dur"] > 0
        assert 0 <= event["ts"] <= event["ts"] + event["dur"] <= 2500e6 / clock + 1e-6
    second = [event for event in kinds["X"] if event["cat"] == "p1"]
    first = both.runs[1].machine.spans["begin"].min()
    assert min(event["ts"] for event in second) == pytest.approx((1000 + first) * 1e6 / clock)
    named = {(event["pid"], event["tid"]) for event in kinds["M"] if event["name"] == "thread_name"}
    assert named == {(event["pid"], event["tid"]) for event in kinds["X"]}
    processes = {event["pid"] for event in kinds["M"] if event["name"] == "process_name"}
    assert processes >= {event["pid"] for event in kinds["X"]} | {0}
    assert all(isinstance(v, (int, float)) for e in kinds["C"] for v in e["args"].values())
    last = max(event["ts"] for event in kinds["C"])
    assert last == pytest.approx(2500e6 / clock)


def test_a_long_trace_is_bounded_and_says_what_is_left_out():
    many = result(made_up_run(cycles=500_000, bucket=8, spans=5000))
    trace = json.loads(trace_json(many, most=100))
    kept = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(kept) == 100
    assert trace["otherData"]["events_left_out"] == 4900
    spans = many.runs[0].machine.spans
    longest = sorted((spans["end"] - spans["begin"]).tolist())[-100]
    assert min(e["dur"] for e in kept) == pytest.approx(longest * 1e6 / many.config.clock_hz)
    counts = [event for event in trace["traceEvents"] if event["ph"] == "C"]
    assert 4 < len(counts) <= 4 * 4001


def test_the_table_names_causes_and_totals(both, capsys):
    spgemm_table(both)
    printed = capsys.readouterr()
    assert printed.out == ""
    for words in ("p0", "p1", "total", "2,500", "instructions a cycle", "cycles: issue", "b.read"):
        assert words in printed.err
    spgemm_table(result(made_up_run(machine=False)))
    assert "table slots" not in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 30])
def test_figures_of_one_product_and_of_many(count):
    runs = [made_up_run(f"p{i}", 1000 + i, machine=False, seed=i) for i in range(count)]
    some = result(*runs)
    axes = some.plot_cycles()
    bars = sum(patch.get_width() for patch in axes.patches)
    assert bars == pytest.approx(some.summary["cycles"])
    axes = some.plot_traffic()
    assert sum(patch.get_width() for patch in axes.patches) == pytest.approx(6720 * count)
    assert some.plot_roofline().get_xscale() == "log"


def test_threads_files_are_tables(both, tmp_path):
    both.write(tmp_path, figures=False)
    rows = list(csv.DictReader((tmp_path / "threads.csv").read_text().splitlines()))
    assert [int(row["issue"]) for row in rows] == [row["issue"] for row in both.threads]
