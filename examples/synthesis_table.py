"""Synthesizes the blocks over sizes and formats: CSV file, tables, figures, area model.

    python examples/synthesis_table.py --docs docs

measures what is not in the cache and writes docs/data/synthesis.csv, the tables of
docs/synthesis.md, the figures and the area model. A run that was stopped goes on where it was.
`--plan FILE` writes the runs as jobs for `python -m hwsim.synth_jobs`, which works them off on a
machine with more cores; `--import FILE` takes its results into the cache, and with `--jobs FILE`,
what `--plan` wrote, no Verilog is made again. `--cached` starts no tool: what is not in the cache
keeps its row of the CSV file. `--report-only` reads that file alone.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hwsim.area_fit import fit_area, fittable, write_model
from hwsim.area_model import MODEL_FILE
from hwsim.area_points import TARGETS_MEASURED, Point, area_points
from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.figures import render
from hwsim.files import make_folder, write_bytes, write_text
from hwsim.rtl.blocks import block_verilog
from hwsim.rtl.simulator import cache_dir
from hwsim.synth_jobs import SynthJob, read_jobs, run_jobs, write_jobs
from hwsim.synth_report import (
    array_table,
    capacity_table,
    error_table,
    figures,
    unit_table,
)
from hwsim.synth_rows import Row, measure, read_rows, write_rows

MODEL = Path(__file__).parents[1] / "hwsim" / MODEL_FILE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the pages")
    parser.add_argument("--model", type=Path, default=MODEL, help="file of the area model")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="write what is missing as jobs")
    parser.add_argument("--jobs", type=Path, metavar="FILE", help="designs that --plan wrote")
    parser.add_argument("--import", type=Path, dest="archive", metavar="FILE", help="take results")
    parser.add_argument("--cached", action="store_true", help="start no tool")
    parser.add_argument("--report-only", action="store_true", help="from the CSV file alone")
    parser.add_argument("--processes", type=int, default=2, help="tools at work at once")
    parser.add_argument("--seeds", type=int, default=3, help="placements each; 0 places nothing")
    parser.add_argument("--targets", nargs="+", default=TARGETS_MEASURED, help="some of them")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="points whose name has one of these"
    )
    parser.add_argument("--placed", action="store_true", help="points that are placed alone")
    given = parser.parse_args()
    try:
        if given.archive:
            take(given.archive)
        points = [
            point
            for point in area_points()
            if any(text in name_of(point) for text in given.only)
            and (point.placed or not given.placed)
        ]
        if given.plan:
            jobs = plan(points, given)
            write_jobs(jobs, given.plan)
            say(f"{given.plan}: {len(jobs)} jobs")
            return 0
        table = given.docs / "data" / "synthesis.csv"
        make_folder(table.parent)
        rows = in_order(read_rows(table)) if table.exists() else []
        if not given.report_only:
            jobs = read_jobs(given.jobs) if given.jobs else plan(points, given)
            if not given.cached:
                run_jobs(jobs, processes=given.processes, progress=say)
            rows = collected(points, jobs, rows, table)
        report(rows, given.docs, given.model)
    except UserError as error:
        say(f"hwsim: {error}")
        return 2
    return 0


def collected(points: list[Point], jobs: list[SynthJob], old: list[Row], table: Path) -> list[Row]:
    """Rows of the jobs' points from the cache; the CSV file is written anew."""
    rows = {(row.point.key, row.target): row for row in old}
    named = {job.name: job for job in jobs}
    for point in points:
        for target in TARGETS_MEASURED:
            if (job := named.get(f"{name_of(point)} for {target}")) is None:
                continue
            row = measure(
                point,
                target,
                seeds=job.seeds,
                design=(job.verilog, job.top),
                cached_only=True,
                progress=say,
            )
            if row is not None:
                rows[point.key, target] = row
    kept = in_order(rows.values())
    write_rows(kept, table)
    return kept


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows of points that are still measured, in their order and with their present roles."""
    points = {point.key: (number, point) for number, point in enumerate(area_points())}
    known = [row for row in rows if row.point.key in points]
    known.sort(key=lambda row: (points[row.point.key][0], row.target))
    return [replace(row, point=points[row.point.key][1]) for row in known]


def plan(points: list[Point], given: argparse.Namespace) -> list[SynthJob]:
    """A job for each point and target."""
    jobs = []
    for number, point in enumerate(points, 1):
        config = load_config(point.preset, list(point.overrides))
        verilog, top = block_verilog(point.block, config)
        for target in given.targets:
            size = 1.0 + getattr(config, "lanes", 0)
            if point.block == "stce":
                size = getattr(config, "rows", 1) * getattr(config, "cols", 1)
            placed = point.placed and target == "ecp5"
            jobs.append(
                SynthJob(
                    name=f"{name_of(point)} for {target}",
                    verilog=verilog,
                    top=top,
                    target=target,
                    frequency_hz=config.clock_hz,
                    seeds=tuple(range(1, given.seeds + 1)) if placed else (),
                    weight=size,
                )
            )
        say(f"{number}/{len(points)} {name_of(point)}")
    return jobs


def take(archive: Path) -> None:
    """Unpack results of `python -m hwsim.synth_jobs --pack` into the cache; what is there stays."""
    folder = make_folder(cache_dir() / "synth")
    with tarfile.open(archive) as packed:
        names = {member.name.split("/")[0] for member in packed.getmembers()}
        new = {name for name in names if not (folder / name).exists()}
        members = [m for m in packed.getmembers() if m.name.split("/")[0] in new]
        packed.extractall(folder, members=members, filter="data")
    say(f"{len(new)} of {len(names)} results are new")


def report(rows: list[Row], docs: Path, model: Path) -> None:
    """Tables into the page and figures; the area model of each design whose blocks have points."""
    tables = {"arrays": array_table(rows), "units": unit_table(rows)}
    used = fittable(rows)
    whole = {(row.target, row.point.preset) for row in used}
    presets = dict.fromkeys(point.preset for point in area_points())
    missing = [f"{p} for {t}" for t in TARGETS_MEASURED for p in presets if (t, p) not in whole]
    if missing:
        say(f"no area model of {', '.join(missing)}: some of the blocks have no points")
    fit = None
    if used:
        fit = fit_area(used)
        write_model(fit, model)
        tables["errors"] = error_table(fit)
        if ("xcup", "sat") in whole:
            tables["capacity"] = capacity_table(fit)
        say(f"model of {len(fit.residuals)} figures in {model}")
    drawn = []
    for name, (title, figure) in figures(rows, fit).items():
        write_bytes(make_folder(docs / "images") / f"{name}.png", render(figure, "png"))
        drawn.append(f"![{title}](images/{name}.png)\n")
    tables["figures"] = "\n".join(drawn)
    page = docs / "synthesis.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    for name, table in tables.items():
        begin, end = f"<!-- {name} begin -->\n", f"<!-- {name} end -->"
        if begin not in text:
            text += f"\n{begin}{end}\n"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{table}{end}{rest.partition(end)[2]}"
    write_text(page, text)
    say(f"{len(rows)} rows in {page}")


def name_of(point: Point) -> str:
    return f"{point.preset} {point.block} {' '.join(point.overrides)}".strip()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
