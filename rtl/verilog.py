"""Amaranth components to Verilog: one module a component, repeated parts written once.

The RTLIL that Amaranth makes goes through Yosys's `proc` and `write_verilog -noattr`, which gives
plain assignments and always blocks that lint cleanly and synthesize the same everywhere. One
attribute is kept, `no_rw_check` of a memory: Yosys's word for a read beside a write of the same
word whose value is never used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from amaranth._toolchain.yosys import YosysError, find_yosys
from amaranth.back import rtlil
from amaranth.hdl import Shape
from amaranth.lib import wiring

from hwsim.config import Accelerator, DeltaConfig, SatConfig, SpgemmConfig
from hwsim.errors import UserError
from hwsim.models.array import ArrayShape
from hwsim.models.nm import NMPattern
from hwsim.rtl.delta_engine import chain_members, delta_parts
from hwsim.rtl.engine import ENGINE_TOP, engine_members, training_parts
from hwsim.rtl.ring_memory import memory_modules
from hwsim.rtl.rowwise import rowwise_members, rowwise_parts
from hwsim.rtl.stce import SparseArray, array_members, array_parts

__all__ = [
    "component_verilog",
    "engine_parts",
    "generate_verilog",
    "port_table",
    "ports",
    "top_name",
    "training_engine_parts",
]


def top_name(config: Accelerator, *, training: bool = False) -> str:
    """Name of the top module of a configuration's RTL."""
    return ENGINE_TOP if training else f"{config.kind}_top"


def generate_verilog(config: Accelerator, *, training: bool = False) -> str:
    """Verilog of a configuration's array, or of its training engine.

    The top module is `top_name(config, training=training)`.

    Raises:
        UserError: there is no RTL for this kind of accelerator, or no training engine for this
            format or sparsity.
    """
    return _generate(config, training)


@lru_cache(maxsize=32)  # a second of Amaranth and Yosys
def _generate(config: Accelerator, training: bool) -> str:
    parts = training_engine_parts(config) if training else engine_parts(config)
    return _header(config) + component_verilog({name: make() for name, make in parts.items()})


def training_engine_parts(config: Accelerator) -> dict[str, Callable[[], wiring.Component]]:
    """What makes each component of the training engine, by module name: its top last.

    Raises:
        UserError: as `generate_verilog`.
    """
    return training_parts(*_training_sizes(config))


def _training_sizes(config: Accelerator) -> tuple[ArrayShape, NMPattern, int, int]:
    if isinstance(config, SpgemmConfig | DeltaConfig):
        raise UserError(f"kind: the training engine is sat's, but {config.name} is a {config.kind}")
    sat = _with_rtl(config)
    if sat.format != "fp16":
        raise UserError(f"format: the training engine is FP16, but got {sat.format}")
    if sat.pattern.m != sat.group_size:
        raise UserError(
            f"sparsity: the training engine needs an N:M pattern whose M is the group, but got "
            f"{sat.sparsity} and group={sat.group_size}"
        )
    return sat.array, sat.pattern, sat.wuve_lanes, sat.sore_lanes


def engine_parts(config: Accelerator) -> dict[str, Callable[[], wiring.Component]]:
    """What makes each component of an engine, by module name: what is repeated first, the top last.

    Raises:
        UserError: there is no RTL for this kind of accelerator.
    """
    if isinstance(config, SpgemmConfig):
        return rowwise_parts(config.shape)
    if isinstance(config, DeltaConfig):
        return delta_parts(_one_cluster(config).shape, config.chain)
    sat = _with_rtl(config)
    return {
        **array_parts(sat.number, sat.array),
        top_name(config): lambda: SparseArray(sat.number, sat.array),
    }


def ports(config: Accelerator, *, training: bool = False) -> dict[str, dict[str, int | str]]:
    """The top's ports: direction, width in bits, of the payload where it is a stream.

    Raises:
        UserError: there is no RTL for this kind of accelerator.
    """
    if training:
        members = engine_members(*_training_sizes(config))
    elif isinstance(config, SpgemmConfig):
        members = rowwise_members(config.shape)
    elif isinstance(config, DeltaConfig):
        members = chain_members(_one_cluster(config).shape, config.chain)
    else:
        sat = _with_rtl(config)
        members = array_members(sat.number, sat.array)
    return port_table(members)


