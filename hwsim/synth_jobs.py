"""Runs of synthesis and of place and route as a file, to be worked off by many processes anywhere.

    python -m hwsim.synth_jobs jobs.json.gz --processes 16 --until 540 --pack results.tar.xz

runs what the file holds, the longest first, through the cache (`HWSIM_CACHE`); what is in it
already costs nothing, so a run that was stopped goes on. Only Python's standard library, Yosys and
nextpnr are needed, so this works on a machine without the rest of hwsim's libraries. The archive
holds the reports without the netlists; unpacked into the cache's folder elsewhere it makes the same
commands there instant.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path
from queue import PriorityQueue
from threading import Thread

from hwsim.errors import UserError

__all__ = ["SynthJob", "main", "pack_reports", "read_jobs", "run_jobs", "write_jobs"]

_PACKED = ("stat.json", "seconds.json", "report.json", "size.json", "nextpnr.log")
"""Files of a cache folder that reports are read from; netlists and Yosys's logs stay."""


@dataclass(frozen=True, kw_only=True)
class SynthJob:
    """One block on one target.

    Attributes:
        name: for messages.
        verilog, top: the design.
        target: a name of `hwsim.rtl.targets.TARGETS`.
        frequency_hz: goal of place and route.
        seeds: of the placements; none synthesizes only.
        weight: about how long it takes, in any unit; the largest start first.
    """

    name: str
    verilog: str
    top: str
    target: str
    frequency_hz: float
    seeds: tuple[int, ...] = ()
    weight: float = 1


def write_jobs(jobs: Iterable[SynthJob], path: str | Path) -> None:
    """Write jobs as one gzipped JSON list.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps([asdict(job) for job in jobs])
    Path(path).write_bytes(gzip.compress(text.encode(), mtime=0))


def read_jobs(path: str | Path) -> list[SynthJob]:
    """Jobs that `write_jobs` wrote.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        entries = json.loads(gzip.decompress(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a list of jobs: {error}") from None
    return [SynthJob(**(entry | {"seeds": tuple(entry["seeds"])})) for entry in entries]


def run_jobs(
    jobs: Sequence[SynthJob],
    *,
    processes: int,
    until_s: float = float("inf"),
    timeout_s: float = 1800,
    progress: Callable[[str], None] = lambda message: None,
) -> int:
    """Run jobs in so many processes at once; results stay in the cache.

    Args:
        jobs: what to run.
        processes: tools at work at the same time.
        until_s: seconds after which no task starts, and a tool at work is stopped.
        timeout_s: seconds at most for each run of a tool.
        progress: told in words what ends.

    Returns:
        How many tasks failed or were not reached.

    Raises:
        UserError: a tool is missing or the cache cannot be written.
    """
    from hwsim.rtl.synth import ToolFailure, place_and_route, synthesise
    from hwsim.rtl.targets import TARGETS

    end = time.monotonic() + until_s

    def limit() -> float:
        left = min(timeout_s, end - time.monotonic())
        if left <= 0:
            raise ToolFailure("no time was left")
        return left

    def map_one(job: SynthJob) -> bool:
        try:
            found = synthesise(job.verilog, job.top, TARGETS[job.target], timeout_s=limit())
        except ToolFailure as failure:
            progress(f"{job.name}: {failure}")
            return False
        progress(f"{job.name}: synthesis {found.seconds:.0f} s")
        return True

    def place_one(job: SynthJob, seed: int) -> bool:
        target = TARGETS[job.target]
        try:
            netlist = synthesise(job.verilog, job.top, target, timeout_s=limit())
            if lacking := target.lacking(netlist.cells):
                progress(f"{job.name}: does not fit: {lacking}")
                return True  # an answer, not a failure
            placed = place_and_route(
                netlist,
                target,
                frequency_hz=job.frequency_hz,
                seed=seed,
                timeout_s=limit(),
                detailed=False,
            )
        except ToolFailure as failure:
            progress(f"{job.name}: seed {seed}: {failure}")
            return False
        speed = f"{placed.fmax_hz / 1e6:.1f} MHz"
        progress(f"{job.name}: seed {seed}: {speed} in {placed.seconds:.0f} s")
        return True

    # What is placed afterwards is mapped first, and placements go before the other synthesis: they
    # are the longest tasks.
    tasks: PriorityQueue[tuple[float, int, Callable[[], None]]] = PriorityQueue()
    number = count()
    failed: list[str] = []

    def work_on(job: SynthJob) -> None:
        if not map_one(job):
            failed.append(job.name)
            return
        for seed in job.seeds:
            tasks.put((-2e9 - job.weight, next(number), partial(place, job, seed)))

    def place(job: SynthJob, seed: int) -> None:
        if not place_one(job, seed):
            failed.append(job.name)

    def serve() -> None:
        while True:
            _, _, task = tasks.get()
            try:
                task()
            except BaseException as error:  # reported by the caller, in whose thread it counts
                errors.append(error)
            finally:
                tasks.task_done()

    errors: list[BaseException] = []
    for job in jobs:
        urgency = 1e9 if job.seeds else 0
        tasks.put((-urgency - job.weight, next(number), partial(work_on, job)))
    for _ in range(processes):
        Thread(target=serve, daemon=True).start()
    tasks.join()
    if errors:
        raise errors[0]
    return len(failed)


def pack_reports(path: str | Path) -> int:
    """Archive the cache's reports, netlists left out; returns how many folders.

    Raises:
        OSError: the archive cannot be written.
    """
    from hwsim.rtl.simulator import cache_dir

    folders = sorted((cache_dir() / "synth").glob("[!.]*"))
    with tarfile.open(path, "w:xz") as archive:
        for folder in folders:
            for name in _PACKED:
                if (folder / name).exists():
                    archive.add(folder / name, f"{folder.name}/{name}")
    return len(folders)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module; 1 if a task failed."""
    parser = argparse.ArgumentParser(prog="python -m hwsim.synth_jobs", description=__doc__)
    parser.add_argument("jobs", help="file that examples/synthesis_table.py --plan wrote")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--until", type=float, default=float("inf"), metavar="SECONDS")
    parser.add_argument("--pack", metavar="FILE", help="write the reports as a .tar.xz")
    given = parser.parse_args(arguments)
    try:
        failed = run_jobs(
            read_jobs(given.jobs),
            processes=given.processes,
            until_s=given.until,
            progress=lambda message: print(message, file=sys.stderr, flush=True),
        )
    except UserError as error:
        print(f"hwsim: {error}", file=sys.stderr)
        return 2
    finally:
        if given.pack:
            pack_reports(given.pack)
    print(f"{failed} tasks failed or were not reached", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
