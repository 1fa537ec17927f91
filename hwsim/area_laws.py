"""What the area of each block grows with: terms of a configuration's fields, memories exactly.

A block's LUTs, flip-flops, gates and transistors are a sum of terms with fitted coefficients
(`hwsim.area_fit`). A term is a number of things that the RTL has that many of: PEs, bits of a
register that is shifted along, words of a queue. Multipliers and block RAMs are counted: their
terms have coefficients too, but a whole number of DSP blocks for each kind of multiplier.

A core is its parts' areas times how many there are, and terms for what joins them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hwsim.area_registers import array_registers, pe_registers
from hwsim.config import Accelerator, DeltaConfig, SatConfig, SpgemmConfig
from hwsim.errors import UserError
from hwsim.models.delta_shape import DeltaShape, FactorBits

__all__ = ["Part", "block_rams", "core_parts", "core_unit", "queue_luts", "unit_part"]

_XCUP_18 = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
_XCUP_36 = ((512, 72), (1024, 36), (2048, 18), (4096, 9), (8192, 4), (16384, 2), (32768, 1))
_ECP5_18 = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
_LEAST_DEPTH = {"xcup": 65, "ecp5": 33}
"""Depth from which Yosys puts a memory with a registered read port into block RAM (seen)."""


@dataclass(kw_only=True)
class Part:
    """A block of a configuration as the model sees it.

    Attributes:
        terms: of LUTs, flip-flops, gates and transistors, by name.
        multipliers: of each kind, by name.
        memories: (depth, width) of each memory with a registered read port, and how many.
    """

    terms: dict[str, float]
    multipliers: dict[str, int] = field(default_factory=dict)
    memories: tuple[tuple[int, int, int], ...] = ()

    def block_rams(self, target: str) -> float:
        """Block RAMs of its memories: BRAM36 on xcup, BRAM18 on ecp5, bits on generic."""
        return sum(n * block_rams(target, depth, width) for depth, width, n in self.memories)


def block_rams(target: str, depth: int, width: int) -> float:
    """Block RAMs of one memory, one port to write and one to read.

    Args:
        target: `xcup` (BRAM36, halves are BRAM18), `ecp5` (BRAM18) or `generic` (bits).
        depth, width: words, bits of a word.
    """
    if target == "generic":
        return depth * width
    if depth < _LEAST_DEPTH[target]:
        return 0
    if target == "ecp5":
        return min(-(-depth // d) * -(-width // w) for d, w in _ECP5_18)
    small = min(-(-depth // d) * -(-width // w) for d, w in _XCUP_18)
    large = min(-(-depth // d) * -(-width // w) for d, w in _XCUP_36)
    return min(small / 2, large)


def queue_luts(target: str, depth: int, width: int) -> float:
    """LUTs of a queue's memory, which is read without a register; bits on generic."""
    if target == "ecp5":  # RAM of 16 x 4 in four LUTs, and a LUT a bit for every two more of them
        banks = -(-depth // 16)
        return 4 * banks * -(-width // 4) + width * (banks > 1) * -(-(banks - 1) // 1)
    if target == "xcup":  # RAM32M16: 14 bits of 32 words in 8 LUTs; RAM64M8: 7 bits of 64
        return 8 * -(-width // (14 if depth <= 32 else 7)) * -(-depth // 64)
    return depth * width


def core_unit(config: Accelerator) -> str:
    """The name of a configuration's whole core as a block of the model.

    Raises:
        UserError: there is no RTL for this kind of accelerator.
    """
    match config:
        case SatConfig():
            return "stce"
        case SpgemmConfig():
            return "engine"
        case DeltaConfig():
            return "gru" if config.engine == "gru" else "layer"
    raise UserError(
        f"kind: there is an area model for sat, spgemm and delta, but {config.name} is a "
        f"{config.kind}"
    )


def core_parts(config: Accelerator) -> dict[str, int]:
    """How many of each part a core has, what joins them left out; names of `unit_part`."""
    match config:
        case SatConfig():
            return {"uspe": config.rows * config.cols}
        case SpgemmConfig():
            return {"bank": config.banks, "lane": config.lanes, "dispatch": 1}
        case DeltaConfig():
            back = "gates" if config.engine == "gru" else "output"
            return dict.fromkeys(("scanner", "streamer", "lanes", back), 1)
    raise UserError(core_unit(config))


def unit_part(config: Accelerator, unit: str, target: str) -> Part:
    """A block's terms, or of a whole core those of what joins its parts.

    Args:
        config: an accelerator with RTL.
        unit: `uspe`, `stce`, `sore`, `wuve`, `post`; `bank`, `lane`, `dispatch`, `engine`;
            `scanner`, `streamer`, `lanes`, `output`, `gates`, `layer`, `gru`.
        target: whose memories count.

    Raises:
        KeyError: the configuration has no such block.
    """
    match config:
        case SatConfig():
            return _SAT[unit](config, target)
        case SpgemmConfig():
            return _SPGEMM[unit](config, target)
        case DeltaConfig():
            return _DELTA[unit](config.shape, target)
    raise KeyError(unit)


def _pe(config: SatConfig, target: str) -> Part:
    array, number = config.array, config.number
    acc = number.accumulator_bits
    ring, drain = array.slot_steps - array.adder_latency, array.interleave
    registers = pe_registers(config, target)
    # a DSP block takes as many of an integer product's registers as it has
    product = "" if number.is_float else f", product of {min(array.multiplier_latency, 3)} steps"
    return Part(
        terms={
            f"{config.format}{product}": 1,
            f"{config.format} adder registers": array.adder_latency - 1,
            "fp16 multiplier registers": (array.multiplier_latency - 1) * number.is_float,
            "group bits": array.group * number.operand_bits,
            "index bits": config.index_bits,
            "register bits": registers.flip_flops,
            "shift register LUTs": registers.luts,
            "ring": acc * (ring > 0),
            "drain of two or more": acc * (drain > 1),
        },
        multipliers={config.format: 1},
    )


def _array(config: SatConfig, target: str) -> Part:
    array, number = config.array, config.number
    rows, cols, hop = array.rows, array.cols, array.adder_latency
    acc = number.accumulator_bits
    registers = array_registers(config, target)
    return Part(
        terms={
            "core": 1,
            "PEs": rows * cols,
            "rows": rows,
            "columns": cols,
            "group bits of a column": rows * array.group * number.operand_bits,
            "skew register bits": registers.flip_flops,
            "skew LUTs": registers.luts,
            "steps down the rows": hop * rows,
            "sum bits of a row": cols * acc,
            "address bits of a row": cols * (array.psum_depth - 1).bit_length(),
        },
        memories=((array.psum_depth, acc, cols),),
    )


def _sore(config: SatConfig, target: str) -> Part:
    lanes = config.sore_lanes
    n, m = config.pattern.n, config.pattern.m
    if config.pattern.dense:
        n, m = min(2, config.group_size), config.group_size
    index = max(1, (m - 1).bit_length())
    return Part(
        terms={
            "control": 1,
            "lanes": lanes,
            "kept elements": lanes * n,
            "pairs of kept elements": lanes * n * (n - 1),  # they leave in order of their index
            "index bits": lanes * n * index,
            "group bits": lanes * m,
        }
    )


def _wuve(config: SatConfig, target: str) -> Part:
    lanes = config.wuve_lanes
    return Part(
        terms={
            "control": 1,
            "lanes": lanes,
            "adder registers": lanes * (config.adder_latency - 1),
            "multiplier registers": lanes * (config.multiplier_latency - 1),
        },
        multipliers={"fp32 of an update": lanes},
    )


def _post(config: SatConfig, target: str) -> Part:
    return Part(
        terms={
            "control": 1,
            "lanes": config.cols,
            "adder registers": config.cols * (config.adder_latency - 1),
        }
    )


def _bank(config: SpgemmConfig, target: str) -> Part:
    shape = config.shape
    key = shape.row_bits + shape.column_bits
    entry = key + 32
    word = entry + shape.slot_bits
    return Part(
        terms={
            config.format: 1,
            f"{config.format} adder registers": shape.adder_latency - 1,
            "slot bits": shape.slot_bits,
            "offsets in flight": shape.adder_latency * shape.slot_bits,
            "key bits": key,
            "epoch bits": shape.epoch_bits,
            "queue memory": queue_luts(target, shape.bank_queue, word),
            "spill memory": queue_luts(target, 2, entry),
            "probe bits": (shape.probe_limit - 1).bit_length(),
        },
        memories=(
            (shape.entries, shape.epoch_bits + key + shape.slot_bits, 1),
            (2 * shape.entries, 32, 2),  # values, for the adder and for the drain
            (2 * shape.entries, key, 1),
        ),
    )


def _lane(config: SpgemmConfig, target: str) -> Part:
    shape = config.shape
    entry = shape.row_bits + shape.column_bits + 32
    return Part(
        terms={
            config.format: 1,
            f"{config.format} multiplier registers": shape.multiplier_latency - 1,
            "key bits in flight": shape.multiplier_latency
            * (shape.row_bits + shape.column_bits + shape.hash_bits),
            "key bits": shape.row_bits + shape.column_bits,
            "hash bits": shape.hash_bits,
            "request memory": queue_luts(target, shape.request_queue, 64),
            "task memory": queue_luts(target, shape.request_queue, 64 + shape.row_bits),
            "product memory": queue_luts(target, shape.product_queue, entry + shape.hash_bits),
        },
        multipliers={config.format: 1},
    )


def _dispatch(config: SpgemmConfig, target: str) -> Part:
    shape = config.shape
    return Part(
        terms={
            "control": 1,
            "lanes": shape.lanes,
            "row bits": shape.row_bits,
            "column bits": shape.column_bits,
            "token memory": queue_luts(target, shape.token_queue, 96 + shape.row_bits),
            "queue address bits": (shape.token_queue - 1).bit_length(),
        },
    )


def _spgemm_engine(config: SpgemmConfig, target: str) -> Part:
    shape = config.shape
    entry = shape.row_bits + shape.column_bits + 32
    return Part(
        terms={
            "core": 1,
            "crossbar bits": shape.lanes * shape.banks * (entry + shape.slot_bits),
            "crossbar points": shape.lanes * shape.banks,
            "lanes": shape.lanes,
            "banks": shape.banks,
            "result bits": shape.banks * entry,
            "output bits": shape.outputs * entry,
        },
    )


def _scanner(shape: DeltaShape, target: str) -> Part:
    width, kind = shape.detector_width, "gru" if shape.gru else "layer"
    return Part(
        terms={
            kind: 1,
            f"{kind} width": width,
            f"{kind} item bits": width * shape.item_bits,
            "coordinate bits": 0 if shape.gru else shape.coordinate_bits,
            "channel bits": shape.channel_bits,
            "state bits": shape.lanes * shape.item_bits if shape.gru else 0,
            "address bits": shape.reference_bits,
        },
        multipliers={} if shape.gru else {"factor": width},
        memories=((shape.reference_words, width * shape.item_bits, 1),),
    )


def _streamer(shape: DeltaShape, target: str) -> Part:
    kind = "gru" if shape.gru else "layer"
    entry = shape.sigma_bits + shape.delta_bits + 2
    return Part(
        terms={
            kind: 1,
            f"{kind} address bits": shape.address_bits,
            f"{kind} sum address bits": shape.sigma_bits,
            "coordinate bits": 0 if shape.gru else shape.coordinate_bits,
            "channel bits": shape.channel_bits,
            "event bits": shape.delta_bits,
            "flight memory": queue_luts(target, shape.prefetch, entry),
        },
        multipliers={kind: 1},
    )


def _mac_lanes(shape: DeltaShape, target: str) -> Part:
    lanes, kind = shape.lanes, "gru" if shape.gru else "layer"
    return Part(
        terms={
            kind: 1,
            "lanes": lanes,
            "sum bits": lanes * shape.accumulator_bits,
            "weight bits": lanes * shape.weight_bits,
            "factor bits": lanes * shape.product_bits,
            "state bits": lanes * shape.activation_bits if shape.gru else 0,
            "address bits": shape.sigma_bits,
            "lane address bits": lanes * shape.sigma_bits,
            "coordinate bits": 0 if shape.gru else shape.coordinate_bits,
        },
        multipliers={"mac": lanes},
        memories=((shape.sigma_words, shape.accumulator_bits, lanes),),
    )


def _output(shape: DeltaShape, target: str) -> Part:
    lanes = shape.lanes
    # a channel's bias and factor
    parameter = shape.accumulator_bits + FactorBits.MULTIPLIER
    return Part(
        terms={
            "control": 1,
            "lanes": lanes,
            "sum bits": lanes * shape.accumulator_bits,
            "code bits": lanes * shape.activation_bits,
            "address bits": shape.parameter_bits,
        },
        multipliers={_wide(target, shape.accumulator_bits + 1, FactorBits.MULTIPLIER): lanes},
        memories=((shape.parameter_words, lanes * parameter, 1),),
    )


def _gates(shape: DeltaShape, target: str) -> Part:
    lanes = shape.lanes
    return Part(
        terms={
            "control": 1,
            "lanes": lanes,
            "sum bits": lanes * shape.accumulator_bits,
            "activation bits": lanes * shape.activation_bits,
            "table bits": lanes * shape.table_bits,
        },
        multipliers={
            _wide(target, shape.accumulator_bits, shape.activation_bits): lanes,
            _wide(target, shape.activation_bits + 1, shape.activation_bits): lanes,
        },
        memories=((2**shape.table_bits, shape.activation_bits, 2 * lanes),),
    )


def _delta_engine(shape: DeltaShape, target: str) -> Part:
    event = shape.delta_bits + 2 + shape.channel_bits
    event += 1 if shape.gru else 2 * (shape.coordinate_bits + 1) + 4
    memories: tuple[tuple[int, int, int], ...] = ()
    if shape.gru:
        memories = ((max(2, shape.sigma_words // 4), shape.lanes * shape.item_bits, 2),)
    return Part(
        terms={
            "core": 1,
            "event bits": event,
            "event memory": queue_luts(target, shape.capacity, event),
            "result bits": shape.lanes * shape.item_bits,
        },
        memories=memories,
    )


def _wide(target: str, a: int, b: int) -> str:
    """The kind of a product: how many parts that a DSP block multiplies its factors have."""
    width = {"xcup": 27, "ecp5": 18}.get(target, 64)  # DSP48E2 27 x 18, MULT18 18 x 18
    return f"{-(-a // width)} x {-(-b // 18)} parts"


_SAT = {"uspe": _pe, "stce": _array, "sore": _sore, "wuve": _wuve, "post": _post}
_SPGEMM = {"bank": _bank, "lane": _lane, "dispatch": _dispatch, "engine": _spgemm_engine}
_DELTA = {
    "scanner": _scanner,
    "streamer": _streamer,
    "lanes": _mac_lanes,
    "output": _output,
    "gates": _gates,
    "layer": _delta_engine,
    "gru": _delta_engine,
}