def port_table(members: Mapping[str, wiring.Member]) -> dict[str, dict[str, int | str]]:
    """Ports by name: direction, width in bits, of the payload where it is a stream."""
    found: dict[str, dict[str, int | str]] = {}
    for name, member in members.items():
        side = "output" if member.flow is wiring.Out else "input"
        if member.is_signature:
            width = Shape.cast(member.signature.members["payload"].shape).width
            found[name] = {"direction": side, "payload_bits": width}
        else:
            found[name] = {"direction": side, "bits": Shape.cast(member.shape).width}
    return found


def component_verilog(parts: dict[str, wiring.Component]) -> str:
    """Verilog of components by module name; later ones may instantiate earlier ones."""
    text = "\n".join(rtlil.convert(part, name=name) for name, part in parts.items())
    top = list(parts)[-1]
    script = (
        f"read_rtlil <<rtlil\n{text}\n{memory_modules(text)}\nrtlil\n"
        f"hierarchy -top {top}\nproc\nmemory_collect\n"
        "write_verilog -noattr\n"
    )
    yosys = find_yosys(lambda version: version >= (0, 40))
    try:
        return _mark_unchecked(text, _short_memories(yosys.run(["-q", "-"], script)))
    except YosysError as error:  # our own RTL is wrong: not the user's mistake
        raise RuntimeError(f"Yosys refused the design: {error}") from error


def _short_memories(text: str) -> str:
    """A loop in place of the lines that give every word of a memory the same first value."""
    return _MEMORY.sub(_loop, text)


def _mark_unchecked(rtlil_text: str, verilog: str) -> str:
    """The attribute `no_rw_check` at the memories that have it in RTLIL, by module and name."""
    for found in _UNCHECKED.finditer(rtlil_text):
        module = rtlil_text.rindex("\nmodule \\", 0, found.start()) + len("\nmodule \\")
        name = rtlil_text[module:].split(maxsplit=1)[0]
        begin = verilog.index(f"module {name}(")
        end = verilog.index("endmodule", begin)
        declaration = re.compile(rf"^(  reg \[[^\]]*\] {re.escape(found[1])} \[)", re.MULTILINE)
        body = declaration.sub(r"  (* no_rw_check *)\n\1", verilog[begin:end], count=1)
        verilog = verilog[:begin] + body + verilog[end:]
    return verilog


_UNCHECKED = re.compile(r"attribute \\no_rw_check 1\n\s*memory width \d+ size \d+ \\(\S+)\n")
_MEMORY = re.compile(r"^  initial begin\n((?:    \S+\[\d+\] = \S+;\n){8,})  end\n", re.MULTILINE)


def _loop(found: re.Match[str]) -> str:
    words = re.findall(r"^    (\S+)\[(\d+)\] = (\S+);$", found[1], re.MULTILINE)
    name, _, value = words[0]
    if any((n, int(i), v) != (name, k, value) for k, (n, i, v) in enumerate(words)):
        return found[0]
    return (
        f"  initial begin : {name}_start\n    integer i;\n"
        f"    for (i = 0; i < {len(words)}; i = i + 1) {name}[i] = {value};\n  end\n"
    )


def _one_cluster(config: DeltaConfig) -> DeltaConfig:
    if config.clusters != 1:
        raise UserError(
            f"clusters: the RTL of a delta engine is one cluster, but got {config.clusters}"
        )
    return config


def _with_rtl(config: Accelerator) -> SatConfig:
    if not isinstance(config, SatConfig):
        raise UserError(
            f"kind: there is RTL for sat, spgemm and delta, but {config.name} is a {config.kind} "
            "(a model of published simulators' conventions)"
        )
    return config


def _header(config: Accelerator) -> str:
    import hwsim

    fields = config.model_dump(exclude={"energy", "dram", "buffers"})
    lines = [f"// {key}: {value}" for key, value in fields.items()]
    return "\n".join([f"// Generated by hwsim {hwsim.__version__}", *lines, "", ""])
