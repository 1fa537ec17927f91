"""Area of a configuration from the fitted model: LUTs, flip-flops, multipliers, block RAMs, gates.

    from hwsim.area import estimate
    estimate(load_config("sat")).share("vu9p")

answers in microseconds, without synthesis, for sat, spgemm and delta. The coefficients are in
`area_model.json`, fitted to synthesized points by `examples/synthesis_table.py`;
docs/synthesis.md gives the points, how far the model is from each, and how far from sizes that it
was not fitted to. It is the core that is estimated, as `hwsim generate` writes it: no DMA, no
buffers outside it. What the simulator's buffers would take is told apart, by their bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

from hwsim.area_laws import core_unit
from hwsim.area_model import MODEL_FILE, RESOURCES, predict
from hwsim.config import Accelerator, DeltaConfig, SatConfig
from hwsim.errors import UserError

__all__ = ["PARTS", "AreaEstimate", "Capacity", "estimate", "model_errors"]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a part has.

    Attributes:
        name: of the part.
        target: whose counts compare with it.
        lut, ff, dsp, bram: how many; block RAMs are BRAM36 on xcup and BRAM18 on ecp5.
        uram: UltraRAMs, which the model leaves unused.
    """

    name: str
    target: str
    lut: int
    ff: int
    dsp: int
    bram: int
    uram: int = 0


PARTS = {
    part.name: part
    for part in (
        # UltraScale+ FPGA product table (AMD DS890, XMP103), as in `hwsim.rtl.targets`
        Capacity(
            name="vu9p", target="xcup", lut=1_182_240, ff=2_364_480, dsp=6840, bram=2160, uram=960
        ),
        # nextpnr's own list of the part
        Capacity(name="lfe5u-85f", target="ecp5", lut=83_640, ff=83_640, dsp=156, bram=208),
    )
}
"""Parts by name."""
_BUFFER_BYTES = {"xcup": 4096, "ecp5": 2048}
"""Bytes of a block RAM whose words are powers of two wide, so without its parity bits."""
_TRAINING = ("sore", "wuve", "post")


@dataclass(frozen=True, kw_only=True)
class AreaEstimate:
    """Area of a core.

    Attributes:
        target: `xcup`, `ecp5` or `generic`.
        lut, ff, dsp, bram: counts, rounded; block RAMs in halves on xcup. 0 where the target has
            none: `generic` has flip-flops alone of these.
        gates, transistors: of the target `generic`: two-input gates, and static CMOS transistors
            of those gates without flip-flops and memories; 0 elsewhere.
        memory_bits: of memories, on `generic`.
        buffer_bram: block RAMs for the simulator's buffers, which are not in the core.
        blocks: the same keys for the core and for each block asked for beside it.
    """

    target: str
    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram: float = 0
    gates: int = 0
    transistors: int = 0
    memory_bits: int = 0
    buffer_bram: int = 0
    blocks: dict[str, dict[str, float]] = field(default_factory=dict)

    def share(self, part: str) -> dict[str, float]:
        """Shares of a part's LUTs, flip-flops, multipliers and block RAMs; above 1 does not fit.

        Raises:
            UserError: no such part, or one of another target.
        """
        if part not in PARTS or PARTS[part].target != self.target:
            here = [name for name, p in PARTS.items() if p.target == self.target]
            raise UserError(
                f"part must be one of {', '.join(here) or 'none'} for {self.target}, "
                f"but got {part!r}"
            )
        return {key: getattr(self, key) / getattr(PARTS[part], key) for key in _KEYS}

    def fits(self, part: str) -> bool:
        """Whether a part has room, whatever placement and routing make of it."""
        return max(self.share(part).values()) <= 1


_KEYS = ("lut", "ff", "dsp", "bram")


def estimate(config: Accelerator, target: str = "xcup", *, training: bool = False) -> AreaEstimate:
    """The area of a configuration's core.

    Args:
        config: of kind sat, spgemm or delta.
        target: `xcup`, `ecp5` or `generic`.
        training: of a sat: with the selectors (SORE), the weight update (WUVE) and the post unit
            of the training engine, as large as the configuration says.

    Raises:
        UserError: no such target, a kind without RTL, `training` of one that has none, or a block
            that the model was not fitted to.
    """
    if target not in RESOURCES:
        raise UserError(f"target must be one of {', '.join(RESOURCES)}, but got {target!r}")
    core = core_unit(config)
    if training and not isinstance(config, SatConfig):
        raise UserError(f"training: the training engine is sat's, but {config.name} is a {core}")
    model = _model()["model"]
    copies = 1
    if isinstance(config, DeltaConfig):
        copies = config.clusters * config.chain
    blocks = {}
    for unit in (core, *(_TRAINING if training else ())):
        try:
            found = predict(model, config, unit, target)
        except KeyError as missing:
            raise UserError(
                f"the area model has no points of {missing.args[0]} for {target}; "
                "examples/synthesis_table.py makes them"
            ) from None
        blocks[unit] = {resource: copies * count for resource, count in found.items()}
    total = {key: sum(block[key] for block in blocks.values()) for key in RESOURCES[target]}
    buffers = 0
    if isinstance(config, SatConfig) and target in _BUFFER_BYTES:
        sizes = config.buffers.model_dump().values()
        buffers = sum(-(-size // _BUFFER_BYTES[target]) for size in sizes)
    rounded: dict[str, Any] = {
        key: round(value * 2) / 2 if key == "bram" else round(value) for key, value in total.items()
    }
    return AreaEstimate(target=target, buffer_bram=buffers, blocks=blocks, **rounded)


def model_errors() -> list[dict[str, Any]]:
    """The model's distance from its points: target, resource, unit, role, points, largest, rms."""
    return [dict(entry) for entry in _model()["errors"]]


@lru_cache(maxsize=1)
def _model() -> dict[str, Any]:
    try:
        text = resources.files("hwsim").joinpath(MODEL_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"the area model {MODEL_FILE} is missing; examples/synthesis_table.py makes it"
        ) from None
    model: dict[str, Any] = json.loads(text)
    return model
