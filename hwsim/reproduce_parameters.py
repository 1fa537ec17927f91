"""What the reproduction of SAT assumes: every parameter with its class and its reason."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from hwsim.config import SatConfig

__all__ = ["CLASSES", "parameters"]

CLASSES = {
    "given": "stated by the paper's abstract or a data sheet",
    "recalled": "reported of the paper, not read there",
    "derived": "follows from other rows",
    "not given": "chosen here beforehand, for the reason stated",
}

_LIKE_COLS = "chosen equal to cols: a column's results leave one a cycle"

_REASONS = {
    "rows": ("recalled", "the array is recalled as 32 x 32"),
    "cols": ("recalled", "as rows"),
    "format": ("recalled", "FP16 multiply, FP32 accumulate"),
    "clock_hz": ("recalled", "200 MHz; a ratio of cycles does not depend on it but for DRAM"),
    "first_layer_dense": ("recalled", "the first layer stays dense in N:M training"),
    "sparsity": ("given", "the headline's pattern, beside 2:4 and 2:16"),
    "method": ("given", "BDWP: weights are N:M in the forward and in the backward pass"),
    "bus": ("not given", "the buses of an FPGA-ready top; the simulator does not read them"),
    "pregeneration": ("given", "named among the three optimisations"),
    "dataflow": ("given", "offline scheduling, named among the three optimisations"),
    "interleave": (
        "not given",
        "the mapping is named, I is not; chosen equal to adder_latency, the least that fills it",
    ),
    "adder_latency": (
        "not given",
        "chosen as one stage each to align, add, normalise and round; sensitivity below 1 %",
    ),
    "multiplier_latency": (
        "not given",
        "chosen beforehand; 1 limits the clock, 3 gains nothing (docs/synthesis.md)",
    ),
    "group": ("derived", "the M of sparsity: a PE holds one group of activations"),
    "psum_depth": ("not given", "chosen as one BRAM36 a column: 512 x 72 bits hold FP32 sums"),
    "vector_lanes": ("not given", _LIKE_COLS),
    "sore_lanes": ("given", "SORE has 32 lanes, one element a cycle each"),
    "wuve_lanes": ("not given", _LIKE_COLS),
    "buffers.input_bytes": ("not given", "chosen as 6 MiB in all, 14 % of a VU9P's BRAM and URAM"),
    "buffers.weight_bytes": ("not given", "as buffers.input_bytes"),
    "buffers.output_bytes": ("not given", "as buffers.input_bytes"),
    "dram.bytes_per_cycle": ("given", "VCU1525: 4 x DDR4-2400, 76.8 GB/s peak, at 200 MHz"),
    "dram.channels": ("given", "VCU1525: 4 DIMMs"),
    "dram.latency_cycles": ("not given", "chosen as 200 ns, a usual load-to-use time on an FPGA"),
    "dram.burst_bytes": ("given", "DDR4 burst of 8 beats of 8 bytes, JESD79-4"),
}

_MODEL = (
    (
        "element-wise passes",
        "1 element a lane and cycle",
        "chosen before the first result: a lane is a pipeline, whatever a pass computes",
    ),
    (
        "batch norm",
        "1 pass forward, 1 backward",
        "chosen before the first result: sums are taken as a map leaves the array",
    ),
    (
        "weight gradient",
        "dense, FP32, on chip if it fits half the output buffer",
        "the abstract prunes weights only; FP32 is the accumulator's format",
    ),
)


def parameters(config: SatConfig, batches: dict[str, int]) -> list[dict[str, Any]]:
    """One row a parameter: name, value, class (`CLASSES`), reason.

    Args:
        batches: images of a step by network.
    """
    rows = []
    for name, (kind, reason) in _REASONS.items():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        if isinstance(value, BaseModel):  # a group of fields with one reason
            value = value.model_dump()
        rows.append({"name": name, "value": value, "class": kind, "reason": reason})
    for network, batch in batches.items():
        rows.append(
            {
                "name": f"{network}: batch",
                "value": batch,
                "class": "not given",
                "reason": "chosen as the mini-batch of arXiv 1512.03385: 128 for CIFAR, 256 for "
                "ImageNet",
            }
        )
    for name, text, reason in _MODEL:
        rows.append({"name": name, "value": text, "class": "not given", "reason": reason})
    return rows
