"""Energy: one rule for every family, and energy blocks derived from the published table.

A part of an energy is a sum of registered counters times one figure of the configuration's energy
block; `LAWS` says which, and nothing else computes energy:

    energy_parts(config, counters)      picojoules by part, of a layer or of a whole run
    table(config, node_nm=28)           the block's figures, from formats and sizes

`summary.json` has `energy_parts_pj` of the summed counters and `energy_pj`, their sum in that
order, so both can be computed again from `config.yaml` and the counters to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwsim.energy_laws import (
    TABLE_NODE_NM,
    add_pj,
    dram_pj,
    multiply_pj,
    operation_pj,
    register_pj,
    sram_pj,
    wire_pj,
)
from hwsim.errors import UserError
from hwsim.models.formats import number_format

if TYPE_CHECKING:
    from hwsim.config import (
        Accelerator,
        ArrayConfig,
        DeltaConfig,
        MacSkipConfig,
        PiumaConfig,
        SpgemmConfig,
        SpgemmDataflowConfig,
    )

__all__ = ["LAWS", "Term", "energy_parts", "table", "total_pj"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One product of a part.

    Attributes:
        field: of the energy block.
        counters: registered names and how often each count uses the field.
        instead: the field where the first one is None.
        share: a power of two: 1/8 where bits are counted and the field is of a byte.
        power: the field is in watts and the counters are cycles.
    """

    field: str
    counters: Mapping[str, int]
    instead: str = ""
    share: float = 1.0
    power: bool = False

    def field_of(self, energy: Any) -> str:
        """The field that is used."""
        return self.instead if self.instead and getattr(energy, self.field) is None else self.field


def _once(field: str, *counters: str) -> tuple[Term, ...]:
    return (Term(field=field, counters=dict.fromkeys(counters, 1)),)


_DRAM = _once("dram_pj", "dram.read", "dram.write")

_ARRAY = {
    "mac": _once("mac_pj", "sat.stce.mac", "systolic.array.mac"),
    "vector": _once("vector_pj", "engine.vector_op"),
    # what DMA brings is written once on chip, what it takes is read once
    "buffer": (
        Term(field="input_pj", instead="buffer_read_pj", counters={"buffer.input_read": 1}),
        Term(field="weight_pj", instead="buffer_read_pj", counters={"buffer.weight_read": 1}),
        Term(field="output_pj", instead="buffer_read_pj", counters={"dram.write": 1}),
        Term(field="output_pj", instead="buffer_write_pj", counters={"buffer.output_write": 1}),
        Term(field="buffer_write_pj", counters={"dram.read": 1}),
    ),
    "dram": _once("dram_pj", "buffer.dma"),
}

LAWS: dict[str, dict[str, tuple[Term, ...]]] = {
    "sat": _ARRAY,
    "systolic": _ARRAY,
    "spgemm": {
        # a product that spills is formed again, as one times itself
        "multiply": _once("multiply_pj", "spgemm.multiply", "spgemm.hash.spill"),
        "add": _once("add_pj", "spgemm.hash.accumulate"),
        "probe": _once("probe_pj", "spgemm.hash.probe", "spgemm.hash.insert"),
        # an entry is written and drained, a sum reads and writes it
        "dense": (
            Term(
                field="dense_pj",
                counters={"spgemm.hash.insert": 2, "spgemm.hash.accumulate": 2},
            ),
        ),
        "queue": _once("queue_pj", "spgemm.multiply", "spgemm.hash.spill"),
        "dram": _DRAM,
    },
    "spgemm_dataflow": {
        "multiply": _once("multiply_pj", "spgemm.multiply"),
        "add": _once("add_pj", "spgemm.add"),
        "merge": _once("merge_pj", "spgemm.merge.element", "spgemm.merge.compare"),
        "compare": _once("compare_pj", "spgemm.inner.compare"),
        "probe": _once("probe_pj", "spgemm.hash.probe"),
        "cache": _once("cache_pj", "spgemm.fibre_cache.read"),
        "dram": _DRAM,
    },
    "piuma": {
        "instructions": _once("instruction_pj", "spgemm.piuma.instruction"),
        "scratchpad": _once("scratchpad_pj", "spgemm.piuma.scratchpad"),
        "atomics": _once("atomic_pj", "spgemm.piuma.atomic"),
        "cache": _once("cache_pj", "spgemm.cache.hit", "spgemm.cache.miss"),
        "dram": _DRAM,
        "mesh": _once("hop_pj", "spgemm.piuma.hop"),
        "static": (Term(field="static_w", counters={"spgemm.piuma.cycle": 1}, power=True),),
    },
    "delta": {
        # weights and state pass on-chip memory wherever they live; DRAM comes on top
        "mac": _once("mac_pj", "delta.mac"),
        "weights": _once("weight_pj", "delta.weight_bytes"),
        "state": (Term(field="state_pj", counters={"delta.state_bits": 1}, share=1 / 8),),
        "dram": _DRAM,
    },
    "mac_skip": {
        "mac": _once("mac_pj", "mac_skip.issued"),
        "dram": _DRAM,
    },
}
"""Parts by kind of accelerator, in the order in which they are added up."""


