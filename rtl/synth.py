"""Logic synthesis with Yosys and place and route with nextpnr, as processes of their own.

A netlist is kept by the hash of its Verilog, of the recipe and of the tools' versions, and a
placement by that of its netlist and options, so a repeated command is instant. Every tool runs in
a scratch folder with a time limit; a crash or a timeout is a `ToolFailure` of one sentence.

Modules are synthesized one by one and the netlist is flattened afterwards: the PE of an array is
mapped once instead of rows x cols times (an 8 x 8 array in 40 s), and flattening removes what an
instance leaves unused.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata, util
from pathlib import Path

from hwsim.errors import UserError
from hwsim.rtl.harness import register_ports
from hwsim.rtl.multiplier_registers import PACKING, pack_multiplier_registers
from hwsim.rtl.simulator import cache_dir
from hwsim.rtl.targets import Target
from hwsim.rtl.timing import CriticalPath, arrivals, slowest_path

__all__ = [
    "Netlist",
    "Placement",
    "PlacementJob",
    "ToolFailure",
    "netlist_folder",
    "place_and_route",
    "placement_job",
    "run_tool",
    "synthesise",
    "tool_versions",
    "write_harness",
]

_REVISION = 2
"""Part of the cache's key: raise it when the recipe outside the scripts changes."""

_DIE_WITH_PARENT = "import ctypes, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9)\n"
"""Run first by a tool's process, so that a killed command leaves none behind (PR_SET_PDEATHSIG)."""

_YOSYS = (
    "import sys; from pyosys import libyosys as yosys; "
    "yosys.run_pass('script ' + sys.argv[1], yosys.Design())"
)
_ABC_BROKE = "Assert `no_loops' failed"
_ABC_PLAIN = 'scratchpad -set abc9.script "+&scorr; &sweep; &dc2; &dch -f -r; &ps; &if -W 300 -v"\n'
"""ABC's `&mfs` may leave carry boxes out of order ("Boxes are not in a topological order"); what
Yosys then reads back has loops (seen on an arbiter of four). This is Yosys's script without it."""
_NEXTPNR = "import sys; from {0} import {1}; sys.exit({1}(sys.argv[1:]))"


class ToolFailure(RuntimeError):
    """A tool crashed, refused the design or ran out of time; one sentence."""


@dataclass(frozen=True, kw_only=True)
class Netlist:
    """A block mapped to a target's cells.

    Attributes:
        top: the top module.
        cells: how many of each cell type, the whole hierarchy flat.
        transistors: static CMOS transistors of the gates without flip-flops and memories; None
            where the target has no such estimate.
        memory_bits: bits of memories that the target left unmapped.
        seconds: what Yosys took when the netlist was made.
        reused: it was in the cache.
        folder: where `netlist.json.gz`, `stat.json` and `yosys.log` stand.
    """

    top: str
    cells: Mapping[str, int]
    transistors: int | None
    memory_bits: int
    seconds: float
    reused: bool
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A placed and routed block between the harness's registers.

    Attributes:
        fmax_hz: the highest clock frequency after routing.
        path: the path that limits it.
        arrivals: nanoseconds until the last bit of a register arrives, the latest registers first.
        used: nextpnr's utilisation by cell type, harness included: (used, available).
        harness_luts, harness_flip_flops: the harness's share of that.
        seconds: what nextpnr took.
        reused: it was in the cache.
        folder: where `report.json` and `nextpnr.log` stand.
    """

    fmax_hz: float
    path: CriticalPath
    arrivals: Mapping[str, float]
    used: Mapping[str, tuple[int, int]]
    harness_luts: int
    harness_flip_flops: int
    seconds: float
    reused: bool
    folder: Path


@dataclass(frozen=True, kw_only=True)
class PlacementJob:
    """A run of place and route.

    Attributes:
        folder: where its result is kept.
        arguments: of nextpnr, in a folder with `harness.json`; it writes `report.json` and
            `nextpnr.log` there.
    """

    folder: Path
    arguments: tuple[str, ...]


def tool_versions(target: Target) -> dict[str, str]:
    """Versions of the packages that a target needs.

    Raises:
        UserError: one is not installed.
    """
    needed = {"pyosys": "pyosys"}
    if target.router is not None:
        needed[target.router.module] = target.router.package
    for module, package in needed.items():
        if util.find_spec(module) is None:
            raise UserError(
                f"synthesis for {target.name} needs {package}: pip install 'hwsim[fpga]'"
            )
    return {package: metadata.version(package) for package in needed.values()}


def netlist_folder(verilog: str, top: str, target: Target) -> Path:
    """Where a netlist is kept, made or not.

    Raises:
        UserError: Yosys is not installed.
    """
    parts = [verilog, top, target.script(top), tool_versions(target)["pyosys"]]
    if target.packs_registers:
        parts.append(f"multiplier registers {PACKING}")
    return _folder("netlist", parts)


def synthesise(verilog: str, top: str, target: Target, *, timeout_s: float) -> Netlist:
    """Map a design to a target's cells, or take the netlist from the cache.

    Raises:
        UserError: Yosys is not installed or the cache cannot be written.
        ToolFailure: Yosys crashed or took longer than `timeout_s` seconds.
    """
    script = target.script(top)
    folder = netlist_folder(verilog, top, target)
    reused = folder.exists()
    if not reused:
        with _scratch(folder) as work:
            (work / f"{top}.v").write_text(verilog, encoding="utf-8")
            (work / "synth.ys").write_text(script, encoding="utf-8")
            seconds = _map(script, work, timeout_s)
            if target.packs_registers:
                _pack_registers(work, top)
            _pack(work / "netlist.json")
            _finish(work, folder, seconds)
    stat = json.loads((folder / "stat.json").read_text(encoding="utf-8"))
    total = stat["design"]
    transistors = total.get("estimated_num_transistors")
    return Netlist(
        top=top,
        cells=dict(total["num_cells_by_type"]),
        # a + behind the number: cells without an estimate are left out
        transistors=None if transistors is None else int(str(transistors).rstrip("+")),
        memory_bits=int(total["num_memory_bits"]),
        seconds=_seconds(folder),
        reused=reused,
        folder=folder,
    )


def _map(script: str, work: Path, timeout_s: float) -> float:
    """Run Yosys's script; once more without a pass of ABC if that broke down."""
    call = partial(run_tool, "synthesis", _YOSYS, ["synth.ys"], work, "yosys.log", timeout_s)
    started = time.perf_counter()
    try:
        return call()
    except ToolFailure as failure:
        if _ABC_BROKE not in str(failure):
            raise
    (work / "synth.ys").write_text(_ABC_PLAIN + script, encoding="utf-8")
    call()
    return time.perf_counter() - started  # both runs


