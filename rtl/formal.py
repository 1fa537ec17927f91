"""`python -m hwsim.rtl.formal`: proves every property and prints the table; `make formal` runs it.

A line a property: component, rule, how it was proved (`k-induction`, `pdr`: for all time;
`bounded`: for that many cycles from reset; `cover`: a run that reaches the rule's point was found),
the depth and the seconds. Ends with status 1 if a property fails or stays open; the failing run is
then a VCD file in `build/formal` or the folder named by `--traces`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import UserError
from hwsim.rtl.formal_cases import Check, all_checks
from hwsim.rtl.formal_tools import compile_circuit, decide

__all__ = ["Outcome", "main", "prove", "table"]

_TIMEOUT_S = 300
"""For one process. Not given; chosen: several times what the slowest check takes alone."""

_HEADINGS = ("component", "rule", "method", "depth", "seconds", "result")
_METHODS = {
    "bounded": "bounded",
    "induction": "k-induction",
    "pdr": "pdr",
    "cover": "cover",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a check.

    Attributes:
        check: the check.
        result: `proved`, `holds` (bounded), `reached` (cover), `FAILED` or `open`.
        seconds: Yosys and engine together.
        detail: why not.
        trace: VCD of the failing run.
    """

    check: Check
    result: str
    seconds: float
    detail: str = ""
    trace: Path | None = None

    @property
    def ok(self) -> bool:
        return self.result in ("proved", "holds", "reached")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove what is asked for; the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m hwsim.rtl.formal", description=__doc__)
    parser.add_argument("--only", default="", help="components or rules that contain this text")
    parser.add_argument("--jobs", type=int, default=2, help="checks at a time")
    parser.add_argument("--traces", type=Path, default=Path("build/formal"), help="VCD files")
    parser.add_argument("--list", action="store_true", help="name the checks and stop")
    given = parser.parse_args(arguments)
    checks = [c for c in all_checks() if given.only in f"{c.component}: {c.rule}"]
    try:
        if not checks:
            raise UserError(f"--only must name a component or rule, but got {given.only!r}")
        if given.jobs < 1:
            raise UserError(f"--jobs must be at least 1, but got {given.jobs}")
        if given.list:
            print("\n".join(f"{c.component}: {c.rule}" for c in checks))
            return 0
        started = time.perf_counter()
        outcomes = prove(
            checks,
            jobs=given.jobs,
            traces=given.traces,
            progress=lambda s: print(s, file=sys.stderr),
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(outcomes))
    bad = [outcome for outcome in outcomes if not outcome.ok]
    print(
        f"\n{len(outcomes) - len(bad)} of {len(outcomes)} properties hold, "
        f"{time.perf_counter() - started:.0f} s"
    )
    for outcome in bad:
        where = f"; trace {outcome.trace}" if outcome.trace else ""
        print(f"{outcome.check.component}: {outcome.check.rule}: {outcome.detail}{where}")
    return 1 if bad else 0


def prove(
    checks: Sequence[Check],
    *,
    jobs: int = 1,
    traces: Path | None = None,
    timeout_s: float = _TIMEOUT_S,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Outcome]:
    """Run checks, `jobs` at a time, each in processes of its own.

    Args:
        checks: what to prove.
        jobs: at least 1.
        traces: folder for the VCD files of failing runs; none are written without it.
        timeout_s: for each process; a check that takes longer is `open`.
        progress: told of each result.

    Raises:
        UserError: a package is missing.
        RuntimeError: Yosys refused a circuit or an engine's answer was not understood.
    """
    if traces is not None:
        traces = traces.resolve()
        traces.mkdir(parents=True, exist_ok=True)

    def one(check: Check) -> Outcome:
        outcome = _prove(check, traces, timeout_s)
        progress(f"{outcome.result:8}{outcome.seconds:7.1f} s  {check.component}: {check.rule}")
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, checks))


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    rows = [_HEADINGS, tuple("-" * len(h) for h in _HEADINGS)]
    for outcome in outcomes:
        check = outcome.check
        rows.append(
            (
                check.component,
                check.rule,
                _METHODS[check.engine],
                "" if check.engine == "pdr" else str(check.depth),
                f"{outcome.seconds:.1f}",
                outcome.result,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
    lines = []
    for row in rows:
        fill = "-" if row is rows[1] else " "
        cells = (cell.ljust(width, fill) for cell, width in zip(row, widths, strict=True))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _prove(check: Check, traces: Path | None, timeout_s: float) -> Outcome:
    started = time.perf_counter()
    name = "".join(c if c.isalnum() else "-" for c in f"{check.component}-{check.rule}")
    trace = None if traces is None else traces / f"{name}.vcd"
    with tempfile.TemporaryDirectory(prefix="hwsim-formal-") as scratch:
        circuit = compile_circuit(check.make(), Path(scratch), aig=check.engine == "pdr")
        verdict = decide(circuit, check.engine, check.depth, timeout_s=timeout_s, trace=trace)
    if verdict.holds:
        result = {"bounded": "holds", "cover": "reached"}.get(check.engine, "proved")
    else:
        result = "open" if verdict.holds is None else "FAILED"
    return Outcome(
        check=check,
        result=result,
        seconds=time.perf_counter() - started,
        detail=verdict.detail,
        trace=verdict.trace,
    )


if __name__ == "__main__":
    sys.exit(main())