def energy_parts(config: Accelerator, counters: Mapping[str, int]) -> dict[str, float]:
    """Energy in picojoules by part.

    Counts that use the same field are added as integers before they are multiplied; products are
    added in the order of `LAWS`, which is what makes results repeatable to the last bit.

    Args:
        config: its kind, its energy block and, where power is drawn without work, its clock.
        counters: events by registered name; one that is not there is 0.
    """
    return {part: _part(config, terms, counters) for part, terms in LAWS[config.kind].items()}


def total_pj(parts: Mapping[str, float]) -> float:
    """The sum of the parts in their order."""
    return sum(parts.values())


def table(config: Accelerator, node_nm: float | None = None) -> dict[str, float]:
    """The figures of a configuration's energy block, derived from formats and sizes.

    Args:
        config: of any kind.
        node_nm: process in nanometres; None is the block's `node_nm`, or 45 where it has none.
            DRAM does not follow it.

    Returns:
        picojoules (`static_w`: watts) by field of the block.

    Raises:
        UserError: a process or a memory outside the range of the laws.
    """
    node = node_nm if node_nm is not None else config.energy.node_nm
    try:
        return _TABLES[config.kind](config, TABLE_NODE_NM if node is None else node)
    except ValueError as error:
        raise UserError(f"energy: {error}") from None


def _part(config: Accelerator, terms: tuple[Term, ...], counters: Mapping[str, int]) -> float:
    counts: dict[tuple[str, float, bool], int] = {}
    for term in terms:
        key = (term.field_of(config.energy), term.share, term.power)
        events = sum(times * counters.get(name, 0) for name, times in term.counters.items())
        counts[key] = counts.get(key, 0) + events
    energy = 0.0
    for (field, share, power), events in counts.items():
        each = getattr(config.energy, field)
        if power:
            energy += events / config.clock_hz * each * 1e12  # W s in pJ
        else:
            energy += events * each * share
    return energy


def _array(config: ArrayConfig, node: float) -> dict[str, float]:
    """Every buffer by its own size; what DMA brings goes to the input's or the weights' buffer,
    which counters do not tell apart, so it takes their mean."""
    buffers, floating = config.buffers, config.number.is_float
    each = {
        name: sram_pj(getattr(buffers, f"{name}_bytes"), 8, node)
        for name in ("input", "weight", "output")
    }
    incoming = (each["input"] + each["weight"]) / 2
    add = operation_pj("fp32_add" if floating else "int32_add", node)
    return {
        "mac_pj": operation_pj("fp16_multiply" if floating else "int8_multiply", node) + add,
        "buffer_read_pj": incoming,
        "buffer_write_pj": incoming,
        "dram_pj": dram_pj(config.energy.dram_kind, 8),
        "vector_pj": add,
        "input_pj": each["input"],
        "weight_pj": each["weight"],
        "output_pj": each["output"],
    }


