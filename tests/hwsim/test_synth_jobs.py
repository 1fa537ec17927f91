"""Jobs of synthesis in a file, rows of figures: what goes in comes out, and what fails counts."""

from __future__ import annotations

import tarfile
from importlib.util import find_spec

import pytest

from hwsim import synth_jobs
from hwsim.area_points import Point, area_points
from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.rtl import synth as tools
from hwsim.rtl.blocks import blocks_of
from hwsim.synth_jobs import SynthJob, read_jobs, run_jobs, write_jobs
from hwsim.synth_rows import COUNTS, Row, measure, read_rows, write_rows


def job(name, **more):
    fields = {"verilog": "", "top": "t", "target": "ecp5", "frequency_hz": 1e8} | more
    return SynthJob(name=name, **fields)


def test_jobs_survive_their_file(tmp_path):
    jobs = [job("a", seeds=(1, 5), weight=3), job("b", verilog="module b; endmodule")]
    write_jobs(jobs, tmp_path / "jobs.gz")
    assert read_jobs(tmp_path / "jobs.gz") == jobs
    (tmp_path / "no.gz").write_text("no")
    with pytest.raises(UserError, match="cannot be read as a list of jobs"):
        read_jobs(tmp_path / "no.gz")


def test_every_seed_of_every_job_runs_and_failures_count(monkeypatch):
    done = []

    def synthesise(verilog, top, target, *, timeout_s):
        assert 0 < timeout_s <= 1800
        if verilog == "broken":
            raise tools.ToolFailure("synthesis failed")
        done.append(verilog)
        return tools.Netlist(top=top, cells={}, transistors=None, memory_bits=0, seconds=0,
                             reused=True, folder=None)  # fmt: skip

    def place_and_route(netlist, target, *, frequency_hz, seed, timeout_s, detailed):
        assert not detailed
        done.append((netlist.top, seed))
        raise tools.ToolFailure("no room")

    monkeypatch.setattr(tools, "synthesise", synthesise)
    monkeypatch.setattr(tools, "place_and_route", place_and_route)
    said = []
    jobs = [job("a", verilog="A", top="a", seeds=(1, 2)), job("b", verilog="broken"),
            job("c", verilog="C", target="xcup")]  # fmt: skip
    assert run_jobs(jobs, processes=3, progress=said.append) == 3
    assert sorted(x for x in done if isinstance(x, tuple)) == [("a", 1), ("a", 2)]
    assert done.count("C") == 1
    assert "b: synthesis failed" in said
    assert "a: seed 2: no room" in said
    # no time: nothing starts
    done.clear()
    assert run_jobs(jobs, processes=2, until_s=0) == 3
    assert done == []


def test_an_error_in_a_job_reaches_the_caller(monkeypatch):
    def synthesise(*_, **__):
        raise UserError("pyosys is missing")

    monkeypatch.setattr(tools, "synthesise", synthesise)
    with pytest.raises(UserError, match="pyosys is missing"):
        run_jobs([job("a")], processes=1)


@pytest.mark.skipif(find_spec("pyosys") is None, reason="pyosys is not installed")
def test_results_move_to_another_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "one"))
    point = Point(preset="delta", overrides=("lanes=1", "detector_width=1"), block="lanes")
    made = measure(point, "generic")
    assert made.counts["ff"] > 24
    assert made.counts["memory_bits"] == 4096 * 24
    assert made.counts["lut"] is None
    synth_jobs.pack_reports(tmp_path / "packed.tar.xz")
    with tarfile.open(tmp_path / "packed.tar.xz") as archive:
        assert {name.split("/")[1] for name in archive.getnames()} == {"stat.json", "seconds.json"}
        archive.extractall(tmp_path / "two" / "synth", filter="data")
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "two"))
    assert measure(point, "generic", cached_only=True) == made
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path / "three"))
    assert measure(point, "generic", cached_only=True) is None


def test_rows_survive_their_file(tmp_path):
    counts = dict.fromkeys(COUNTS) | {"lut": 5.0, "bram": 0.5, "gates": 0.0}
    point = Point(preset="sat", overrides=("rows=2", "cols=3"), block="stce", role="check")
    rows = [
        Row(
            point=point, target="ecp5", counts=counts, seeds_mhz=(103.5, 99.0, 101.2), path="a to b"
        ),
        Row(point=point, target="xcup", counts=counts, tools="pyosys 0.70"),
    ]
    write_rows(rows[::-1], tmp_path / "rows.csv")
    assert read_rows(tmp_path / "rows.csv") == rows
    assert rows[0].fmax_mhz == 101.2
    assert rows[1].fmax_mhz is None
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="the header must be preset,block"):
        read_rows(tmp_path / "other.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(tmp_path / "none.csv")


def test_every_point_is_a_block_of_a_configuration_and_is_there_once():
    points = list(area_points())
    assert len({point.key for point in points}) == len(points)
    for point in points:
        config = load_config(point.preset, list(point.overrides))
        assert point.block in blocks_of(config), point
    # every block that is fitted is also tried on sizes that the fit has not seen
    for block in ("uspe", "stce", "bank", "lane", "dispatch", "engine", "scanner", "gates"):
        assert {p.role for p in points if p.block == block} == {"fit", "check"}
