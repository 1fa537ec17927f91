"""What the reproduction of SMASH varies: each unknown with its range and the reason for it.

PIUMA's clock, latencies, bandwidth and the thesis's inputs and window parameters are not public.
The ranges were written down before the study was run; mostly half and twice the preset's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwsim.config_piuma import PiumaConfig

__all__ = ["PARAMETERS", "STUDY_CHANGES", "STUDY_INPUT", "Parameter", "changes"]

STUDY_INPUT = "rmat:scale=11,edges=32768,seed=1"
"""Input of the sensitivity: the headline's generator and edges a vertex at an eighth of its size,
so that the whole study takes minutes."""

STUDY_CHANGES: dict[str, Any] = {"window.table_slots": 8192}
"""A sixteenth of the preset's table, so that there are as many windows as with the headline's input
(within a factor of two), and each is full."""


@dataclass(frozen=True)
class Parameter:
    """One unknown.

    Attributes:
        name: in tables: the field it changes, or `input.*`.
        label: in figures, with unit.
        low, high: the ends of its range, in the field's unit.
        reason: of the range.
    """

    name: str
    label: str
    low: Any
    high: Any
    reason: str


PARAMETERS = (
    Parameter(
        "clock_hz", "clock, GHz", 0.5e9, 2e9,
        "half and twice; DRAM keeps its nanoseconds and GB/s, so latency and bandwidth in cycles "
        "follow",
    ),
    Parameter(
        "dram.latency_cycles", "DRAM latency, cycles", 45, 180,
        "half and twice; 180 ns is a loaded DDR5 channel behind a mesh",
    ),
    Parameter(
        "dram.bytes_per_cycle", "DRAM bandwidth, B a cycle", 140.8, 563.2,
        "one 32-bit DDR5 subchannel a core, or two 64-bit channels",
    ),
    Parameter(
        "pipelines.depth", "pipeline depth, cycles", 4, 16,
        "4 stages with forwarding; 16 lets a lone thread issue once a round of its pipeline",
    ),
    Parameter(
        "pipelines.barrier_cycles", "barrier, cycles", 5, 80,
        "a quarter and four times: a wired AND, or a tree of messages",
    ),
    Parameter(
        "scratchpad.latency_cycles", "scratchpad latency, cycles", 6, 24,
        "half and twice: an SRAM of 4 MB near or far in the core",
    ),
    Parameter(
        "scratchpad.atomic_cycles", "atomic unit, cycles", 1, 4,
        "half, a pipelined unit, and twice; the floating-point add follows as twice this",
    ),
    Parameter(
        "scratchpad.banks", "scratchpad banks", 8, 128, "a quarter and four times",
    ),
    Parameter("cache.latency_cycles", "cache latency, cycles", 4, 16, "half and twice"),
    Parameter("mesh.hop_cycles", "mesh hop, cycles", 1, 4, "half and twice"),
    Parameter("mesh.link_bytes", "mesh link, B a cycle", 16, 64, "half and twice"),
    Parameter("dma.bytes_per_cycle", "DMA, B a cycle", 16, 256, "a quarter and four times"),
    Parameter(
        "dma.setup_cycles", "DMA set-up, cycles", 10, 200, "a fifth and four times",
    ),
    Parameter(
        "window.token_size", "token, non-zeros of A", 1, 64,
        "one is the finest; 64 is a heavy row of the input",
    ),
    Parameter(
        "window.table_load", "table load at most", 0.25, 0.625,
        "half; the most that leaves room for two dense arrays in 4 MB",
    ),
    Parameter(
        "window.table_slots", "table slots a core", 2048, 16384,
        "of the study's 8192: a quarter, and twice, which in proportion is more than 4 MB hold",
    ),
    Parameter(
        "window.per_core", "windows a core at least", 1, 16, "a quarter and four times",
    ),
    Parameter(
        "costs.element", "instructions an element of B", 1, 6,
        "a third, with post-increment, and twice",
    ),
    Parameter(
        "costs.probe", "instructions a probe", 1, 4, "half and twice",
    ),
    Parameter(
        "costs.scan", "instructions a slot scanned", 1, 4, "half and twice",
    ),
    Parameter(
        "input.a", "R-MAT a (b = c)", 0.45, 0.65,
        "d = 0.05 as in Graph500; less and more skew than its 0.57",
    ),
    Parameter(
        "input.edges", "R-MAT edges a vertex", 4, 32, "a quarter and twice Graph500's 16",
    ),
    Parameter(
        "input.permute", "R-MAT labels permuted", "no", "yes",
        "generators differ; permuted labels scatter the heavy rows (no is the preset)",
    ),
)  # fmt: skip
"""Every unknown that is varied."""


def changes(name: str, value: Any, config: PiumaConfig) -> tuple[dict[str, Any], str]:
    """The changed fields and the input of a point.

    Args:
        name: of `PARAMETERS`.
        value: of its range.
        config: what is changed.

    Raises:
        KeyError: an input parameter that is none of the three.
    """
    if name == "clock_hz":
        ratio = float(value) / config.clock_hz
        fields: dict[str, Any] = {
            "clock_hz": float(value),
            "dram.latency_cycles": round(config.dram.latency_cycles * ratio),
        }
        if config.dram.bytes_per_cycle is not None:
            fields["dram.bytes_per_cycle"] = config.dram.bytes_per_cycle / ratio
        return fields, STUDY_INPUT
    if name == "scratchpad.atomic_cycles":
        return {name: value, "scratchpad.float_add_cycles": 2 * value}, STUDY_INPUT
    if not name.startswith("input."):
        return {name: value}, STUDY_INPUT
    if name == "input.a":
        beside = round((0.95 - value) / 2, 3)
        return {}, f"{STUDY_INPUT},a={value},b={beside},c={beside}"
    if name == "input.edges":
        return {}, f"rmat:scale=11,edges={2048 * value},seed=1"
    if name == "input.permute":
        return {}, f"{STUDY_INPUT},permute={value}"
    raise KeyError(name)