def _spgemm(config: SpgemmConfig, node: float) -> dict[str, float]:
    """A bank's tags are a memory of `entries` words, its dense arrays one of twice as many; a
    product waits in the queues on both sides of the crossbar, whose wires are left out."""
    shape, value = config.shape, 32
    tag = shape.row_bits + shape.column_bits + shape.epoch_bits + _index_bits(config.entries)
    entry = shape.row_bits + shape.column_bits + value
    prefix = config.format
    return {
        "multiply_pj": operation_pj(f"{prefix}_multiply", node),
        "add_pj": operation_pj(f"{prefix}_add", node),
        "probe_pj": sram_pj(config.entries * tag / 8, tag, node),
        "dense_pj": sram_pj(2 * config.entries * entry / 8, entry, node),
        "queue_pj": 2 * register_pj(entry, node),
        "dram_pj": dram_pj(config.energy.dram_kind, 8),
    }


def _dataflow(config: SpgemmDataflowConfig, node: float) -> dict[str, float]:
    """An element passes a comparison at each level of a merger; a slot is a coordinate and a
    value."""
    compare = operation_pj("int32_compare", node)
    levels = math.ceil(math.log2(config.merger_radix)) if config.dataflow == "row_wise" else 1
    values = "fp64" if config.value_bytes == 8 else "fp32"
    return {
        "multiply_pj": operation_pj(f"{values}_multiply", node),
        "add_pj": operation_pj(f"{values}_add", node),
        "merge_pj": levels * compare,
        "compare_pj": compare,
        "probe_pj": sram_pj(config.memory.buffer_bytes, 8 * (4 + config.value_bytes), node),
        "cache_pj": sram_pj(config.memory.cache_bytes, 8, node),
        "dram_pj": dram_pj(config.energy.dram_kind, 8),
    }


def _piuma(config: PiumaConfig, node: float) -> dict[str, float]:
    """A hop is `_HOP_MM` of wire, its router is left out; power without work is not in the table
    and stays as stated."""
    return {
        "instruction_pj": operation_pj("instruction", node),
        "scratchpad_pj": sram_pj(config.scratchpad.size_bytes, 64, node),
        "atomic_pj": operation_pj("fp64_add", node),
        "cache_pj": sram_pj(config.cache.size_bytes, 64, node),
        "dram_pj": dram_pj(config.energy.dram_kind, 8),
        "hop_pj": wire_pj(8, _HOP_MM, node),
        "static_w": config.energy.static_w,
    }


def _delta(config: DeltaConfig, node: float) -> dict[str, float]:
    """Weights on chip are a memory of the whole address space; from DRAM they pass the words that
    are asked for ahead. State is priced by the larger of references and sums."""
    word = config.lanes * config.weight_bits
    words = 1 << config.address_bits if config.weight_memory == "chip" else config.prefetch
    references = config.reference_words * config.detector_width * config.activation_bits / 8
    sums = config.sigma_words * config.lanes * config.accumulator_bits / 8
    return {
        "mac_pj": multiply_pj(config.activation_bits, config.weight_bits, node)
        + add_pj(config.accumulator_bits, node),
        "weight_pj": sram_pj(words * word / 8, 8, node),
        "state_pj": sram_pj(max(references, sums), 8, node),
        "dram_pj": dram_pj(config.energy.dram_kind, 8),
    }


def _mac_skip(config: MacSkipConfig, node: float) -> dict[str, float]:
    """Values are integers of `value_bytes`, summed in 32 bits."""
    bits = 8 * config.value_bytes
    return {
        "mac_pj": multiply_pj(bits, bits, node) + add_pj(_SUM_BITS, node),
        "dram_pj": dram_pj(config.energy.dram_kind, 8),
    }


_HOP_MM = 1.0
"""Not given; chosen as in the preset, a millimetre between neighbouring routers."""

_SUM_BITS = number_format("int8").accumulator_bits


def _index_bits(count: int) -> int:
    return max(1, (count - 1).bit_length())


_TABLES: dict[str, Callable[[Any, float], dict[str, float]]] = {
    "sat": _array,
    "systolic": _array,
    "spgemm": _spgemm,
    "spgemm_dataflow": _dataflow,
    "piuma": _piuma,
    "delta": _delta,
    "mac_skip": _mac_skip,
}
