"""The FPGA-ready tops: the core of each family behind AXI buses.

`{kind}_axi` instantiates the core's module `{kind}_top` by name, so the Verilog of both is the
design. The family's module says how descriptors drive its core; `hwsim.rtl.shell` is what they
share.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth.lib import wiring

from hwsim.config import Accelerator, DeltaConfig, SatConfig, SpgemmConfig
from hwsim.errors import UserError
from hwsim.models.delta_jobs import delta_spec
from hwsim.models.shell_map import ShellSpec, config_hash, packed_version
from hwsim.models.spgemm_jobs import spgemm_spec
from hwsim.rtl import sat_axi
from hwsim.rtl.delta_axi import DELTA_AXI, DeltaAxi
from hwsim.rtl.spgemm_axi import SPGEMM_AXI, SpgemmAxi
from hwsim.rtl.verilog import component_verilog, engine_parts, port_table

__all__ = ["axi_design", "axi_name", "axi_parts", "axi_spec"]

Parts = dict[str, Callable[[], wiring.Component]]


def axi_name(config: Accelerator) -> str:
    """Module of a configuration's FPGA-ready top."""
    return f"{config.kind}_axi"


def axi_spec(config: Accelerator) -> ShellSpec:
    """Registers, descriptors, counters and errors of a configuration's top.

    Raises:
        UserError: there is no top for this kind of accelerator.
    """
    import hwsim

    if isinstance(config, SatConfig):
        return sat_axi.shell_spec(config)
    about = (config_hash(config.model_dump(mode="json")), packed_version(hwsim.__version__))
    if isinstance(config, SpgemmConfig):
        return spgemm_spec(*about)
    if isinstance(config, DeltaConfig):
        return delta_spec(*about)
    raise UserError(
        f"kind: only sat, spgemm and delta have AXI tops, but {config.name} is a {config.kind}"
    )


def axi_parts(config: Accelerator, *, core: bool = False) -> Parts:
    """What makes each component of a top, by module name, the top last.

    Args:
        config: a configuration with RTL.
        core: with the core's components, first.

    Raises:
        UserError: there is no top for this kind of accelerator.
    """
    spec = axi_spec(config)
    inner = engine_parts(config)  # refuses what the core cannot be
    top: Parts
    if isinstance(config, SatConfig):
        top = sat_axi.axi_parts(config)
    elif isinstance(config, SpgemmConfig):
        shape, bus = config.shape, config.bus
        top = {SPGEMM_AXI: lambda: SpgemmAxi(shape, bus, spec=spec)}
    else:
        assert isinstance(config, DeltaConfig)  # axi_spec refuses the others
        delta = config
        top = {
            DELTA_AXI: lambda: DeltaAxi(
                delta.shape,
                delta.chain,
                delta.bus,
                on_chip=delta.weight_memory == "chip",
                spec=spec,
            )
        }
    return {**inner, **top} if core else top


def axi_design(config: Accelerator) -> tuple[str, dict[str, dict[str, int | str]]]:
    """Verilog of a top without its core, whose module it instantiates; its ports as `port_table`.

    Raises:
        UserError: as `axi_parts`.
    """
    parts = {name: make() for name, make in axi_parts(config).items()}
    top = list(parts.values())[-1]
    return component_verilog(parts), port_table(top.signature.members)
