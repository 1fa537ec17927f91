"""Holds the blocks around the array in RTL against simulator and golden model, case by case.

A case passes when the RTL's words equal the simulator's bit for bit, each was taken in the cycle
that the simulator says, nothing came after the last, and the simulator's values equal the golden
model's.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hwsim.block_cases import StreamCase

__all__ = ["BlockOutcome", "run_block"]

_BENCH = "hwsim.rtl.bench_stream"
_WATCH_CYCLES = 20  # after the last result nothing may follow for this long


class BlockOutcome(NamedTuple):
    """How a case went.

    Attributes:
        block: the block's name.
        case: the case in words.
        ok: words and cycles are as expected.
        detail: the first difference; empty when ok.
        rtl_cycles: cycles until the last result was taken.
        words: what came out.
    """

    block: str
    case: str
    ok: bool
    detail: str
    rtl_cycles: int
    words: list[int]


def run_block(verilog: str, top: str, cases: Sequence[StreamCase]) -> list[BlockOutcome]:
    """Run cases on one design, each from reset.

    Args:
        verilog, top: the design, as `hwsim.rtl.blocks.parts_verilog` gives it.
        cases: from `hwsim.block_cases`, for the same sizes.

    Raises:
        UserError: a tool is missing.
        RuntimeError: the design does not build or the bench fails.
    """
    from hwsim.rtl.simulator import build

    made = build(verilog, top)
    packed = [
        {
            "set": case.constants,
            "sources": {"i": (case.words, _as_list(case.gaps.i))},
            "sinks": {"o": (len(case.expected), _as_list(case.gaps.o))},
            "limit": 2 * case.timeline.cycles + 1000,
            "watch": _WATCH_CYCLES,
        }
        for case in cases
    ]
    with tempfile.TemporaryDirectory(prefix="hwsim-verify-") as scratch:
        source, target = Path(scratch) / "cases", Path(scratch) / "results"
        source.write_bytes(pickle.dumps(packed))
        made.run(_BENCH, {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)})
        results: list[dict[str, Any]] = pickle.loads(target.read_bytes())
    return [_judge(case, got["o"]) for case, got in zip(cases, results, strict=True)]


def _judge(case: StreamCase, got: dict[str, Any]) -> BlockOutcome:
    detail = case.golden_error or _difference(case, got)
    return BlockOutcome(
        block=case.block,
        case=case.description,
        ok=detail is None,
        detail=detail or "",
        rtl_cycles=(got["cycles"] or [-1])[-1] + 1,
        words=got["words"],
    )


def _difference(case: StreamCase, got: dict[str, Any]) -> str | None:
    """The first way in which RTL and simulator differ, None if they do not."""
    expected = case.timeline.o_cycles.tolist()
    pairs = zip(got["words"], got["cycles"], case.expected, expected, strict=False)
    for i, (word, cycle, want, when) in enumerate(pairs):
        if cycle != when:
            return f"cycle {cycle}: result {i} came, expected in cycle {when}"
        if word != want:
            return f"cycle {cycle}: result {i} is {word:#x}, expected {want:#x}"
    if len(got["words"]) != len(case.expected):
        return f"{len(got['words'])} results came, expected {len(case.expected)}"
    if got["extra"]:
        return f"after the last result o stayed valid for {got['extra']} cycles"
    return None


def _as_list(gaps: Any) -> list[int]:
    return [int(g) for g in np.atleast_1d(np.asarray(gaps, np.int64))]