def placement_job(
    netlist: Netlist, target: Target, *, frequency_hz: float, seed: int
) -> PlacementJob:
    """Where a placement is kept and how its tool is called.

    Raises:
        UserError: nextpnr is not installed.
        ValueError: the target has no place and route.
    """
    options = [
        *target.placement_options(netlist.cells),
        *("--freq", f"{frequency_hz / 1e6:g}"),
        *("--seed", str(seed)),
    ]
    assert target.router is not None  # placement_options refuses it
    version = tool_versions(target)[target.router.package]
    return PlacementJob(
        folder=_folder("placement", [netlist.folder.name, *options, version]),
        arguments=(
            *options,
            *("--json", "harness.json", "--report", "report.json", "--threads", "1"),
            *("--timing-allow-fail", "--quiet", "--log", "nextpnr.log"),
        ),
    )


def write_harness(netlist: Netlist, target: Target, folder: Path) -> None:
    """Write `harness.json`, the netlist in its harness, and `size.json`, the harness's share.

    Raises:
        ValueError: the target has no place and route, or the block has no clock.
    """
    if target.router is None:
        raise ValueError(f"target {target.name} has no place and route")
    with gzip.open(netlist.folder / "netlist.json.gz", "rt", encoding="utf-8") as handle:
        design = json.load(handle)
    design, luts, flip_flops = register_ports(design, netlist.top, target.router.harness)
    (folder / "harness.json").write_text(json.dumps(design), encoding="utf-8")
    (folder / "size.json").write_text(json.dumps([luts, flip_flops]), encoding="utf-8")


def place_and_route(
    netlist: Netlist,
    target: Target,
    *,
    frequency_hz: float,
    seed: int,
    timeout_s: float,
    detailed: bool = True,
) -> Placement:
    """Place and route a netlist in its harness, or take the result from the cache.

    Args:
        netlist: what `synthesise` made for the same target.
        target: one with place and route.
        frequency_hz: the clock that the tool aims at.
        seed: of the placer's start.
        timeout_s: seconds at most.
        detailed: when it is made anew, time every register; the report is then large.

    Raises:
        UserError: nextpnr is not installed or the cache cannot be written.
        ToolFailure: it crashed, could not route, or took longer than `timeout_s` seconds.
    """
    job = placement_job(netlist, target, frequency_hz=frequency_hz, seed=seed)
    folder = job.folder
    reused = folder.exists()
    if not reused:
        assert target.router is not None  # placement_job refuses it
        with _scratch(folder) as work:
            write_harness(netlist, target, work)
            # Names relative to the scratch folder: the tool's sandbox hides /tmp.
            arguments = [*job.arguments, *(["--detailed-timing-report"] if detailed else [])]
            program = _NEXTPNR.format(target.router.module, target.router.function)
            try:
                seconds = run_tool(
                    "place and route", program, arguments, work, "nextpnr.err", timeout_s
                )
            except ToolFailure as failure:
                raise ToolFailure(f"{failure}{_estimate(work / 'nextpnr.log')}") from None
            (work / "harness.json").unlink()
            _finish(work, folder, seconds)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    luts, flip_flops = json.loads((folder / "size.json").read_text(encoding="utf-8"))
    path = slowest_path(report)
    return Placement(
        fmax_hz=path.fmax_hz,
        path=path,
        arrivals=arrivals(report),
        used={k: (v["used"], v["available"]) for k, v in report["utilization"].items()},
        harness_luts=luts,
        harness_flip_flops=flip_flops,
        seconds=_seconds(folder),
        reused=reused,
        folder=folder,
    )


