"""Holds the blocks around the array in RTL against simulator and golden model, case by case.

A case passes when the RTL's words equal the simulator's bit for bit, each was taken in the cycle
that the simulator says, nothing came after the last, and the simulator's values equal the golden
model's.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.random import Generator

from hwsim.block_cases import StreamCase
from hwsim.block_random import random_post, random_selection, random_update
from hwsim.config import Accelerator, SatConfig
from hwsim.errors import UserError

if TYPE_CHECKING:
    from hwsim.rtl.blocks import Parts

__all__ = ["BlockOutcome", "run_block", "verify_blocks"]

_BENCH = "hwsim.rtl.bench_stream"
_WATCH_CYCLES = 20  # after the last result nothing may follow for this long
_LANES = 2  # of the designs that are verified: instances of one module, enough to mix them up


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


def verify_blocks(
    config: Accelerator,
    cases: int,
    seed: int,
    progress: Callable[[str], None] = lambda message: None,
) -> list[BlockOutcome]:
    """Random cases with stalls for every block around the array, dealt out in turn.

    The latencies, N and M are the configuration's; lanes and columns too, but at most `_LANES`,
    as the lanes are instances of one module.

    Args:
        config: a configuration that has RTL.
        cases: how many in all, at least 1.
        seed: makes the same cases again.
        progress: told in words what happens.

    Raises:
        UserError: a count below 1, a negative seed, another kind, or a tool is missing.
    """
    if cases < 1:
        raise UserError(f"cases must be at least 1, but got {cases}")
    if seed < 0:
        raise UserError(f"seed must not be negative, but got {seed}")
    if not isinstance(config, SatConfig):
        raise UserError(f"kind: the blocks are sat's, but {config.name} is a {config.kind}")
    from hwsim.rtl.blocks import parts_verilog
    from hwsim.rtl.simulator import build

    blocks = _blocks(config)
    names = list(blocks)[:cases]
    progress(f"building {', '.join(names)} with Verilator")
    designs = {name: parts_verilog(blocks[name][0]) for name in names}
    with ThreadPoolExecutor(2) as pool:  # Verilator and the compiler are processes of their own
        list(pool.map(lambda design: build(*design), designs.values()))
    outcomes = []
    for first, name in enumerate(names):
        make = blocks[name][1]
        numbers = range(first, cases, len(names))
        progress(f"running {len(numbers)} cases on {name}")
        made = [make(np.random.default_rng([seed, number])) for number in numbers]
        verilog, top = designs[name]
        outcomes += run_block(verilog, top, made)
    return outcomes


def _blocks(config: SatConfig) -> dict[str, tuple[Parts, Callable[[Generator], StreamCase]]]:
    """Each block's design and what makes a case of it."""
    from hwsim.rtl.blocks import post_parts, rank_parts, selector_sizes, sore_parts, wuve_parts

    n_max, m = selector_sizes(config)
    select = {"lanes": min(_LANES, config.sore_lanes), "n_max": n_max, "m": m}
    update = {
        "lanes": min(_LANES, config.wuve_lanes),
        "multiplier_latency": config.multiplier_latency,
        "adder_latency": config.adder_latency,
    }
    cols, latency = min(_LANES, config.cols), config.adder_latency
    return {
        "sore": (sore_parts(**select), lambda rng: random_selection(rng, "sore", **select)),
        "wuve": (wuve_parts(**update), lambda rng: random_update(rng, **update)),
        "post": (
            post_parts(cols=cols, adder_latency=latency),
            lambda rng: random_post(rng, cols=cols, adder_latency=latency),
        ),
        "rank": (rank_parts(**select), lambda rng: random_selection(rng, "rank", **select)),
    }


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
