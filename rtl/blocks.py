"""The blocks of the engines one by one, in a configuration's sizes.

Synthesis and generation ask here for a block by name, so that a report of one block and the
engine that holds it come from the same fields.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from amaranth.lib import wiring

from hwsim.config import Accelerator, DeltaConfig, SatConfig, SpgemmConfig
from hwsim.errors import UserError
from hwsim.rtl.delta_engine import DELTA_BLOCKS, DELTA_MODULES
from hwsim.rtl.post import POST_LANE, PostLane, PostUnit
from hwsim.rtl.rowwise_bank import ROWWISE_BANK
from hwsim.rtl.rowwise_dispatch import ROWWISE_DISPATCH
from hwsim.rtl.rowwise_lane import ROWWISE_LANE
from hwsim.rtl.sore import RANK_LANE, SORE_LANE, RankLane, RankSelector, TopNLane, TopNSelector
from hwsim.rtl.stce import pe_parts
from hwsim.rtl.verilog import component_verilog, engine_parts
from hwsim.rtl.wuve import WUVE_LANE, UpdateEngine, UpdateLane

__all__ = [
    "AXI_BLOCK",
    "BLOCKS",
    "ROWWISE_BLOCKS",
    "Parts",
    "block",
    "block_parts",
    "block_verilog",
    "blocks_of",
    "parts_verilog",
    "post_parts",
    "rank_parts",
    "selector_sizes",
    "sore_parts",
    "wuve_parts",
]

Parts = dict[str, Callable[[], wiring.Component]]
"""What makes each component of a design, by module name; the top is the last."""

BLOCKS = {
    "uspe": "unified sparse processing element",
    "stce": "sparse tensor computing engine, the whole array",
    "sore": "sparse online reduction engine, streaming top-N selectors",
    "wuve": "weight update vector engine, FP32 momentum SGD",
    "post": "vector post unit: bias, FP16 rounding, ReLU or its gate, a lane a column",
    "rank": "one-cycle N:M selectors that compare all pairs, the alternative to sore",
}
"""Names that `block` takes for the sparse training engine, with what each is."""

ROWWISE_BLOCKS = {
    "bank": "hash table with atomic insert-or-accumulate and its dense arrays",
    "lane": "streamer of rows of B and multiplier",
    "dispatch": "token dispatcher with the streamers of A",
    "engine": "row-wise SpGEMM engine, the whole",
}
"""The same for the row-wise SpGEMM engine."""

AXI_BLOCK = "axi"
"""The same for any of them: the core behind its AXI buses, registers and DMA."""

_ROWWISE_MODULES = {"bank": ROWWISE_BANK, "lane": ROWWISE_LANE, "dispatch": ROWWISE_DISPATCH}


def blocks_of(config: Accelerator) -> dict[str, str]:
    """Names of the blocks that a configuration's engine has, with what each is."""
    if isinstance(config, DeltaConfig):
        back = "output" if config.engine == "gru" else "gates"
        blocks = {name: what for name, what in DELTA_BLOCKS.items() if name != back}
    else:
        blocks = ROWWISE_BLOCKS if isinstance(config, SpgemmConfig) else BLOCKS
    return {**blocks, AXI_BLOCK: "the core behind its AXI buses, with registers and DMA"}


def block(name: str, config: Accelerator) -> tuple[wiring.Component, str]:
    """A block's top component and the name of its module.

    Repeated parts are instances by name; `block_verilog` has them too.

    Raises:
        UserError: no block of that name, or no RTL for this kind of accelerator.
    """
    top, make = list(block_parts(name, config).items())[-1]
    return make(), top


@lru_cache(maxsize=32)
def block_verilog(name: str, config: Accelerator) -> tuple[str, str]:
    """A block's whole Verilog and the name of its top module.

    Raises:
        UserError: no block of that name, or no RTL for this kind of accelerator.
    """
    return parts_verilog(block_parts(name, config))


def parts_verilog(parts: Parts) -> tuple[str, str]:
    """Verilog of a design's parts and the name of its top module."""
    return component_verilog({module: make() for module, make in parts.items()}), list(parts)[-1]


def sore_parts(*, lanes: int, n_max: int, m: int) -> Parts:
    """The streaming selector."""
    return {
        SORE_LANE: lambda: TopNLane(n_max=n_max, m=m),
        "sore_top": lambda: TopNSelector(lanes=lanes, n_max=n_max, m=m),
    }


def rank_parts(*, lanes: int, n_max: int, m: int) -> Parts:
    """The rank selector."""
    return {
        RANK_LANE: lambda: RankLane(n_max=n_max, m=m),
        "rank_top": lambda: RankSelector(lanes=lanes, n_max=n_max, m=m),
    }


def wuve_parts(*, lanes: int, multiplier_latency: int, adder_latency: int) -> Parts:
    """The weight update engine."""
    latency = {"multiplier_latency": multiplier_latency, "adder_latency": adder_latency}
    return {
        WUVE_LANE: lambda: UpdateLane(**latency),
        "wuve_top": lambda: UpdateEngine(lanes=lanes, **latency),
    }


def post_parts(*, cols: int, adder_latency: int) -> Parts:
    """The vector post unit."""
    return {
        POST_LANE: lambda: PostLane(adder_latency=adder_latency),
        "post_top": lambda: PostUnit(cols=cols, adder_latency=adder_latency),
    }


def selector_sizes(config: SatConfig) -> tuple[int, int]:
    """N and M of a configuration's selectors: its pattern, or 2:M of its PEs when it is dense."""
    pattern = config.pattern
    if not pattern.dense:
        return pattern.n, pattern.m
    return min(2, config.group_size), config.group_size


def block_parts(name: str, config: Accelerator) -> Parts:
    """What makes each component of a block, by module name; its top is the last.

    Raises:
        UserError: no block of that name, or no RTL for this kind of accelerator.
    """
    if name == AXI_BLOCK:
        from hwsim.rtl.tops import axi_parts

        return axi_parts(config, core=True)
    engine = engine_parts(config)
    if isinstance(config, SpgemmConfig):
        if name == "engine":
            return engine
        if name in _ROWWISE_MODULES:
            return {_ROWWISE_MODULES[name]: engine[_ROWWISE_MODULES[name]]}
        raise _no_block(name, config)
    if isinstance(config, DeltaConfig):
        if name == "engine":
            return engine
        if name in blocks_of(config):
            return {module: engine[module] for module in DELTA_MODULES[name]}
        raise _no_block(name, config)
    assert isinstance(config, SatConfig)  # engine_parts refuses the others
    n_max, m = selector_sizes(config)
    match name:
        case "uspe":
            return pe_parts(config.number, config.array)
        case "stce":
            return engine
        case "sore":
            return sore_parts(lanes=config.sore_lanes, n_max=n_max, m=m)
        case "rank":
            return rank_parts(lanes=config.sore_lanes, n_max=n_max, m=m)
        case "wuve":
            return wuve_parts(
                lanes=config.wuve_lanes,
                multiplier_latency=config.multiplier_latency,
                adder_latency=config.adder_latency,
            )
        case "post":
            return post_parts(cols=config.cols, adder_latency=config.adder_latency)
    raise _no_block(name, config)


def _no_block(name: str, config: Accelerator) -> UserError:
    return UserError(f"a block must be one of {', '.join(blocks_of(config))}, but got {name!r}")