def run_tool(
    what: str, program: str, arguments: Sequence[str], work: Path, log: str, timeout_s: float
) -> float:
    """Run a Python program in a process group of its own; seconds taken.

    Args:
        what: the tool in a sentence.
        program: Python; its arguments are in `sys.argv`.
        arguments: file names among them are relative: the tools' sandbox hides /tmp.
        work: where it runs.
        log: file there for what it prints.
        timeout_s: seconds at most.

    Raises:
        ToolFailure: it ended with an error or took longer.
    """
    environment = os.environ | {
        # nextpnr's machine code is kept with our other builds, wherever HOME is
        "YOWASP_CACHE_DIR": os.environ.get("YOWASP_CACHE_DIR", str(cache_dir() / "yowasp")),
    }
    started = time.perf_counter()
    with (work / log).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _DIE_WITH_PARENT + program, *arguments],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ToolFailure(f"{what} was stopped after {timeout_s:g} s") from None
        finally:  # after Ctrl-C too; ABC is a child of Yosys
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status != 0:
        raise ToolFailure(f"{what} failed: {_reason(work / log, status)}")
    return time.perf_counter() - started


def _reason(log: Path, status: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if "ERROR" in line or "Error:" in line]
    said = [line.strip() for line in errors or lines if line.strip()]
    return said[-1].removeprefix("ERROR: ") if said else f"it ended with status {status}"


def _estimate(log: Path) -> str:
    """What nextpnr expects of the clock before it routes, if it came as far."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    expected = re.findall(r"Max frequency for clock .*?: ([0-9.]+) MHz", text)
    return f" ({expected[-1]} MHz estimated after placement)" if expected else ""


def _folder(kind: str, parts: Sequence[str]) -> Path:
    key = hashlib.sha256("\0".join([str(_REVISION), *parts]).encode()).hexdigest()[:24]
    return cache_dir() / "synth" / f"{kind}-{key}"


class _scratch:
    """A folder beside `target` that is gone at the end unless it was renamed to it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> Path:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            name = tempfile.mkdtemp(prefix=f".{self.target.name}.", dir=self.target.parent)
        except OSError as error:
            raise UserError(
                f"the build cache {self.target.parent} cannot be written: {error.strerror}; "
                "set HWSIM_CACHE to a folder that can"
            ) from None
        self.work = Path(name)
        return self.work

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.work, ignore_errors=True)


def _pack_registers(work: Path, top: str) -> None:
    """Fill the multipliers' registers in `netlist.json` and correct the count of `stat.json`."""
    netlist, stat = work / "netlist.json", work / "stat.json"
    design = json.loads(netlist.read_text(encoding="utf-8"))
    gone = pack_multiplier_registers(design["modules"][top])
    if not gone:
        return
    netlist.write_text(json.dumps(design), encoding="utf-8")
    counts = json.loads(stat.read_text(encoding="utf-8"))
    for part in (counts["design"], counts["modules"][f"\\{top}"]):  # flat: the same twice
        part["num_cells"] -= gone
        part["num_cells_by_type"]["TRELLIS_FF"] -= gone
    stat.write_text(json.dumps(counts), encoding="utf-8")


def _finish(work: Path, folder: Path, seconds: float) -> None:
    (work / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")
    try:
        work.rename(folder)
    except OSError:  # another process was first with the same
        if not folder.exists():
            raise


def _seconds(folder: Path) -> float:
    return float(json.loads((folder / "seconds.json").read_text(encoding="utf-8")))


def _pack(path: Path) -> None:
    """Replace a file by its gzip; netlists shrink some fifteenfold."""
    if path.exists():
        with path.open("rb") as plain, gzip.open(f"{path}.gz", "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed)
        path.unlink()
