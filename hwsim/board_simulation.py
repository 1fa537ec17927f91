"""The board's top under Verilator, driven bit by bit at its UART pins by the host driver itself.

`simulate_board` runs a host program, a function of a `Transport`, against the RTL. The transport's
bytes become levels of `rx` in time, and levels of `tx` become bytes again; the simulator stands
still while the program thinks. Seconds are those of the simulated line.

A program is named, not handed over, because it runs in the simulator's process.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.config import Accelerator

__all__ = ["BoardRun", "simulate_board"]

_BENCH = "hwsim.board_bench"


@dataclass(frozen=True, kw_only=True)
class BoardRun:
    """What came of a run.

    Attributes:
        result: what the program returned.
        cycles: clock cycles simulated.
        sent_bytes, received_bytes: on the line, seen from the host.
        led: lamps at the end.
    """

    result: Any
    cycles: int
    sent_bytes: int
    received_bytes: int
    led: int


def simulate_board(
    config: Accelerator,
    program: str,
    arguments: Mapping[str, Any],
    *,
    clocks_per_bit: int = 4,
    memory_bytes: int = 65536,
) -> BoardRun:
    """Run a host program against the RTL of a board's top.

    Args:
        config: the design.
        program: `package.module:function`, called with the transport and the arguments.
        arguments: of the program; what it returns and they must be picklable.
        clocks_per_bit: of the UART; few make the simulation quick.
        memory_bytes: of the board's memory.

    Raises:
        UserError: a tool is missing, or there is no board top for this configuration.
        RuntimeError: the program raised an error; the message ends with its traceback.
    """
    from hwsim.board import board_verilog
    from hwsim.rtl.board_top import BOARD_MODULE
    from hwsim.rtl.simulator import build

    verilog = board_verilog(config, clocks_per_bit=clocks_per_bit, memory_bytes=memory_bytes)
    built = build(verilog, BOARD_MODULE)
    with tempfile.TemporaryDirectory(prefix="hwsim-board-") as scratch:
        task, results = Path(scratch) / "task", Path(scratch) / "results"
        task.write_bytes(
            pickle.dumps(
                {
                    "program": program,
                    "arguments": dict(arguments),
                    "clocks_per_bit": clocks_per_bit,
                }
            )
        )
        built.run(_BENCH, {"HWSIM_CASES": str(task), "HWSIM_RESULTS": str(results)})
        found = pickle.loads(results.read_bytes())
    return BoardRun(**found)
